//! The topics whose state is known.

use crate::sources::websocket::topic_vec::{TopicIndex, TopicVec};

/// The topics whose state, active or inactive, is confirmed.
#[derive(Debug)]
pub(super) struct ConfirmedTopics {
    confirmed: TopicVec<bool>,
    /// Number of topics that are not confirmed.
    unconfirmed_count: usize,
    /// Topics that became active since the last call of [`Self::drain_newly_active`].
    newly_active: Vec<TopicIndex>,
}

impl ConfirmedTopics {
    pub(super) fn new(topic_count: usize) -> Self {
        Self {
            confirmed: TopicVec::filled(false, topic_count),
            unconfirmed_count: topic_count,
            newly_active: Vec::new(),
        }
    }

    /// Adds a topic whose state is not confirmed.
    pub(super) fn push(&mut self) {
        self.confirmed.push(false);
        self.unconfirmed_count += 1;
    }

    /// Confirms that the topic is active. Returns whether its state was unconfirmed before.
    pub(super) fn set_active(&mut self, topic: TopicIndex) -> bool {
        let is_news = self.set_confirmed(topic);
        if is_news {
            self.newly_active.push(topic);
        }
        is_news
    }

    /// Marks a topic active that was confirmed to be inactive.
    pub(super) fn reactivate(&mut self, topic: TopicIndex) {
        self.set_confirmed(topic);
        self.newly_active.push(topic);
    }

    /// Confirms that the topic is inactive.
    pub(super) fn set_inactive(&mut self, topic: TopicIndex) {
        self.set_confirmed(topic);
        self.newly_active.retain(|active| *active != topic);
    }

    /// Makes the state of the topic unconfirmed. Returns whether it was confirmed before.
    pub(super) fn clear_confirmed(&mut self, topic: TopicIndex) -> bool {
        let was_confirmed = std::mem::take(&mut self.confirmed[topic]);
        self.unconfirmed_count += usize::from(was_confirmed);
        was_confirmed
    }

    fn set_confirmed(&mut self, topic: TopicIndex) -> bool {
        let is_news = !std::mem::replace(&mut self.confirmed[topic], true);
        self.unconfirmed_count -= usize::from(is_news);
        is_news
    }

    /// Returns whether the state of every topic is confirmed.
    pub(super) fn is_complete(&self) -> bool {
        self.unconfirmed_count == 0
    }

    /// Returns whether topics became active since the last call of [`Self::drain_newly_active`].
    pub(super) fn has_newly_active(&self) -> bool {
        !self.newly_active.is_empty()
    }

    /// Drains the topics that became active.
    pub(super) fn drain_newly_active(&mut self) -> Vec<TopicIndex> {
        std::mem::take(&mut self.newly_active)
    }
}
