//! The position of a source among those that share the topics of a pipeline.

/// The position, from 0, of a source among those that share the topics of a pipeline.
///
/// A shard keeps its index for the whole recording, over all its connections, which a
/// [`ConnectionId`](super::connection_id::ConnectionId) each tells apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(usize);

impl ShardIndex {
    /// Returns the index of the shard at this position.
    pub const fn new(position: usize) -> Self {
        Self(position)
    }

    /// Returns the position, from 0.
    pub const fn get(self) -> usize {
        self.0
    }
}
