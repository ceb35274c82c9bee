//! The state in which the recorder is meant to be.

/// The last order to the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Running,
    /// The recorder was asked to stop, and may have ended.
    Stopping,
}
