//! What happens to a source, as sinks are told of it.

use std::sync::Arc;
use std::time::Duration;

use super::DownCause;
use crate::base::time::UnixNanos;

/// Something that happened to the source. Sinks that keep account of the recording note it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// Messages of these topics come from now on. Told before the [`Up`](Self::Up) of the connection,
    /// once or topic by topic, and also later, when the server accepts what it had refused.
    Subscribed {
        /// The number of the connection in this recording, from 1.
        connection: u64,
        /// The topics.
        topics: Arc<[String]>,
    },
    /// It is connected, and all that it subscribes to is answered.
    Up {
        /// The number of the connection in this recording, from 1.
        connection: u64,
        /// Of what.
        scope: SourceScope,
    },
    /// It is not connected: the connection was lost, or none could be made.
    Down {
        /// The kind of cause.
        cause: DownCause,
        /// The particulars in words, without control characters. May quote the server.
        detail: String,
        /// Since when nothing had been heard, where the connection was given up for that.
        silent_since: Option<UnixNanos>,
        /// Of what.
        scope: SourceScope,
    },
    /// Nothing of a topic comes, or that may be so, while the others go on: the server refuses it, say.
    /// Until it is [subscribed](Self::Subscribed) to.
    TopicDown {
        /// The topic.
        topic: String,
        /// The kind of cause.
        cause: DownCause,
        /// The particulars in words, perhaps the server's.
        detail: String,
        /// For how long nothing of it had come, where that is why.
        silent_for: Option<Duration>,
    },
    /// The server did not confirm these topics: whether anything of them comes is uncertain.
    Unconfirmed {
        /// The topics.
        topics: Vec<String>,
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
    /// Nothing more comes: the recorder has stopped listening, and writes what it has.
    Ended,
    /// The machine was suspended, until now.
    Suspended {
        /// For how long.
        slept: Duration,
    },
    /// The wall clock stepped: forward, or back.
    ClockStepped {
        /// What it would show now.
        expected: UnixNanos,
    },
}

/// What of the source is meant: one of the connections that share its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceScope {
    /// The number of the connection among them, from 0.
    pub source_index: usize,
    /// How many they are.
    pub source_count: usize,
    /// Its topics; empty when it is not known, or all.
    pub topics: Arc<[String]>,
}

impl Default for SourceScope {
    /// All of the source.
    fn default() -> Self {
        Self { source_index: 0, source_count: 1, topics: Arc::default() }
    }
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
    /// The recorder stopped, and the sink could not take them.
    GivenUp,
}

impl DropCause {
    /// The cause as it is spelled in journals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Undecodable => "undecodable",
            Self::Stage => "stage",
            Self::GivenUp => "given_up",
        }
    }
}
