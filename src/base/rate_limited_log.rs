//! A rate of log lines that does not depend on how often their cause occurs.

use std::time::Instant;

use super::failure_log::FAILURE_LOG_INTERVAL;

/// A limit for log lines that a stranger can cause any number of times: one a minute, with the
/// number of occurrences.
#[derive(Debug, Default)]
pub(crate) struct RateLimitedLog {
    logged_at: Option<Instant>,
    unlogged: u64,
}

impl RateLimitedLog {
    /// Counts an occurrence. Returns the number of those that are not logged yet, if a line is due.
    pub(crate) fn record(&mut self) -> Option<u64> {
        self.unlogged += 1;
        if self.logged_at.is_some_and(|at| at.elapsed() < FAILURE_LOG_INTERVAL) {
            return None;
        }
        self.logged_at = Some(Instant::now());
        self.take_unlogged()
    }

    /// Returns the number of occurrences that are not logged yet, if there are any, for a last line.
    pub(crate) fn take_unlogged(&mut self) -> Option<u64> {
        let unlogged = std::mem::take(&mut self.unlogged);
        (unlogged > 0).then_some(unlogged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute_has_the_occurrences_since_the_last() {
        let mut log = RateLimitedLog::default();
        assert_eq!(log.record(), Some(1));
        assert_eq!((log.record(), log.record()), (None, None));
        log.logged_at = log.logged_at.and_then(|at| at.checked_sub(FAILURE_LOG_INTERVAL));
        assert_eq!(log.record(), Some(3));
        assert_eq!((log.record(), log.take_unlogged(), log.take_unlogged()), (None, Some(1), None));
    }
}
