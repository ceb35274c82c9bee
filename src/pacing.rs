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
    asked: AtomicU64,
}

impl Pacer {
    /// Asks that the thread rest before it next waits for events. Of several wishes the shortest
    /// holds.
    pub fn ask(&self, rest: Duration) {
        let nanos = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: asked and taken on the same thread.
        let before = self.asked.load(Ordering::Relaxed);
        if nanos > 0 && (before == 0 || nanos < before) {
            self.asked.store(nanos, Ordering::Relaxed);
        }
    }

    /// Rests if anybody asked for it. For the runtime's `on_thread_park`.
    pub fn rest(&self) {
        let nanos = self.asked.swap(0, Ordering::Relaxed);
        if nanos > 0 {
            std::thread::sleep(Duration::from_nanos(nanos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wish_holds_and_holds_once() {
        let pacer = Pacer::default();
        pacer.ask(Duration::from_millis(5));
        pacer.ask(Duration::ZERO);
        pacer.ask(Duration::from_nanos(7));
        pacer.ask(Duration::from_secs(60));
        assert_eq!(pacer.asked.load(Ordering::Relaxed), 7);
        pacer.rest();
        assert_eq!(pacer.asked.load(Ordering::Relaxed), 0);
    }
}
