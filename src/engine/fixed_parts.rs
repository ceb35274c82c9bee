//! The parts of a pipeline that cannot change while it runs.

use crate::base::json::Selector;

/// The parts of a pipeline that depend on its sections and cannot change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedParts {
    /// Set if messages are labeled with their topics, since a plugin asks for that.
    pub(super) labels_topics: bool,
    /// Rule that finds the topic in a message.
    pub(super) topic_selector: Option<Selector>,
    /// Destination of each sink, which may be named after the topics.
    pub(super) destinations: Vec<String>,
}

impl FixedParts {
    /// Returns the positions of the sinks whose destinations differ.
    pub(super) fn moved_sinks(&self, other: &Self) -> impl Iterator<Item = usize> {
        let pairs = self.destinations.iter().zip(&other.destinations).enumerate();
        pairs.filter(|(_, (one, other))| one != other).map(|(index, _)| index)
    }
}
