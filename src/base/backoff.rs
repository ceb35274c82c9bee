//! Delays between attempts to connect.

use std::time::Duration;

/// First and shortest delay.
const MIN_DELAY: Duration = Duration::from_millis(500);
/// Longest delay that the recorder chooses by itself.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Lifetime after which a connection that delivered data always counts as a success.
const MAX_PROBATION: Duration = Duration::from_secs(5);
/// Longest delay that is granted to a server's `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Exponential backoff with jitter: 0.5 s, then up to 1 s, 2 s, … 60 s.
///
/// Each delay is drawn at random from the upper half of its range, so that many recorders do not
/// reconnect together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    last_delay: Duration,
}

impl Backoff {
    /// Records a connection that delivered data, with its lifetime.
    ///
    /// The next delay is the shortest again if the connection lasted as long as the delay before
    /// it. A server that accepts and drops connections at once is not hammered.
    pub(crate) fn record_success(&mut self, lifetime: Duration) {
        if lifetime >= self.last_delay.min(MAX_PROBATION) {
            self.failures = 0;
        }
    }

    /// Returns the delay after one more failure, at least the pause that the server asked for, up
    /// to an hour.
    pub(crate) fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        let longest = MIN_DELAY.saturating_mul(1 << self.failures.min(16)).min(MAX_DELAY);
        self.failures = self.failures.saturating_add(1);
        let shortest = (longest / 2).max(MIN_DELAY);
        let delay = shortest + longest.saturating_sub(shortest).mul_f64(fastrand::f64());
        self.last_delay = delay;
        delay.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_half_a_second_to_a_minute_and_stay() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..100).map(|_| backoff.next_delay(None)).collect();
        assert_eq!(delays[0], MIN_DELAY);
        assert!(delays.iter().all(|delay| (MIN_DELAY..=MAX_DELAY).contains(delay)));
        assert!(delays[10..].iter().all(|delay| *delay >= MAX_DELAY / 2));
        assert!(delays[10..].iter().any(|delay| *delay != delays[10]), "no jitter");
    }

    #[test]
    fn only_a_connection_that_lasted_resets_the_delay() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.next_delay(None);
        }
        backoff.record_success(Duration::from_millis(10));
        assert!(backoff.next_delay(None) > MIN_DELAY, "data and an end at once prove nothing");
        backoff.record_success(MAX_PROBATION);
        assert_eq!(backoff.next_delay(None), MIN_DELAY);
        backoff.record_success(MIN_DELAY);
        assert_eq!(backoff.next_delay(None), MIN_DELAY);
    }

    #[test]
    fn retry_after_is_honored_up_to_an_hour() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next_delay(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(backoff.next_delay(Some(Duration::MAX)), MAX_RETRY_AFTER);
    }
}
