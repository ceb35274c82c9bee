//! News that a source has of its connection besides messages.

use std::time::Duration;

use super::DownCause;

/// News of a connection, in the order in which a source learns of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// Messages of these topics arrive from now on: the gap of each ends.
    TopicsActive(Vec<String>),
    /// A topic does not arrive, or may not, while others do: the server refuses it, for example. It
    /// stays down until it is active.
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
    /// The server has answered all subscriptions: every topic arrives that is not down. At most once
    /// for each connection.
    Subscribed,
    /// The server is known to send the subscribed topics, so that an older connection can be closed.
    /// At most once for each connection.
    Delivering,
    /// The server has announced that it will end this connection. At most once for each connection.
    CloseAnnounced,
}
