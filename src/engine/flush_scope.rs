//! The sinks that a flush concerns.

/// The sinks that a flush concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlushScope {
    /// Those that want no delayed flush.
    Prompt,
    All,
}
