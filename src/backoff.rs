//! How long to wait before connecting again.

use std::time::Duration;

/// The first delay and the least.
const FIRST: Duration = Duration::from_millis(500);
/// The longest delay of our own accord.
const LONGEST: Duration = Duration::from_secs(60);
/// A connection that brought data and stood for this long has proved itself in any case.
const LONGEST_PROBATION: Duration = Duration::from_secs(5);
/// The longest delay that a server's `Retry-After` is believed.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Exponential back-off with jitter: 0.5 s, then up to 1 s, 2 s, … 60 s, each delay taken at random
/// from the upper half of its range, so that many recorders do not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    last: Duration,
}

impl Backoff {
    /// A connection brought data: the next failure starts from the shortest delay again, if the
    /// connection stood as long as the delay before it. A server that greets and drops is not
    /// hammered.
    pub(crate) fn worked(&mut self, lasted: Duration) {
        if lasted >= self.last.min(LONGEST_PROBATION) {
            self.failures = 0;
        }
    }

    /// The delay after one more failure. A pause that the server asked for is kept, up to an hour.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let shortest = (longest / 2).max(FIRST);
        let delay = shortest + longest.saturating_sub(shortest).mul_f64(fastrand::f64());
        self.last = delay;
        delay.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_half_a_second_to_a_minute_and_stay() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..100).map(|_| backoff.next(None)).collect();
        assert_eq!(delays[0], FIRST);
        assert!(delays.iter().all(|delay| (FIRST..=LONGEST).contains(delay)));
        assert!(delays[10..].iter().all(|delay| *delay >= LONGEST / 2));
        assert!(delays[10..].iter().any(|delay| *delay != delays[10]), "no jitter");
    }

    #[test]
    fn a_connection_that_works_resets_the_delay() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.next(None);
        }
        backoff.worked(Duration::from_millis(10));
        assert!(backoff.next(None) > FIRST, "data and an end at once prove nothing");
        backoff.worked(LONGEST_PROBATION);
        assert_eq!(backoff.next(None), FIRST);
        backoff.worked(FIRST);
        assert_eq!(backoff.next(None), FIRST);
    }

    #[test]
    fn the_server_may_ask_for_a_longer_pause_but_not_for_ever() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(backoff.next(Some(Duration::MAX)), LONGEST_ASKED);
    }
}
