//! The error of a sink that is lost to its pipeline.

use crate::plugin::BoxError;

/// The error of a sink whose destination is gone for good, or that was given up at the stop.
#[derive(Debug, thiserror::Error)]
#[error("{sink}")]
pub(crate) struct SinkGone {
    /// Name of the sink, such as `sinks[0] (jsonl)`.
    pub(super) sink: String,
    pub(super) source: BoxError,
}
