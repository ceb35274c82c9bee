//! A clock for tests.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Clock, UnixNanos};

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Creates a clock that shows `time`.
    pub fn new(time: UnixNanos) -> Self {
        Self(AtomicU64::new(time.nanos()))
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, time: UnixNanos) {
        // Relaxed: the clock orders nothing but itself.
        self.0.store(time.nanos(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixNanos {
        // Relaxed: see `set`.
        UnixNanos::new(self.0.load(Ordering::Relaxed))
    }
}
