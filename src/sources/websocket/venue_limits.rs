//! The limits of a venue.

use serde::{Deserialize, Serialize};

use crate::base::units::ConfigDuration;

/// The limits of a venue. 0 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VenueLimits {
    /// Maximum number of topics in a request.
    pub topics_per_request: usize,
    /// Maximum number of topics on a connection. More topics are split over several connections.
    pub topics_per_connection: usize,
    /// Maximum size in bytes of all topics on a connection.
    pub topic_bytes_per_connection: usize,
    /// Minimum time between two requests on a connection.
    pub request_interval: ConfigDuration,
    /// Minimum time between two connects.
    pub connect_interval: ConfigDuration,
    /// Age at which a connection is replaced, before the server closes it.
    pub max_connection_age: ConfigDuration,
}

impl VenueLimits {
    /// Returns whether `key` is the name of a limit.
    pub(super) fn has_key(key: &str) -> bool {
        let limits = serde_json::to_value(Self::default());
        limits.is_ok_and(|limits| limits.get(key).is_some())
    }

    /// Splits topics into shards, each of which fits on one connection. Returns at least one shard.
    pub(super) fn shard_topics(&self, topics: &[String]) -> Vec<Vec<String>> {
        let or_unlimited = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let max_topics = or_unlimited(self.topics_per_connection);
        let max_bytes = or_unlimited(self.topic_bytes_per_connection);
        let mut full_shards = Vec::new();
        let mut shard = Vec::new();
        let mut shard_bytes = 0;
        for topic in topics {
            // A topic is sent with quotes and a comma.
            let bytes = topic.len() + 3;
            let is_full =
                shard.len() >= max_topics || (!shard.is_empty() && shard_bytes + bytes > max_bytes);
            if is_full {
                full_shards.push(std::mem::take(&mut shard));
                shard_bytes = 0;
            }
            shard.push(topic.clone());
            shard_bytes += bytes;
        }
        full_shards.push(shard);
        full_shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_split_by_number_and_by_size() {
        let topics = ["aa", "bb", "cc"].map(str::to_owned);
        let shards = |limits: VenueLimits| limits.shard_topics(&topics);
        assert_eq!(shards(VenueLimits::default()), [topics.to_vec()]);
        let by_number = VenueLimits { topics_per_connection: 2, ..VenueLimits::default() };
        assert_eq!(shards(by_number), [vec!["aa", "bb"], vec!["cc"]]);
        let by_size = VenueLimits { topic_bytes_per_connection: 9, ..VenueLimits::default() };
        assert_eq!(shards(by_size), [["aa"], ["bb"], ["cc"]]);
        assert_eq!(VenueLimits::default().shard_topics(&[]), [Vec::<String>::new()]);
    }
}
