//! A connection that stands, and what comes over it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::connection_slot::ASSUME_DELIVERING_AFTER;
use crate::plugin::DownCause;

/// A connection that stands.
#[derive(Clone)]
pub(super) struct LiveConnection {
    /// Its number in this recording.
    pub(super) id: u64,
    pub(super) has_data: bool,
    pub(super) is_delivering: bool,
    /// Since when all is answered that it subscribes to.
    pub(super) subscribed_at: Option<Instant>,
    /// The topics of which messages come.
    pub(super) active_topics: HashSet<String>,
    /// Those of which nothing comes, or that may be so.
    pub(super) inactive_topics: BTreeMap<String, InactiveTopic>,
}

/// Why a topic does not come.
#[derive(Clone)]
pub(super) struct InactiveTopic {
    pub(super) cause: DownCause,
    pub(super) detail: String,
    /// Whether the sinks were told: they are not while another connection brings it.
    pub(super) is_reported: bool,
}

impl LiveConnection {
    pub(super) fn new(connection: u64) -> Self {
        Self {
            id: connection,
            has_data: false,
            is_delivering: false,
            subscribed_at: None,
            active_topics: HashSet::new(),
            inactive_topics: BTreeMap::new(),
        }
    }

    /// Whether it is known, or trusted, to have brought all for so long.
    pub(super) fn has_covered(&self, last: Duration) -> bool {
        let Some(subscribed) = self.subscribed_at else { return false };
        let age = subscribed.elapsed();
        (self.is_delivering || age >= ASSUME_DELIVERING_AFTER) && age >= last
    }

    /// From now on these come, too.
    pub(super) fn set_active(&mut self, topics: Vec<String>) {
        for topic in &topics {
            self.inactive_topics.remove(topic);
        }
        self.active_topics.extend(topics);
    }

    /// Of this nothing comes any more, or that may be so.
    pub(super) fn set_inactive(&mut self, topic: &str, cause: DownCause, detail: &str) {
        self.active_topics.remove(topic);
        let (detail, told) = (detail.to_owned(), false);
        self.inactive_topics
            .insert(topic.to_owned(), InactiveTopic { cause, detail, is_reported: told });
    }

    /// Whether it brings this.
    pub(super) fn is_active(&self, topic: &str) -> bool {
        self.active_topics.contains(topic)
    }

    /// Whether it is known of this topic whether it comes.
    pub(super) fn is_confirmed(&self, topic: &str) -> bool {
        self.is_active(topic) || self.inactive_topics.contains_key(topic)
    }
}
