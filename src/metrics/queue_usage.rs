//! The fill level of a pipeline's queue.

use serde::{Deserialize, Serialize};

/// The fill level of the queue between network and disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueUsage {
    /// Messages in the queue, including those that are being written.
    pub messages: u64,
    /// Bytes of memory that these messages occupy.
    pub bytes: u64,
}
