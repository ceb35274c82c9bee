//! A connection that stands, and what comes over it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::feed::SETTLE_LIMIT;

/// A connection that stands.
pub(super) struct Standing {
    /// Its number in this recording.
    pub(super) connection: u64,
    pub(super) up: Instant,
    pub(super) settled: bool,
    /// Since when all is answered that it subscribes to.
    pub(super) subscribed: Option<Instant>,
    pub(super) coming: Coming,
    /// The topics that its server refuses, with its words.
    pub(super) refused: BTreeMap<String, String>,
}

/// Topics of which messages come.
pub(super) enum Coming {
    /// All that the source has.
    All,
    /// These.
    These(HashSet<String>),
}

impl Standing {
    pub(super) fn new(connection: u64, up: Instant) -> Self {
        Self {
            connection,
            up,
            settled: false,
            subscribed: None,
            coming: Coming::These(HashSet::new()),
            refused: BTreeMap::new(),
        }
    }

    /// Whether it is known, or trusted, to have brought all for so long.
    pub(super) fn covers(&self, last: Duration) -> bool {
        let trusted = || self.subscribed.is_some_and(|at| at.elapsed() >= SETTLE_LIMIT);
        (self.settled || trusted()) && self.up.elapsed() >= last
    }

    /// From now on these come, too.
    pub(super) fn comes(&mut self, topics: Coming) {
        match (&mut self.coming, topics) {
            (Coming::These(known), Coming::These(more)) => {
                for topic in &more {
                    self.refused.remove(topic);
                }
                known.extend(more);
            }
            (coming, Coming::All) => *coming = Coming::All,
            (Coming::All, Coming::These(more)) => {
                self.refused.retain(|topic, _| !more.contains(topic));
            }
        }
    }

    /// The server refuses a topic.
    pub(super) fn refuses(&mut self, topic: &str, words: &str) {
        if let Coming::These(coming) = &mut self.coming {
            coming.remove(topic);
        }
        self.refused.insert(topic.to_owned(), words.to_owned());
    }

    /// Whether it brings this.
    pub(super) fn brings(&self, topic: &str) -> bool {
        match &self.coming {
            Coming::All => !self.refused.contains_key(topic),
            Coming::These(topics) => topics.contains(topic),
        }
    }
}
