//! Of which topics it is known whether they come.

/// Topics by their places, and what was not yet told of them.
#[derive(Debug)]
pub(super) struct ConfirmedTopics {
    confirmed: Vec<bool>,
    /// Of how many nothing is known.
    unconfirmed_count: usize,
    /// Those that come, since this was last asked.
    newly_active: Vec<usize>,
}

impl ConfirmedTopics {
    pub(super) fn new(topics: usize) -> Self {
        Self { confirmed: vec![false; topics], unconfirmed_count: topics, newly_active: Vec::new() }
    }

    /// The topic comes, as far as is known. Says whether nothing was known of it.
    pub(super) fn set_active(&mut self, topic: usize) -> bool {
        let news = self.set_confirmed(topic);
        if news {
            self.newly_active.push(topic);
        }
        news
    }

    /// The topic comes after all.
    pub(super) fn reactivate(&mut self, topic: usize) {
        self.set_confirmed(topic);
        self.newly_active.push(topic);
    }

    /// The topic does not come.
    pub(super) fn set_inactive(&mut self, topic: usize) {
        self.set_confirmed(topic);
        self.newly_active.retain(|coming| *coming != topic);
    }

    /// Whether the topic still comes is in doubt; says whether it was known to.
    pub(super) fn clear_confirmed(&mut self, topic: usize) -> bool {
        let known = self.confirmed.get_mut(topic).is_some_and(std::mem::take);
        self.unconfirmed_count += usize::from(known);
        known
    }

    fn set_confirmed(&mut self, topic: usize) -> bool {
        let Some(known) = self.confirmed.get_mut(topic) else { return false };
        let news = !std::mem::replace(known, true);
        self.unconfirmed_count -= usize::from(news);
        news
    }

    pub(super) fn is_complete(&self) -> bool {
        self.unconfirmed_count == 0
    }

    pub(super) fn has_newly_active(&self) -> bool {
        !self.newly_active.is_empty()
    }

    pub(super) fn drain_newly_active(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.newly_active)
    }
}
