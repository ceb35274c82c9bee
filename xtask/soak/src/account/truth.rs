//! The ticks that the server made in a scenario.

use std::time::Duration;

use super::topic_truth::TopicTruth;

/// All ticks of a scenario.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// The topics by index.
    pub(super) topics: Vec<TopicTruth>,
    /// The longest time by which the server was late with a tick. It tells how busy the machine was.
    pub(super) lateness: Duration,
}
