//! The messages of one topic.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::time::UnixNanos;

/// The writes of the messages of one topic, by the sink that has a file for it. Written once per
/// append, by an add and a store.
#[derive(Debug, Default)]
pub(crate) struct TopicActivity {
    appends: AtomicU64,
    /// Time of the receipt of the last messages, in Unix nanoseconds.
    received: AtomicU64,
}

impl TopicActivity {
    /// Records messages that were received together and are written.
    pub(crate) fn record(&self, received: UnixNanos) {
        self.received.store(received.nanos(), Ordering::Relaxed);
        self.appends.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of appends so far.
    pub(super) fn appends(&self) -> u64 {
        self.appends.load(Ordering::Acquire)
    }

    /// Returns the time of the receipt of the last messages.
    pub(super) fn received(&self) -> UnixNanos {
        UnixNanos::new(self.received.load(Ordering::Relaxed))
    }
}
