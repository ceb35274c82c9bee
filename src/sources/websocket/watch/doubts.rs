//! What is taken to come though the server has not said so, and what may not come though it has.

use tokio::time::Instant;

use super::Watch;
use crate::plugin::{Cause, FeedEvent};

impl Watch {
    /// A message that is of nothing that was asked for, or does not say of what. One may be a greeting;
    /// where more come, what was asked for does, as far as can be seen.
    pub(super) fn stranger(&mut self) {
        self.strangers = self.strangers.saturating_add(1);
        if self.strangers > 1 && !self.ledger.is_known() {
            let topics = self.ledger.asked_come();
            self.in_doubt(&topics);
        }
    }

    /// These topics are taken to come, though the server has not said so.
    pub(super) fn in_doubt(&mut self, places: &[usize]) {
        self.news = true;
        let topics = self.manners.conversation.topics();
        let topics = places.iter().filter_map(|place| topics.get(*place).cloned());
        let topics: Vec<String> = topics.collect();
        if !topics.is_empty() {
            self.events.push(FeedEvent::Unconfirmed { topics });
        }
    }

    /// These are silent, and asked for again: they may have been forgotten by the server.
    pub(super) fn tell_silent(&mut self, places: &[usize], now: Instant) {
        let topics = self.manners.conversation.topics();
        for place in self.ledger.doubt(places.to_vec()) {
            let Some(topic) = topics.get(place).cloned() else { continue };
            let silent_for = Some(self.silence.silent_for(place, now));
            let (cause, detail) = (Cause::Silent, "no data, subscribed to again".to_owned());
            self.events.push(FeedEvent::TopicDown { topic, cause, detail, silent_for });
            self.news = true;
        }
    }
}
