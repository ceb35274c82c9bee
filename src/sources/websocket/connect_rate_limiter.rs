//! Connects take turns, so that many connections do not knock at once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When the next connect may be.
#[derive(Debug)]
pub(super) struct ConnectRateLimiter {
    interval: Duration,
    next_slot: Mutex<Option<Instant>>,
}

impl ConnectRateLimiter {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, next_slot: Mutex::new(None) }
    }

    /// Waits for the turn. One that is not taken, since the wait was given up, passes.
    pub(super) async fn acquire(&self) {
        let turn = {
            let mut next = self.next_slot.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = next.map_or(now, |next| next.max(now));
            *next = Some(turn + self.interval);
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connects_are_an_interval_apart_and_unused_slots_expire() {
        let turns = ConnectRateLimiter::new(Duration::from_secs(1));
        let begun = Instant::now();
        for turn in 0..5 {
            turns.acquire().await;
            assert_eq!(begun.elapsed().as_secs(), turn);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let begun = Instant::now();
        turns.acquire().await;
        assert!(begun.elapsed() < Duration::from_millis(10), "turns are not saved up");
    }
}
