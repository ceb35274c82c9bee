//! Detects that the network thread was held up: events of that time were not noticed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Interval of the pipeline's ticks, each of which is a heartbeat.
pub(super) const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Delay of a heartbeat beyond which the thread counts as held up.
const STALL_THRESHOLD: Duration = Duration::from_millis(500);

/// Detects stalls of the thread that sends the heartbeats.
#[derive(Debug)]
pub(crate) struct StallDetector {
    epoch: Instant,
    /// Milliseconds from the epoch to the last heartbeat.
    last_heartbeat_ms: AtomicU64,
    /// Milliseconds from the epoch to the heartbeat before the last.
    previous_heartbeat_ms: AtomicU64,
}

impl Default for StallDetector {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            last_heartbeat_ms: AtomicU64::new(0),
            previous_heartbeat_ms: AtomicU64::new(0),
        }
    }
}

impl StallDetector {
    /// Records that the thread works.
    pub(super) fn heartbeat(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Relaxed, here and below: written and read on the same thread.
        let last = self.last_heartbeat_ms.swap(now, Ordering::Relaxed);
        self.previous_heartbeat_ms.store(last, Ordering::Relaxed);
    }

    /// Returns the last time at which the thread is known to have worked, before a stall that lasts
    /// or has just ended.
    pub(super) fn last_responsive(&self, now: Instant) -> Instant {
        let last = self.load(&self.last_heartbeat_ms);
        let previous = self.load(&self.previous_heartbeat_ms);
        let is_stall = |from: Instant, to: Instant| {
            to.saturating_duration_since(from) > TICK_INTERVAL + STALL_THRESHOLD
        };
        if is_stall(last, now) {
            last
        } else if is_stall(previous, last) && now.saturating_duration_since(last) < STALL_THRESHOLD
        {
            // Chance decides which task is woken first at the end of a stall.
            previous
        } else {
            now
        }
    }

    fn load(&self, heartbeat_ms: &AtomicU64) -> Instant {
        self.epoch + Duration::from_millis(heartbeat_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_detected_before_and_right_after_the_next_heartbeat() {
        let detector = StallDetector::default();
        for _ in 0..3 {
            tokio::time::advance(TICK_INTERVAL).await;
            detector.heartbeat();
        }
        let last = Instant::now();
        tokio::time::advance(TICK_INTERVAL).await;
        assert_eq!(detector.last_responsive(Instant::now()), Instant::now());
        tokio::time::advance(3 * TICK_INTERVAL).await;
        assert_eq!(detector.last_responsive(Instant::now()), last);
        detector.heartbeat();
        assert_eq!(detector.last_responsive(Instant::now()), last);
        tokio::time::advance(TICK_INTERVAL).await;
        assert_eq!(detector.last_responsive(Instant::now()), Instant::now());
    }
}
