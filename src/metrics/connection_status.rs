//! The state of a connection.

use serde::{Deserialize, Serialize};

use super::activity::LastMessages;
use super::health::Health;

/// The state of a connection, or of a part of the topics that has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Number of the connection, as in the journals; `null` if there is none.
    pub connection: Option<u64>,
    /// Position of the part of the topics that it is for.
    pub shard: u64,
    /// State.
    pub state: Health,
    /// Seconds for which the connection has been up, or for which there has been none.
    pub seconds: u64,
    /// Seconds until the next attempt to connect.
    pub next_connect_seconds: Option<u64>,
    /// Messages that came over the connection.
    pub messages: u64,
    /// Control messages among them.
    pub control: u64,
    /// Times of the last messages.
    #[serde(flatten)]
    pub activity: LastMessages,
}
