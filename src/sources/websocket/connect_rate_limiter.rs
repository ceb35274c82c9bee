//! The rate limit of connects, which all connections of a source share.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Hands out slots that are at least an interval apart.
#[derive(Debug)]
pub(super) struct ConnectRateLimiter {
    interval: Duration,
    next_slot: Mutex<Option<Instant>>,
}

impl ConnectRateLimiter {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, next_slot: Mutex::new(None) }
    }

    /// Waits for the next slot.
    ///
    /// # Cancel safety
    /// A slot whose wait is dropped stays unused.
    pub(super) async fn acquire(&self) {
        let slot = {
            let mut next = self.next_slot.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let slot = next.map_or(now, |next| next.max(now));
            *next = Some(slot + self.interval);
            slot
        };
        sleep_until(slot).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connects_are_an_interval_apart_and_unused_slots_expire() {
        let limiter = ConnectRateLimiter::new(Duration::from_secs(1));
        let started = Instant::now();
        for second in 0..5 {
            limiter.acquire().await;
            assert_eq!(started.elapsed().as_secs(), second);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let started = Instant::now();
        limiter.acquire().await;
        assert!(started.elapsed() < Duration::from_millis(10), "slots are not saved up");
    }
}
