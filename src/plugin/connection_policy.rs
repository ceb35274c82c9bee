//! How a source is kept connected beyond one connection at a time.

use std::time::Duration;

/// What the engine does so that a connection that ends leaves no gap. It can where the source can be
/// doubled, see [`Source::again`](super::Source::again).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionPolicy {
    /// How many connections are kept at once; what comes over several is handed on once.
    pub connections: usize,
    /// A connection of this age is replaced: another is made before it is closed.
    pub max_age: Option<Duration>,
}

impl Default for ConnectionPolicy {
    /// One connection, for as long as it lasts.
    fn default() -> Self {
        Self { connections: 1, max_age: None }
    }
}
