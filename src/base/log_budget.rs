//! A limit on log lines of one kind.

use std::time::Instant;

use super::failure_log::FAILURE_LOG_INTERVAL;

/// Number of lines within [`FAILURE_LOG_INTERVAL`].
const MAX_LINES: u32 = 10;

/// A limit on log lines that thousands of files may cause at once: the first ones name the trouble,
/// and the journals have all of it.
#[derive(Debug)]
pub(crate) struct LogBudget {
    interval_start: Instant,
    lines: u32,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self { interval_start: Instant::now(), lines: 0 }
    }
}

impl LogBudget {
    /// Returns whether a further line may be logged, and counts it.
    pub(crate) fn is_due(&mut self) -> bool {
        if self.interval_start.elapsed() >= FAILURE_LOG_INTERVAL {
            *self = Self::default();
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= MAX_LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_a_minute_are_logged() {
        let mut budget = LogBudget::default();
        assert_eq!((0..100).filter(|_| budget.is_due()).count(), MAX_LINES as usize);
        budget.interval_start -= FAILURE_LOG_INTERVAL;
        assert!(budget.is_due());
    }
}
