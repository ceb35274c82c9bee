//! A connection that stands, and what comes over it.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::feed::SETTLE_LIMIT;
use crate::plugin::Cause;

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
    /// Those of which nothing comes, or that may be so.
    pub(super) absent: BTreeMap<String, Absence>,
}

/// Why a topic does not come.
#[derive(Clone)]
pub(super) struct Absence {
    pub(super) cause: Cause,
    pub(super) detail: String,
    /// Whether the sinks were told: they are not while another connection brings it.
    pub(super) told: bool,
}

impl Standing {
    pub(super) fn new(connection: u64) -> Self {
        Self {
            connection,
            data_seen: false,
            settled: false,
            subscribed: None,
            coming: HashSet::new(),
            absent: BTreeMap::new(),
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
            self.absent.remove(topic);
        }
        self.coming.extend(topics);
    }

    /// Of this nothing comes any more, or that may be so.
    pub(super) fn brings_not(&mut self, topic: &str, cause: Cause, detail: &str) {
        self.coming.remove(topic);
        let (detail, told) = (detail.to_owned(), false);
        self.absent.insert(topic.to_owned(), Absence { cause, detail, told });
    }

    /// Whether it brings this.
    pub(super) fn brings(&self, topic: &str) -> bool {
        self.coming.contains(topic)
    }

    /// Whether it is known of this topic whether it comes.
    pub(super) fn is_answered(&self, topic: &str) -> bool {
        self.brings(topic) || self.absent.contains_key(topic)
    }
}
