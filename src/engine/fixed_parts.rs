//! The parts of a pipeline that cannot change while it runs.

use crate::base::json::Selector;

/// The parts of a pipeline that depend on its sections and cannot change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedParts {
    /// Set if messages are labeled with their topics, since a plugin asks for that.
    pub(super) labels_topics: bool,
    /// Rule that finds the topic in a message.
    pub(super) topic_selector: Option<Selector>,
    /// Destinations of the sinks, which may be named after the topics.
    pub(super) destinations: String,
}
