//! How it stands with the topics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// So many topics are named of each kind.
const NAMED: usize = 100;

/// What the server said to a topic: nothing, that it is subscribed to, or why it is not.
pub(crate) type Confirmation = Option<Result<(), String>>;

/// The topics that are wanted, and what the server said to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
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

impl Topics {
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a (String, Confirmation)>) -> Self {
        let mut topics = Self::default();
        for (topic, confirmation) in all {
            topics.wanted += 1;
            match confirmation {
                Some(Ok(())) => topics.confirmed += 1,
                Some(Err(words)) => {
                    topics.refused += 1;
                    if topics.refusals.len() < NAMED {
                        topics.refusals.insert(topic.clone(), words.clone());
                    }
                }
                None if topics.unconfirmed.len() < NAMED => topics.unconfirmed.push(topic.clone()),
                None => {}
            }
        }
        topics
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
