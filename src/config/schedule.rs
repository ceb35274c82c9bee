//! The schedule of the archive job.

use croner::Cron;
use croner::parser::{CronParser, Seconds};

use crate::base::time::UnixNanos;

/// A valid cron expression with seconds, in UTC, that has at least one occurrence.
#[derive(Debug, Clone)]
pub(crate) struct Schedule(Cron);

impl Schedule {
    /// Parses a cron expression with seconds.
    ///
    /// # Errors
    /// The text is not a cron expression with seconds, or never occurs; the message quotes it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fields = text.split_whitespace().count();
        if fields == 5 {
            let with_seconds = format!("0 {}", text.trim());
            return Err(format!(
                "`{text}` has five fields; write the seconds in front: \"{with_seconds}\""
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build();
        let cron = parser.parse(text).map_err(|error| {
            format!("`{text}` is not a cron expression: {error}; write for example \"0 5 * * * *\" for five minutes past each hour")
        })?;
        let schedule = Self(cron);
        if schedule.next_after(UnixNanos::from_seconds(1_700_000_000)).is_none() {
            return Err(format!("`{text}` has no occurrence"));
        }
        Ok(schedule)
    }

    /// Returns the text of the expression.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the next occurrence after `now`.
    pub(crate) fn next_after(&self, now: UnixNanos) -> Option<UnixNanos> {
        let seconds = i64::try_from(now.seconds()).ok()?;
        let now = chrono::DateTime::from_timestamp(seconds, 0)?;
        let next = self.0.find_next_occurrence(&now, false).ok()?;
        u64::try_from(next.timestamp()).ok().map(UnixNanos::from_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_needs_seconds_and_a_future_occurrence() {
        let schedule = Schedule::parse("0 5 * * * *").unwrap();
        let next = schedule.next_after(UnixNanos::from_seconds(7200)).unwrap();
        assert_eq!(next, UnixNanos::from_seconds(7200 + 300));
        for (bad, words) in [
            ("5 * * * *", "write the seconds in front: \"0 5 * * * *\""),
            ("often", "is not a cron expression"),
            ("0 61 * * * *", "is not a cron expression"),
            ("0 0 0 30 2 *", "has no occurrence"),
            ("", "is not a cron expression"),
        ] {
            let message = Schedule::parse(bad).unwrap_err();
            assert!(message.contains(words), "{bad}: {message}");
        }
    }
}
