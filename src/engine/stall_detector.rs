//! Whether the network thread was at work: what it did not look at may have happened at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::ticker::TICK_INTERVAL;

/// A beat that is late by more than this was held up.
const STALL_THRESHOLD: Duration = Duration::from_millis(500);

/// Beats with every tick, on the thread that it speaks of.
#[derive(Debug)]
pub(crate) struct StallDetector {
    epoch: Instant,
    /// Milliseconds from then: the last beat, and the one before.
    last_heartbeat: AtomicU64,
    previous_heartbeat: AtomicU64,
}

impl Default for StallDetector {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            last_heartbeat: AtomicU64::new(0),
            previous_heartbeat: AtomicU64::new(0),
        }
    }
}

impl StallDetector {
    pub(super) fn heartbeat(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.previous_heartbeat
            .store(self.last_heartbeat.swap(now, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Up to when the thread is known to have been at work, without a pause that has just ended.
    pub(super) fn last_responsive(&self, now: Instant) -> Instant {
        let at =
            |beat: &AtomicU64| self.epoch + Duration::from_millis(beat.load(Ordering::Relaxed));
        let (last, before) = (at(&self.last_heartbeat), at(&self.previous_heartbeat));
        let held_up = |from: Instant, to: Instant| {
            to.saturating_duration_since(from) > TICK_INTERVAL + STALL_THRESHOLD
        };
        if held_up(last, now) {
            last
        } else if held_up(before, last) && now.saturating_duration_since(last) < STALL_THRESHOLD {
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
    async fn a_stall_is_detected_before_and_right_after_the_next_heartbeat() {
        let pulse = StallDetector::default();
        for _ in 0..3 {
            tokio::time::advance(TICK_INTERVAL).await;
            pulse.heartbeat();
        }
        let beat = Instant::now();
        tokio::time::advance(TICK_INTERVAL).await;
        assert_eq!(pulse.last_responsive(Instant::now()), Instant::now());
        tokio::time::advance(3 * TICK_INTERVAL).await;
        assert_eq!(pulse.last_responsive(Instant::now()), beat);
        pulse.heartbeat();
        assert_eq!(pulse.last_responsive(Instant::now()), beat);
        tokio::time::advance(TICK_INTERVAL).await;
        assert_eq!(pulse.last_responsive(Instant::now()), Instant::now());
    }
}
