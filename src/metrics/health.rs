//! The state of a pipeline, of a connection or of a topic in one word.

use serde::{Deserialize, Serialize};

/// The state of a pipeline, of a connection or of a topic. The worst is the greatest.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It is recorded.
    #[default]
    Up,
    /// The server has neither confirmed nor refused a topic, nor sent a message of it.
    Unconfirmed,
    /// No data has come for far longer than usual.
    Silent,
    /// The server has refused a topic.
    Refused,
    /// A sink cannot write.
    Stalled,
    /// There is no connection.
    Down,
}

impl Health {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Up, Self::Unconfirmed, Self::Silent, Self::Refused, Self::Stalled, Self::Down];

    /// Returns the word for the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unconfirmed => "unconfirmed",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Stalled => "stalled",
            Self::Down => "down",
        }
    }
}
