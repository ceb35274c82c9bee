//! The order of a confirmation and of the first ticks.

use std::fmt;

/// The time at which a subscription takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::account) enum AnswerOrder {
    /// Ticks come from the confirmation on.
    AnswerFirst,
    /// Ticks come at once, and the confirmation later.
    TicksFirst,
}

impl fmt::Display for AnswerOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnswerFirst => "before any tick",
            Self::TicksFirst => "ticks come at once",
        })
    }
}
