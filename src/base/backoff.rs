//! Delays between attempts.

use std::time::Duration;

/// Lifetime after which a connection that delivered data always counts as a success.
const MAX_PROBATION: Duration = Duration::from_secs(5);
/// Longest delay that is granted to a server's `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Exponential backoff with jitter: the first delay, then up to twice as long each time, up to a
/// maximum.
///
/// Each delay is drawn at random from the upper half of its range, so that many recorders do not
/// reconnect together.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// First and shortest delay.
    first: Duration,
    failures: u32,
    last_delay: Duration,
}

impl Default for Backoff {
    /// Creates a backoff that begins with half a second.
    fn default() -> Self {
        Self::new(Duration::from_millis(500))
    }
}

impl Backoff {
    /// Longest delay, where nothing else is said.
    const DEFAULT_MAX: Duration = Duration::from_secs(60);

    /// Creates a backoff that begins with this delay.
    pub(crate) fn new(first: Duration) -> Self {
        Self { first, failures: 0, last_delay: Duration::ZERO }
    }

    /// Records a connection that delivered data, with its lifetime.
    ///
    /// The next delay is the shortest again if the connection lasted as long as the delay before
    /// it. A server that accepts and drops connections at once is not hammered.
    pub(crate) fn record_success(&mut self, lifetime: Duration) {
        if lifetime >= self.last_delay.min(MAX_PROBATION) {
            self.failures = 0;
        }
    }

    /// Returns the delay after one more failure, up to a minute.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.next_delay_within(Self::DEFAULT_MAX)
    }

    /// Returns the delay after one more failure, up to `max`.
    pub(crate) fn next_delay_within(&mut self, max: Duration) -> Duration {
        let longest = self.first.saturating_mul(1 << self.failures.min(16)).min(max);
        self.failures = self.failures.saturating_add(1);
        let shortest = (longest / 2).max(self.first.min(longest));
        let delay = shortest + longest.saturating_sub(shortest).mul_f64(fastrand::f64());
        self.last_delay = delay;
        delay
    }

    /// Returns the delay after one more failure, up to `max` but at least the pause that the
    /// server asked for, up to an hour.
    pub(crate) fn next_delay_after(&mut self, pause: Duration, max: Duration) -> Duration {
        self.next_delay_within(max).max(pause.min(MAX_RETRY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);

    #[test]
    fn delays_grow_from_half_a_second_to_a_minute_and_stay() {
        let mut backoff = Backoff::default();
        let max = Backoff::DEFAULT_MAX;
        let delays: Vec<_> = (0..100).map(|_| backoff.next_delay()).collect();
        assert_eq!(delays[0], FIRST);
        assert!(delays.iter().all(|delay| (FIRST..=max).contains(delay)));
        assert!(delays[10..].iter().all(|delay| *delay >= max / 2));
        assert!(delays[10..].iter().any(|delay| *delay != delays[10]), "no jitter");
    }

    #[test]
    fn only_a_connection_that_lasted_resets_the_delay() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.record_success(Duration::from_millis(10));
        assert!(backoff.next_delay() > FIRST, "data and an end at once prove nothing");
        backoff.record_success(MAX_PROBATION);
        assert_eq!(backoff.next_delay(), FIRST);
        backoff.record_success(FIRST);
        assert_eq!(backoff.next_delay(), FIRST);
    }

    #[test]
    fn a_first_delay_above_the_maximum_is_the_maximum() {
        let max = Duration::from_millis(200);
        assert_eq!(Backoff::default().next_delay_within(max), max);
    }

    #[test]
    fn retry_after_is_honored_up_to_an_hour() {
        let mut backoff = Backoff::default();
        let max = Duration::from_secs(10);
        let pause = Duration::from_secs(90);
        assert_eq!(backoff.next_delay_after(pause, max), pause);
        assert_eq!(backoff.next_delay_after(Duration::MAX, max), MAX_RETRY_AFTER);
    }
}
