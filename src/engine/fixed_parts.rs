//! The parts of a pipeline that depend on its source and cannot change with it.

use crate::base::json::Selector;

/// The parts of a pipeline that depend on its source and cannot change with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FixedParts {
    /// Rule that finds the topic in a message.
    pub(super) topic_selector: Option<Selector>,
    /// Destinations of the sinks, which may be named after the topics.
    pub(super) destinations: String,
}
