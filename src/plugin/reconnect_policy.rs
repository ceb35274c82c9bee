//! The delays between attempts to connect.

use std::time::Duration;

use super::{Disconnect, DownCause};

/// The delays between attempts to connect.
///
/// The first is the shortest. Each is up to twice as long as the one before it, and drawn at random
/// from the upper half of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// First and shortest delay.
    pub first: Duration,
    /// Longest delay.
    pub max: Duration,
}

impl Default for ReconnectPolicy {
    /// Returns the policy of market data, of which every second counts.
    fn default() -> Self {
        Self { first: Duration::from_millis(500), max: Duration::from_secs(10) }
    }
}

impl ReconnectPolicy {
    /// Longest delay, if `max` is no longer, after the server itself has refused: it may count
    /// attempts, and ban who makes many.
    pub const MAX_AFTER_REFUSAL: Duration = Duration::from_secs(60);

    /// Returns the longest delay after this failure.
    pub(crate) fn max_after(&self, lost: &Disconnect) -> Duration {
        match lost.cause {
            DownCause::Http | DownCause::Refused if lost.retry_after.is_none() => {
                self.max.max(Self::MAX_AFTER_REFUSAL)
            }
            _ => self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::backoff::Backoff;

    #[test]
    fn a_server_that_was_away_for_26_seconds_costs_at_most_37() {
        let policy = ReconnectPolicy::default();
        let away = Duration::from_secs(26);
        for _ in 0..10_000 {
            let mut backoff = Backoff::new(policy.first);
            let mut attempt_at = Duration::ZERO;
            while attempt_at < away {
                let lost = Disconnect::new(DownCause::Connect, "refused");
                attempt_at += backoff.next_delay_within(policy.max_after(&lost));
            }
            assert!(attempt_at <= Duration::from_secs(37), "{attempt_at:?}");
        }
    }

    #[test]
    fn refusals_without_retry_after_are_spaced_up_to_a_minute() {
        let policy = ReconnectPolicy::default();
        let refusal = Disconnect::new(DownCause::Http, "429");
        assert_eq!(policy.max_after(&refusal), ReconnectPolicy::MAX_AFTER_REFUSAL);
        let dated = Disconnect { retry_after: Some(Duration::from_secs(1)), ..refusal.clone() };
        assert_eq!(policy.max_after(&dated), policy.max);
        let patient = ReconnectPolicy { max: Duration::from_secs(300), ..policy };
        assert_eq!(patient.max_after(&refusal), patient.max);
    }
}
