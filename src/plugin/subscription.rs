//! The state of the subscriptions of a new connection.

/// The state of the subscriptions of a connection that was just made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscription {
    /// Every topic arrives from now on. Sources that subscribe to nothing return this.
    Complete,
    /// The server has yet to answer. [`ConnectionEvent`](super::ConnectionEvent)s of the reads tell
    /// which topics arrive, and when all are answered.
    Pending,
}
