//! The kinds of alerts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The kind of an alert.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlertKind {
    /// A pipeline has topics without a connection.
    Down,
    /// A sink of a pipeline cannot write.
    Stalled,
    /// No data of a pipeline or of a topic has come for far longer than usual.
    Silent,
    /// A server has refused a topic.
    Refused,
    /// A server has neither confirmed nor refused a topic.
    Unconfirmed,
    /// The archive's last run could not do something, such as seal an hour.
    SealFailed,
    /// `streamer verify` has found a bad hour.
    VerifyBad,
}

impl AlertKind {
    /// Returns the kinds that somebody wants to know of who has not said which. A topic that is not
    /// confirmed may be a quiet one.
    pub(crate) fn defaults() -> Vec<Self> {
        vec![
            Self::Down,
            Self::Stalled,
            Self::Silent,
            Self::Refused,
            Self::SealFailed,
            Self::VerifyBad,
        ]
    }
}
