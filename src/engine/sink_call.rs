//! The calls of a sink, as the log names them.

use std::fmt;

/// A call of a sink, as the log names it when the call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SinkCall {
    Open,
    /// A write, a write of rejected messages, or a flush.
    Write,
    Tick,
    Event,
}

impl fmt::Display for SinkCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Write => "write",
            Self::Tick => "tick",
            Self::Event => "event",
        })
    }
}
