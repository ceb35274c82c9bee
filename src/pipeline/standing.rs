//! A connection that stands, and what comes over it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::feed::SETTLE_LIMIT;

/// A connection that stands.
#[derive(Clone)]
pub(super) struct Standing {
    /// Its number in this recording.
    pub(super) connection: u64,
    pub(super) data_seen: bool,
    pub(super) settled: bool,
    /// Since when all is answered that it subscribes to.
    pub(super) subscribed: Option<Instant>,
    /// The topics of which messages come.
    pub(super) coming: HashSet<String>,
    /// Those that its server refuses, with its words.
    pub(super) refused: BTreeMap<String, String>,
}

impl Standing {
    pub(super) fn new(connection: u64) -> Self {
        Self {
            connection,
            data_seen: false,
            settled: false,
            subscribed: None,
            coming: HashSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Whether it is known, or trusted, to have brought all for so long.
    pub(super) fn covers(&self, last: Duration) -> bool {
        let Some(subscribed) = self.subscribed else { return false };
        let age = subscribed.elapsed();
        (self.settled || age >= SETTLE_LIMIT) && age >= last
    }

    /// From now on these come, too.
    pub(super) fn comes(&mut self, topics: Vec<String>) {
        for topic in &topics {
            self.refused.remove(topic);
        }
        self.coming.extend(topics);
    }

    /// Of this nothing comes any more, or that may be so. The server may have refused it.
    pub(super) fn brings_not(&mut self, topic: &str, refused: Option<&str>) {
        self.coming.remove(topic);
        if let Some(words) = refused {
            self.refused.insert(topic.to_owned(), words.to_owned());
        }
    }

    /// Whether it brings this.
    pub(super) fn brings(&self, topic: &str) -> bool {
        self.coming.contains(topic)
    }

    /// Whether it is known of this topic whether it comes.
    pub(super) fn is_answered(&self, topic: &str) -> bool {
        self.brings(topic) || self.refused.contains_key(topic)
    }
}
