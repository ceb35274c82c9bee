//! How it stands with the topics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// So many topics are named of each kind.
const MAX_LISTED_TOPICS: usize = 100;

/// What the server said to a topic: nothing, that it is subscribed to, or why it is not.
pub(crate) type SubscriptionReply = Option<Result<(), String>>;

/// What the server of a connection said to its topics.
#[derive(Debug)]
pub(super) struct ConnectionReplies {
    /// The connection, unless it is gone.
    pub(super) connection: Option<u64>,
    /// Of connections that share them these are the same, in the same order.
    pub(super) replies: Vec<(String, SubscriptionReply)>,
}

/// The better of what two servers said: a topic that one confirmed comes.
fn merge_replies(a: SubscriptionReply, b: SubscriptionReply) -> SubscriptionReply {
    match (a, b) {
        (Some(Ok(())), _) | (_, Some(Ok(()))) => Some(Ok(())),
        (Some(refused), _) | (_, Some(refused)) => Some(refused),
        (None, None) => None,
    }
}

/// The topics that are wanted, and what the server said to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicStatus {
    /// How many are wanted.
    pub wanted: u64,
    /// How many the server confirmed, or sent data of.
    pub confirmed: u64,
    /// How many it refused.
    pub refused: u64,
    /// Those that it refused, with its words; the first hundred.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<String, String>,
    /// Those that are not answered; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<String>,
}

impl TopicStatus {
    /// The topics of all shares, of which each comes over one connection or several.
    pub(super) fn from_replies<'a>(shares: impl Iterator<Item = &'a [ConnectionReplies]>) -> Self {
        let mut topics = Self::default();
        for said in shares {
            let Some(first) = said.first() else { continue };
            for (index, (topic, _)) in first.replies.iter().enumerate() {
                let answers = said.iter().filter_map(|said| said.replies.get(index));
                let answer =
                    answers.fold(None, |best, (_, answer)| merge_replies(best, answer.clone()));
                topics.record_reply(topic, answer);
            }
        }
        topics
    }

    fn record_reply(&mut self, topic: &str, answer: SubscriptionReply) {
        self.wanted += 1;
        match answer {
            Some(Ok(())) => self.confirmed += 1,
            Some(Err(words)) => {
                self.refused += 1;
                if self.refusals.len() < MAX_LISTED_TOPICS {
                    self.refusals.insert(topic.to_owned(), words);
                }
            }
            None if self.unconfirmed.len() < MAX_LISTED_TOPICS => {
                self.unconfirmed.push(topic.to_owned())
            }
            None => {}
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.wanted += other.wanted;
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        let refusals = other.refusals.iter().map(|(topic, words)| (topic.clone(), words.clone()));
        self.refusals.extend(refusals);
        self.unconfirmed.extend(other.unconfirmed.iter().cloned());
    }
}
