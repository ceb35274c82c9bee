//! Whether the recorder is meant to run.

/// What the recorder was last told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Running,
    /// It was asked to stop, and may have ended.
    Stopping,
}
