//! Events of a source that sinks receive in order with its messages.

use std::sync::Arc;
use std::time::Duration;

use super::{ConfigChange, ConnectionId, DownCause, DropCause, SourceScope};
use crate::base::time::UnixNanos;

/// An event of a source. Sinks that account for the completeness of the recording journal it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// Messages of these topics arrive from now on.
    ///
    /// Sent before the [`Up`](Self::Up) of the connection, at once or topic by topic, and also
    /// later, when the server accepts a topic that it had refused.
    Subscribed {
        /// Connection over which the topics arrive.
        connection: ConnectionId,
        /// Topics that arrive.
        topics: Arc<[String]>,
    },
    /// A connection is established, and the server has answered all its subscriptions.
    Up {
        /// Connection that is up.
        connection: ConnectionId,
        /// Part of the source that is up.
        scope: SourceScope,
    },
    /// A connection was lost or could not be made, and no other has covered its topics.
    Down {
        /// Kind of reason.
        cause: DownCause,
        /// Particulars in words, without control characters. May quote the server.
        detail: String,
        /// Time of the last sign of life, if the loss was noticed later than it may have happened.
        silent_since: Option<UnixNanos>,
        /// Part of the source that is down.
        scope: SourceScope,
    },
    /// A topic does not arrive, or may not, while others do: the server refuses it, for example.
    ///
    /// The topic stays down until it is [subscribed](Self::Subscribed).
    TopicDown {
        /// Topic that does not arrive.
        topic: String,
        /// Kind of reason.
        cause: DownCause,
        /// Particulars in words. May quote the server.
        detail: String,
        /// Time since the last message of the topic, if its silence is the reason.
        silent_for: Option<Duration>,
    },
    /// The server did not confirm these topics, so it is uncertain whether they arrive.
    Unconfirmed {
        /// Topics without a confirmation.
        topics: Vec<String>,
    },
    /// Messages were received and lost.
    Dropped {
        /// Lower bound of the time at which the first of them was received.
        since: UnixNanos,
        /// Number of messages.
        messages: u64,
        /// Reason for the loss.
        cause: DropCause,
    },
    /// The event that follows comes before messages that stages hold back.
    Behind {
        /// Time until which everything that was sent is in the messages so far.
        since: UnixNanos,
    },
    /// The recorder has stopped reading. No message and no further event follows.
    Ended {
        /// Time at which the first of several connections was closed, if others took longer: what it
        /// delivered ends then.
        since: Option<UnixNanos>,
    },
    /// The configuration was changed while the pipeline runs, which may change the topics.
    ConfigChanged(Arc<ConfigChange>),
    /// The machine was suspended until now.
    Suspended {
        /// Length of the suspend.
        slept: Duration,
    },
    /// The wall clock stepped, forward or back.
    ClockStepped {
        /// Time that the clock would show now without the step.
        expected: UnixNanos,
    },
}
