//! The state of the subscriptions to topics.

use std::collections::BTreeMap;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::subscription_reply::SubscriptionReply;
use super::tracker_id::TrackerId;

/// Maximum number of topics listed by name, of each kind and in each pipeline.
const MAX_LISTED_TOPICS: usize = 100;

/// The replies of one connection's server to the connection's topics.
#[derive(Debug)]
pub(super) struct ConnectionReplies {
    /// Number of the connection's tracker; `None` once the connection is closed.
    pub(super) tracker: Option<TrackerId>,
    /// Topics, in the order of the configuration, and the replies.
    pub(super) replies: Vec<(String, SubscriptionReply)>,
}

/// The requested topics, by the server's reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// Number of requested topics.
    pub wanted: u64,
    /// Number of topics that the server confirmed or sent data of.
    pub confirmed: u64,
    /// Number of topics that the server refused.
    pub refused: u64,
    /// Refused topics with the server's words; the first hundred.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<String, String>,
    /// Topics without a reply; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<String>,
    /// Number of topics that are silent for far longer than usual.
    #[serde(default)]
    pub silent: u64,
    /// These topics; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silences: Vec<String>,
}

/// Returns each topic of a shard once, in the order of the configuration, with the best reply to it.
pub(super) fn best_replies(
    connections: &[ConnectionReplies],
) -> impl Iterator<Item = (&str, &SubscriptionReply)> {
    let replies = || connections.iter().flat_map(|connection| &connection.replies);
    let mut best: HashMap<&str, &SubscriptionReply> = HashMap::new();
    for (topic, reply) in replies() {
        best.entry(topic).and_modify(|best| *best = best.better(reply)).or_insert(reply);
    }
    replies().filter_map(move |(topic, _)| Some((topic.as_str(), best.remove(topic.as_str())?)))
}

impl TopicStatus {
    /// Returns the status of the topics of all shards. Each shard may have several connections, of
    /// which the best reply counts.
    pub(super) fn from_replies<'a>(shards: impl Iterator<Item = &'a [ConnectionReplies]>) -> Self {
        let mut status = Self::default();
        for connections in shards {
            for (topic, reply) in best_replies(connections) {
                status.add_topic(topic, reply);
            }
        }
        status
    }

    /// Counts a topic that is silent.
    pub(super) fn add_silent(&mut self, topic: &str) {
        self.silent += 1;
        if self.silences.len() < MAX_LISTED_TOPICS {
            self.silences.push(topic.to_owned());
        }
    }

    fn add_topic(&mut self, topic: &str, reply: &SubscriptionReply) {
        self.wanted += 1;
        match reply {
            SubscriptionReply::Confirmed => self.confirmed += 1,
            SubscriptionReply::Refused(words) => {
                self.refused += 1;
                if self.refusals.len() < MAX_LISTED_TOPICS {
                    self.refusals.insert(topic.to_owned(), words.clone());
                }
            }
            SubscriptionReply::Pending => {
                if self.unconfirmed.len() < MAX_LISTED_TOPICS {
                    self.unconfirmed.push(topic.to_owned());
                }
            }
        }
    }

    /// Adds the topics of another pipeline.
    pub(super) fn add(&mut self, other: &Self) {
        self.wanted += other.wanted;
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        let refusals = other.refusals.iter().map(|(topic, words)| (topic.clone(), words.clone()));
        self.refusals.extend(refusals);
        self.unconfirmed.extend(other.unconfirmed.iter().cloned());
        self.silent += other.silent;
        self.silences.extend(other.silences.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_reply_of_a_shard_counts_whatever_the_order_of_its_topics() {
        let connection = |replies: &[(&str, SubscriptionReply)]| ConnectionReplies {
            tracker: None,
            replies: replies
                .iter()
                .map(|(topic, reply)| ((*topic).to_owned(), reply.clone()))
                .collect(),
        };
        let refused = || SubscriptionReply::Refused("no".to_owned());
        let shard = [
            connection(&[("b", SubscriptionReply::Pending), ("a", refused()), ("c", refused())]),
            connection(&[("c", SubscriptionReply::Pending), ("a", SubscriptionReply::Confirmed)]),
        ];
        let status = TopicStatus::from_replies([shard.as_slice()].into_iter());
        assert_eq!((status.wanted, status.confirmed, status.refused), (3, 1, 1));
        assert_eq!(status.unconfirmed, ["b"]);
        assert_eq!(status.refusals.get("c").map(String::as_str), Some("no"));
    }
}
