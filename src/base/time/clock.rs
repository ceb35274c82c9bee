//! The source of the wall-clock time.

use std::time::Duration;

use super::UnixNanos;

/// A clock: the system's, or one that a test sets by hand.
pub trait Clock: Send + Sync {
    /// Returns the wall-clock time, which may step in either direction between two calls.
    fn now(&self) -> UnixNanos;

    /// Returns the total time for which the machine has been suspended since it booted.
    ///
    /// Monotonic time stands still during a suspend, so intervals do not show it. By default zero.
    fn suspended_total(&self) -> Duration {
        Duration::ZERO
    }
}
