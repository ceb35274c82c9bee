//! The amount of detail in a snapshot.

/// The amount of detail in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SnapshotDetail {
    /// The values of each pipeline.
    Pipelines,
    /// Also the state of each connection and of each topic.
    Everything,
}
