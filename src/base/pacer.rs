//! Paced reads: after a small read the network thread rests for some milliseconds, so that one
//! wake-up serves many messages.
//!
//! At ordinary rates a recorder's cost is its wake-ups, not its bytes. The rest is taken where the
//! thread would go idle anyway (the runtime's park hook), outside the event queue: a timer of the
//! runtime would not do, since every segment that arrives would end the wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The rest that the sources of one network thread ask for.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Nanoseconds; 0 when nobody asks.
    requested_nanos: AtomicU64,
}

impl Pacer {
    /// Asks that the thread rest before it next waits for events. Of several wishes the shortest
    /// holds.
    pub fn request_pause(&self, rest: Duration) {
        let nanos = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: asked and taken on the same thread.
        let before = self.requested_nanos.load(Ordering::Relaxed);
        if nanos > 0 && (before == 0 || nanos < before) {
            self.requested_nanos.store(nanos, Ordering::Relaxed);
        }
    }

    /// Rests if anybody asked for it. For the runtime's `on_thread_park`.
    pub fn pause(&self) {
        let nanos = self.requested_nanos.swap(0, Ordering::Relaxed);
        if nanos > 0 {
            std::thread::sleep(Duration::from_nanos(nanos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_requested_pause_is_taken_once() {
        let pacer = Pacer::default();
        pacer.request_pause(Duration::from_millis(5));
        pacer.request_pause(Duration::ZERO);
        pacer.request_pause(Duration::from_nanos(7));
        pacer.request_pause(Duration::from_secs(60));
        assert_eq!(pacer.requested_nanos.load(Ordering::Relaxed), 7);
        pacer.pause();
        assert_eq!(pacer.requested_nanos.load(Ordering::Relaxed), 0);
    }
}
