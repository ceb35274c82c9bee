//! An established connection, and the topics that arrive over it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::overlap::ASSUME_DELIVERING_AFTER;
use crate::metrics::Activity;
use crate::plugin::{ConnectionId, DownCause};

/// An established connection, and the topics that arrive over it.
#[derive(Clone)]
pub(super) struct LiveConnection {
    pub(super) id: ConnectionId,
    /// Its messages, for the status.
    pub(super) activity: Arc<Activity>,
    /// Topics of the connection.
    pub(super) topics: Arc<[String]>,
    /// Set once a message with data has arrived.
    pub(super) has_data: bool,
    /// Set once the server is known to send the subscribed topics.
    pub(super) is_delivering: bool,
    /// Time at which the server had answered all subscriptions.
    pub(super) subscribed_at: Option<Instant>,
    /// Topics whose messages arrive.
    pub(super) active_topics: HashSet<String>,
    /// Topics whose messages do not arrive, or may not.
    pub(super) inactive_topics: BTreeMap<String, InactiveTopic>,
}

/// The reason why a topic does not arrive.
#[derive(Clone)]
pub(super) struct InactiveTopic {
    pub(super) cause: DownCause,
    pub(super) detail: String,
    /// Set once the sinks know. They are not told while another connection delivers the topic.
    pub(super) is_reported: bool,
}

impl LiveConnection {
    /// Creates a connection over which nothing has arrived yet.
    pub(super) fn new(id: ConnectionId, topics: &[String], activity: Arc<Activity>) -> Self {
        Self {
            id,
            activity,
            topics: topics.into(),
            has_data: false,
            is_delivering: false,
            subscribed_at: None,
            active_topics: HashSet::new(),
            inactive_topics: BTreeMap::new(),
        }
    }

    /// Returns whether the connection is known, or trusted, to have delivered everything during the
    /// last `period`.
    pub(super) fn has_covered(&self, period: Duration) -> bool {
        // A connection without all its answers covers nothing.
        let Some(subscribed) = self.subscribed_at else { return false };
        let age = subscribed.elapsed();
        (self.is_delivering || age >= ASSUME_DELIVERING_AFTER) && age >= period
    }

    /// Marks the topics active.
    pub(super) fn set_active(&mut self, topics: Vec<String>) {
        for topic in &topics {
            self.inactive_topics.remove(topic);
        }
        self.active_topics.extend(topics);
    }

    /// Marks the topic inactive.
    pub(super) fn set_inactive(&mut self, topic: &str, reason: InactiveTopic) {
        self.active_topics.remove(topic);
        self.inactive_topics.insert(topic.to_owned(), reason);
    }

    /// Forgets the state of all topics that are not wanted any more.
    pub(super) fn retain_topics(&mut self, is_wanted: impl Fn(&String) -> bool) {
        self.active_topics.retain(&is_wanted);
        self.inactive_topics.retain(|topic, _| is_wanted(topic));
    }

    /// Returns the topics that are not known to be active or inactive.
    pub(super) fn open_topics(&self) -> Vec<String> {
        self.topics.iter().filter(|topic| !self.is_confirmed(topic)).cloned().collect()
    }

    /// Returns whether the topic's messages arrive.
    pub(super) fn is_active(&self, topic: &str) -> bool {
        self.active_topics.contains(topic)
    }

    /// Returns whether the topic is known to be active or inactive.
    fn is_confirmed(&self, topic: &str) -> bool {
        self.is_active(topic) || self.inactive_topics.contains_key(topic)
    }
}
