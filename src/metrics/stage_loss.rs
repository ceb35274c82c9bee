//! The messages that stages lose.

use crate::base::time::UnixNanos;

/// Messages that stages held when they failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StageLoss {
    /// Number of messages, at most.
    pub(crate) messages: u64,
    /// Time at which the first of them was sent, or earlier.
    pub(crate) since: UnixNanos,
}
