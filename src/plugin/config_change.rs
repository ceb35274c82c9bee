//! A change of the configuration of a running pipeline.

use super::ShardIndex;

/// A change of the configuration while a pipeline runs, as a sink learns of it. Messages of a topic
/// that is removed may follow, if they were on their way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigChange {
    /// SHA-256 of the resolved configuration before.
    pub old: String,
    /// SHA-256 of the resolved configuration from now on.
    pub new: String,
    /// Endpoint of the source from now on.
    pub endpoint: String,
    /// Topics of the source from now on.
    pub topics: Vec<String>,
    /// Topics that the source has from now on. Their subscriptions are not confirmed yet.
    pub added: Vec<String>,
    /// Topics that the source has no longer.
    pub removed: Vec<String>,
    /// Parts of the source that are no longer, since they have no topic left.
    pub removed_shards: Vec<ShardIndex>,
}
