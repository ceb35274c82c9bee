//! The state of a topic.

use serde::{Deserialize, Serialize};

use super::activity::LastMessages;
use super::health::Health;

/// The state of a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TopicReport {
    /// State.
    pub state: Health,
    /// Times of the last messages that were written, if the topic has a file of its own.
    #[serde(flatten)]
    pub activity: LastMessages,
}
