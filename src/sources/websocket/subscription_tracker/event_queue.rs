//! The events of a connection that are still to be reported.

use std::time::Duration;

use tracing::error;

use crate::plugin::{ConnectionEvent, DownCause};

/// The events of a connection that are still to be reported.
#[derive(Default)]
pub(super) struct EventQueue {
    events: Vec<ConnectionEvent>,
    /// The events about topics that are in doubt, which follow the news that they are assumed to be
    /// active.
    doubts: Vec<ConnectionEvent>,
    /// Set if there is something to report although there may be no message.
    has_notice: bool,
}

impl EventQueue {
    /// Makes the next read return, even without a message.
    pub(super) fn notify(&mut self) {
        self.has_notice = true;
    }

    /// Returns whether the next read must return, even without a message.
    pub(super) fn has_notice(&self) -> bool {
        self.has_notice
    }

    /// Clears the notice. Returns whether it was set.
    pub(super) fn take_notice(&mut self) -> bool {
        std::mem::take(&mut self.has_notice)
    }

    /// Moves the events to the end of `events`.
    pub(super) fn drain_into(&mut self, events: &mut Vec<ConnectionEvent>) {
        events.append(&mut self.events);
    }

    /// Moves the events about topics that are in doubt to the end of `events`.
    pub(super) fn drain_doubts_into(&mut self, events: &mut Vec<ConnectionEvent>) {
        events.append(&mut self.doubts);
    }

    /// Reports topics of which neither a confirmation nor a message has come.
    pub(super) fn report_unheard(&mut self, topics: Vec<String>) {
        let detail = "neither a confirmation nor a message has come";
        self.doubts.extend(topics.into_iter().map(|topic| ConnectionEvent::TopicDown {
            topic,
            cause: DownCause::Unconfirmed,
            detail: detail.to_owned(),
            silent_for: None,
        }));
    }

    /// Reports topics that are assumed to be active without an answer of the server.
    pub(super) fn report_unconfirmed(&mut self, topics: Vec<String>) {
        self.has_notice = true;
        if !topics.is_empty() {
            self.events.push(ConnectionEvent::Unconfirmed { topics });
        }
    }

    /// Reports that the answer to messages for no particular topic is late.
    pub(super) fn report_unconfirmed_connection(&mut self) {
        self.has_notice = true;
        self.events.push(ConnectionEvent::Unconfirmed { topics: Vec::new() });
    }

    /// Reports a topic that the server rejected.
    pub(super) fn report_rejected(&mut self, topic: String, words: &str) {
        error!(topic, ?words, "the server refuses this topic; the other topics continue");
        self.push_topic_down(topic, DownCause::Refused, words, None);
    }

    /// Reports a topic that is silent and therefore requested again.
    pub(super) fn report_silent(&mut self, topic: String, silent_for: Option<Duration>) {
        let detail = "no data, subscribed to again";
        self.push_topic_down(topic, DownCause::Silent, detail, silent_for);
    }

    fn push_topic_down(
        &mut self,
        topic: String,
        cause: DownCause,
        detail: &str,
        silent_for: Option<Duration>,
    ) {
        self.has_notice = true;
        let detail = detail.to_owned();
        self.events.push(ConnectionEvent::TopicDown { topic, cause, detail, silent_for });
    }
}
