//! The life of a connection of the ticking server.

/// The behavior of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// The request of the handshake is not complete.
    Handshake,
    /// Subscriptions are answered and ticks are sent.
    Open,
    /// Nothing is read or sent anymore, and the link stays.
    Silent,
    /// The server sends what it has and then a FIN.
    Ending,
    /// The server has sent its FIN and waits for that of the client.
    Ended,
    /// The connection is over.
    Gone,
}
