//! The number of connections that a source needs, and their age limit.

use std::time::Duration;

use super::ReconnectPolicy;

/// The number of connections that the engine keeps for a source, their age limit, and the delays
/// between attempts to connect.
///
/// Several connections, or a replacement made before the old connection is closed, let one
/// connection end without a gap. They require [`Source::duplicate`](super::Source::duplicate).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionPolicy {
    /// Number of connections kept at once. A message that arrives over several is forwarded once.
    pub connections: usize,
    /// Age at which a connection is replaced by another, which is made before the old one closes.
    pub max_age: Option<Duration>,
    /// Delays between attempts to connect.
    pub reconnect: ReconnectPolicy,
}

impl Default for ConnectionPolicy {
    /// Returns the policy of one connection without an age limit.
    fn default() -> Self {
        Self { connections: 1, max_age: None, reconnect: ReconnectPolicy::default() }
    }
}
