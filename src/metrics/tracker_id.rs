//! The number of a subscription tracker.

use std::sync::atomic::{AtomicU64, Ordering};

/// The next number.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The number of a subscription tracker in the process.
///
/// Unlike a [`ConnectionId`](crate::base::connection_id::ConnectionId), which the engine gives to a
/// connection of a pipeline once it is established, each tracker takes its number when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrackerId(u64);

impl TrackerId {
    /// Returns a number that no tracker of the process has.
    pub(crate) fn next() -> Self {
        // Each number is taken once; nothing else depends on the order.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
