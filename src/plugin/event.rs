//! What happens to a source, as sinks are told of it.

use std::time::Duration;

use super::Cause;
use crate::clock::UnixNanos;

/// Something that happened to the source. Sinks that keep account of the recording note it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedEvent {
    /// It is connected and subscribed.
    Up {
        /// The number of the connection in this recording, from 1.
        connection: u64,
    },
    /// It is not connected: the connection was lost, or none could be made.
    Down {
        /// The kind of cause.
        cause: Cause,
        /// The particulars in words, without control characters. May quote the server.
        detail: String,
        /// Since when nothing had been heard, where the connection was given up for that.
        silent_since: Option<UnixNanos>,
    },
    /// Messages were received and will not come.
    Dropped {
        /// Since when, at most about a second ago.
        since: UnixNanos,
        /// How many.
        messages: u64,
        /// Why.
        cause: DropCause,
    },
    /// The machine was suspended, until now.
    Suspended {
        /// For how long.
        slept: Duration,
    },
    /// The wall clock stepped: forward, or back.
    ClockStepped {
        /// What it would show now.
        from: UnixNanos,
    },
}

/// Why messages that were received are not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropCause {
    /// The queue was full (`overflow: "drop_newest"`).
    Overflow,
    /// They are binary, and not text after decoding.
    Undecodable,
    /// A stage had them when it failed: at most so many.
    Stage,
}

impl DropCause {
    /// The cause as it is spelled in journals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Undecodable => "undecodable",
            Self::Stage => "stage",
        }
    }
}
