//! Whether the network thread was at work: what it did not look at may have happened at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::ticker::TICK;

/// A beat that is late by more than this was held up.
const LATE: Duration = Duration::from_millis(500);

/// Beats with every tick, on the thread that it speaks of.
#[derive(Debug)]
pub(crate) struct Pulse {
    begun: Instant,
    /// Milliseconds from then: the last beat, and the one before.
    last: AtomicU64,
    before: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0), before: AtomicU64::new(0) }
    }
}

impl Pulse {
    pub(super) fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.before.store(self.last.swap(now, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Up to when the thread is known to have been at work, without a pause that has just ended.
    pub(super) fn at_work_until(&self, now: Instant) -> Instant {
        let at =
            |beat: &AtomicU64| self.begun + Duration::from_millis(beat.load(Ordering::Relaxed));
        let (last, before) = (at(&self.last), at(&self.before));
        let held_up = |from: Instant, to: Instant| to.saturating_duration_since(from) > TICK + LATE;
        if held_up(last, now) {
            last
        } else if held_up(before, last) && now.saturating_duration_since(last) < LATE {
            // Whoever is woken first at the end of a pause is a matter of chance.
            before
        } else {
            now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_known_whether_or_not_the_next_beat_came_first() {
        let pulse = Pulse::default();
        for _ in 0..3 {
            tokio::time::advance(TICK).await;
            pulse.beat();
        }
        let beat = Instant::now();
        tokio::time::advance(TICK).await;
        assert_eq!(pulse.at_work_until(Instant::now()), Instant::now());
        tokio::time::advance(3 * TICK).await;
        assert_eq!(pulse.at_work_until(Instant::now()), beat);
        pulse.beat();
        assert_eq!(pulse.at_work_until(Instant::now()), beat);
        tokio::time::advance(TICK).await;
        assert_eq!(pulse.at_work_until(Instant::now()), Instant::now());
    }
}
