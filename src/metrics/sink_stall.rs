//! A sink that cannot write.

use serde::{Deserialize, Serialize};

/// A write that has failed and is being retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStall {
    /// Name of the sink, such as `sinks[0] (jsonl)`.
    pub sink: String,
    /// Error of the last attempt.
    pub error: String,
    /// Seconds since the first failed attempt.
    pub seconds: u64,
}
