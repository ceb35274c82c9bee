//! What is taken to come though the server has not said so, and what may not come though it has.

use tokio::time::Instant;

use super::SubscriptionTracker;
use crate::plugin::{DownCause, SourceEvent};

impl SubscriptionTracker {
    /// A message that is of nothing that was asked for, or does not say of what. One may be a greeting;
    /// where more come, what was asked for does, as far as can be seen.
    pub(super) fn on_untagged_message(&mut self) {
        self.untagged_messages = self.untagged_messages.saturating_add(1);
        if self.untagged_messages > 1 && !self.subscriptions.is_fully_confirmed() {
            let topics = self.subscriptions.assume_requested_active();
            self.mark_unconfirmed(&topics);
        }
    }

    /// These topics are taken to come, though the server has not said so.
    pub(super) fn mark_unconfirmed(&mut self, places: &[usize]) {
        self.has_notice = true;
        let topics = self.settings.requests.topics();
        let topics = places.iter().filter_map(|place| topics.get(*place).cloned());
        let topics: Vec<String> = topics.collect();
        if !topics.is_empty() {
            self.events.push(SourceEvent::Unconfirmed { topics });
        }
    }

    /// These are silent, and asked for again: they may have been forgotten by the server.
    pub(super) fn report_silent_topics(&mut self, places: &[usize], now: Instant) {
        let topics = self.settings.requests.topics();
        for place in self.subscriptions.clear_confirmed(places.to_vec()) {
            let Some(topic) = topics.get(place).cloned() else { continue };
            let silent_for = Some(self.silence.topic_silent_for(place, now));
            let (cause, detail) = (DownCause::Silent, "no data, subscribed to again".to_owned());
            self.events.push(SourceEvent::TopicDown { topic, cause, detail, silent_for });
            self.has_notice = true;
        }
    }
}
