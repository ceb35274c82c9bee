//! The earliest of the times that were recorded since somebody asked.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::time::UnixNanos;

/// The time at which the first of some messages was sent, or earlier; none at first.
#[derive(Debug)]
pub(crate) struct EarliestTime(AtomicU64);

impl Default for EarliestTime {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl EarliestTime {
    /// Records a time.
    pub(crate) fn record(&self, time: UnixNanos) {
        // Relaxed: the time orders nothing. Whoever reads it with a counter holds a lock, or is the
        // thread that records it.
        self.0.fetch_min(time.nanos(), Ordering::Relaxed);
    }

    /// Returns the earliest time since the last call, if one was recorded.
    pub(crate) fn take(&self) -> Option<UnixNanos> {
        let nanos = self.0.swap(u64::MAX, Ordering::Relaxed);
        (nanos < u64::MAX).then(|| UnixNanos::new(nanos))
    }
}
