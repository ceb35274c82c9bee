//! The commands of the ticking server.

use std::fmt;
use std::time::Duration;

use super::answer_order::AnswerOrder;
use crate::account::cut::Cut;
use crate::account::target::Target;

/// A change of the behavior of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::account) enum ServerCommand {
    /// Ends connections.
    Cut(Target, Cut),
    /// Sends and answers nothing on these connections from now on, and keeps them.
    Silence(Target),
    /// Resets the connections that are silent.
    CutSilent,
    /// Refuses all connects.
    Refuse,
    /// Accepts connects again.
    Accept,
    /// Answers later subscriptions after this time.
    DelayAnswers(AnswerOrder, Duration),
    /// Does not answer the close frames of clients, and goes on sending.
    IgnoreCloses,
    /// Answers the close frames of clients again.
    AnswerCloses,
}

impl fmt::Display for ServerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(target, cut) => write!(f, "{cut} on {target}"),
            Self::Silence(target) => write!(f, "silence on {target}"),
            Self::CutSilent => f.write_str("RST on silent connections"),
            Self::Refuse => f.write_str("refuse connects"),
            Self::Accept => f.write_str("accept connects"),
            Self::DelayAnswers(order, delay) => {
                write!(f, "confirm subscriptions after {} ms, {order}", delay.as_millis())
            }
            Self::IgnoreCloses => f.write_str("ignore close frames"),
            Self::AnswerCloses => f.write_str("answer close frames"),
        }
    }
}
