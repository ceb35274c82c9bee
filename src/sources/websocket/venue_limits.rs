//! The limits of a venue.

use std::collections::HashSet;

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
    ///
    /// Topics that are in one of the `current` shards stay there, others go into the first shard
    /// with room. A shard of which no topic is left keeps its place and gets no others, unless it
    /// is the only one.
    pub(super) fn shard_topics(
        &self,
        topics: &[String],
        current: &[Vec<String>],
    ) -> Vec<Vec<String>> {
        let wanted: HashSet<&String> = topics.iter().collect();
        let mut placed: HashSet<&String> = HashSet::new();
        let mut shards = Vec::new();
        for topics in current {
            let mut shard = Shard::default();
            for topic in topics.iter().filter(|topic| wanted.contains(topic)) {
                // The limits may be others than before.
                if self.has_room(&shard, topic) {
                    shard.push(topic.clone());
                    placed.insert(topic);
                }
            }
            shards.push(shard);
        }
        let is_retired = |shard: &Shard| shard.topics.is_empty() && current.len() > 1;
        for topic in topics.iter().filter(|topic| !placed.contains(topic)) {
            let last = shards.len().saturating_sub(1);
            let fits = |(at, shard): &(usize, &mut Shard)| {
                let is_open = *at == last || *at < current.len();
                is_open && !is_retired(shard) && self.has_room(shard, topic)
            };
            if let Some((_, shard)) = shards.iter_mut().enumerate().find(fits) {
                shard.push(topic.clone());
            } else {
                let mut shard = Shard::default();
                shard.push(topic.clone());
                shards.push(shard);
            }
        }
        if shards.is_empty() {
            shards.push(Shard::default());
        }
        shards.into_iter().map(|shard| shard.topics).collect()
    }

    fn has_room(&self, shard: &Shard, topic: &str) -> bool {
        let or_unlimited = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        let fits_by_size =
            shard.bytes + Shard::bytes_of(topic) <= or_unlimited(self.topic_bytes_per_connection);
        shard.topics.len() < or_unlimited(self.topics_per_connection)
            && (fits_by_size || shard.topics.is_empty())
    }
}

/// The topics of one connection.
#[derive(Default)]
struct Shard {
    topics: Vec<String>,
    bytes: usize,
}

impl Shard {
    fn push(&mut self, topic: String) {
        self.bytes += Self::bytes_of(&topic);
        self.topics.push(topic);
    }

    /// Returns the size of a topic in a request, with quotes and a comma.
    fn bytes_of(topic: &str) -> usize {
        topic.len() + 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_split_by_number_and_by_size() {
        let topics = ["aa", "bb", "cc"].map(str::to_owned);
        let shards = |limits: VenueLimits| limits.shard_topics(&topics, &[]);
        assert_eq!(shards(VenueLimits::default()), [topics.to_vec()]);
        let by_number = VenueLimits { topics_per_connection: 2, ..VenueLimits::default() };
        assert_eq!(shards(by_number), [vec!["aa", "bb"], vec!["cc"]]);
        let by_size = VenueLimits { topic_bytes_per_connection: 9, ..VenueLimits::default() };
        assert_eq!(shards(by_size), [["aa"], ["bb"], ["cc"]]);
        assert_eq!(VenueLimits::default().shard_topics(&[], &[]), [Vec::<String>::new()]);
    }

    #[test]
    fn topics_stay_on_their_connections_when_others_come_and_go() {
        let strings = |topics: &[&str]| topics.iter().map(ToString::to_string).collect::<Vec<_>>();
        let limits = VenueLimits { topics_per_connection: 2, ..VenueLimits::default() };
        let current = [strings(&["a", "b"]), strings(&["c"])];
        let shards = |topics: &[&str]| limits.shard_topics(&strings(topics), &current);
        assert_eq!(shards(&["z", "a", "b", "c"]), [strings(&["a", "b"]), strings(&["c", "z"])]);
        assert_eq!(
            shards(&["y", "c", "z", "b", "x"]),
            [strings(&["b", "y"]), strings(&["c", "z"]), strings(&["x"])]
        );
        assert_eq!(shards(&["c", "d", "e"]), [strings(&[]), strings(&["c", "d"]), strings(&["e"])]);
        let sole = limits.shard_topics(&strings(&["b"]), &[strings(&["a"])]);
        assert_eq!(sole, [strings(&["b"])]);
    }
}
