//! How long to wait before connecting again.

use std::time::Duration;

/// The first delay and the least.
const MIN_DELAY: Duration = Duration::from_millis(500);
/// The longest delay of our own accord.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// A connection that brought data and stood for this long has proved itself in any case.
const MAX_PROBATION: Duration = Duration::from_secs(5);
/// The longest delay that a server's `Retry-After` is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Exponential back-off with jitter: 0.5 s, then up to 1 s, 2 s, … 60 s, each delay taken at random
/// from the upper half of its range, so that many recorders do not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    last_delay: Duration,
}

impl Backoff {
    /// A connection brought data: the next failure starts from the shortest delay again, if the
    /// connection stood as long as the delay before it. A server that greets and drops is not
    /// hammered.
    pub(crate) fn record_success(&mut self, lasted: Duration) {
        if lasted >= self.last_delay.min(MAX_PROBATION) {
            self.failures = 0;
        }
    }

    /// The delay after one more failure. A pause that the server asked for is kept, up to an hour.
    pub(crate) fn next_delay(&mut self, asked: Option<Duration>) -> Duration {
        let longest = MIN_DELAY.saturating_mul(1 << self.failures.min(16)).min(MAX_DELAY);
        self.failures = self.failures.saturating_add(1);
        let shortest = (longest / 2).max(MIN_DELAY);
        let delay = shortest + longest.saturating_sub(shortest).mul_f64(fastrand::f64());
        self.last_delay = delay;
        delay.max(asked.unwrap_or_default().min(MAX_RETRY_AFTER))
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
