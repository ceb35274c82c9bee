//! Of which topics it is known whether they come.

/// Topics by their places, and what was not yet told of them.
#[derive(Debug)]
pub(super) struct Known {
    topics: Vec<bool>,
    /// Of how many nothing is known.
    missing: usize,
    /// Those that come, since this was last asked.
    coming: Vec<usize>,
}

impl Known {
    pub(super) fn none_of(topics: usize) -> Self {
        Self { topics: vec![false; topics], missing: topics, coming: Vec::new() }
    }

    /// The topic comes, as far as is known. Says whether nothing was known of it.
    pub(super) fn comes(&mut self, topic: usize) -> bool {
        let news = self.note(topic);
        if news {
            self.coming.push(topic);
        }
        news
    }

    /// The topic comes after all.
    pub(super) fn comes_again(&mut self, topic: usize) {
        self.note(topic);
        self.coming.push(topic);
    }

    /// The topic does not come.
    pub(super) fn comes_not(&mut self, topic: usize) {
        self.note(topic);
        self.coming.retain(|coming| *coming != topic);
    }

    /// Whether the topic still comes is in doubt; says whether it was known to.
    pub(super) fn doubt(&mut self, topic: usize) -> bool {
        let known = self.topics.get_mut(topic).is_some_and(std::mem::take);
        self.missing += usize::from(known);
        known
    }

    fn note(&mut self, topic: usize) -> bool {
        let Some(known) = self.topics.get_mut(topic) else { return false };
        let news = !std::mem::replace(known, true);
        self.missing -= usize::from(news);
        news
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub(super) fn has_coming(&self) -> bool {
        !self.coming.is_empty()
    }

    pub(super) fn take_coming(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.coming)
    }
}
