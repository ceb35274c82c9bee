//! The time, as the engine tells sinks.

use crate::base::time::UnixNanos;

/// The time, and how far reading had got by then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Time by the wall clock.
    pub now: UnixNanos,
    /// Time until which everything that the servers had sent is in the batches before this tick,
    /// over all connections that are established; `None` if none is.
    pub complete_until: Option<UnixNanos>,
}

impl From<UnixNanos> for Tick {
    /// Returns a tick that tells nothing of the connections.
    fn from(now: UnixNanos) -> Self {
        Self { now, complete_until: None }
    }
}
