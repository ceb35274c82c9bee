//! The part of a source that an event concerns.

use std::sync::Arc;

use super::ShardIndex;

/// The part of a source that an event concerns: one of the shards that divide its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceScope {
    /// Position of the shard among all of them.
    pub shard: ShardIndex,
    /// Number of shards.
    pub shard_count: usize,
    /// Topics of the shard; empty if they are unknown, or if the shard has all of them.
    pub topics: Arc<[String]>,
}

impl Default for SourceScope {
    /// Returns the scope of a source with a single shard.
    fn default() -> Self {
        Self { shard: ShardIndex::default(), shard_count: 1, topics: Arc::default() }
    }
}
