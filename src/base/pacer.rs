//! Paces reads: after a small read the network thread pauses for some milliseconds, so that one
//! wake-up serves many messages.
//!
//! At ordinary rates the cost of a recorder is its wake-ups, not its bytes. The pause is taken
//! where the thread would park anyway (the runtime's park hook), and not by a timer of the runtime,
//! whose wait every segment that arrives would end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The pause that the sources of one network thread request.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Requested pause in nanoseconds; 0 for none.
    requested_nanos: AtomicU64,
}

impl Pacer {
    /// Requests a pause before the thread next waits for events. The shortest request counts.
    pub fn request_pause(&self, pause: Duration) {
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed, here and below: requested and taken on the same thread.
        let requested = self.requested_nanos.load(Ordering::Relaxed);
        if nanos > 0 && (requested == 0 || nanos < requested) {
            self.requested_nanos.store(nanos, Ordering::Relaxed);
        }
    }

    /// Sleeps for the requested pause, if there is one. To be called from the runtime's
    /// `on_thread_park`.
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
