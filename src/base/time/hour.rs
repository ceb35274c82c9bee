//! A UTC hour, the unit in which messages are filed.

use std::fmt;

use super::UnixNanos;

const SECONDS_PER_HOUR: u64 = 3600;

/// A UTC hour, identified by the Unix second at which it starts (a multiple of 3600).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u64);

impl Hour {
    /// Returns the hour that contains `time`.
    pub const fn containing(time: UnixNanos) -> Self {
        Self(time.seconds() / SECONDS_PER_HOUR * SECONDS_PER_HOUR)
    }

    /// Returns the hour that starts at this Unix second, or `None` if no hour starts there.
    pub const fn starting_at(seconds: u64) -> Option<Self> {
        if seconds.is_multiple_of(SECONDS_PER_HOUR) { Some(Self(seconds)) } else { None }
    }

    /// Returns the Unix second at which the hour starts.
    pub const fn start_seconds(self) -> u64 {
        self.0
    }

    /// Returns the first instant of the hour.
    pub const fn start(self) -> UnixNanos {
        UnixNanos::from_seconds(self.0)
    }

    /// Returns the first instant after the hour.
    pub const fn end(self) -> UnixNanos {
        UnixNanos::from_seconds(self.0.saturating_add(SECONDS_PER_HOUR))
    }
}

/// `2026-01-31T14Z`, or the Unix second where the calendar does not reach.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|s| chrono::DateTime::from_timestamp(s, 0)) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%HZ")),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_hour_contains_its_first_and_last_nanosecond() {
        let hour = Hour::starting_at(1_700_000_000 / 3600 * 3600).unwrap();
        let first = UnixNanos::from_seconds(hour.start_seconds());
        let next = first.saturating_add(Duration::from_secs(3600));
        let last = next.saturating_sub(Duration::from_nanos(1));
        assert_eq!(Hour::containing(first), hour);
        assert_eq!(Hour::containing(last), hour);
        assert!(Hour::containing(next) > hour);
        assert_eq!(hour.end(), next);
    }

    #[test]
    fn only_multiples_of_3600_start_an_hour() {
        assert_eq!(Hour::starting_at(7200).map(Hour::start_seconds), Some(7200));
        assert_eq!(Hour::starting_at(1_700_000_000), None);
    }

    #[test]
    fn an_hour_is_shown_as_date_and_hour() {
        let time = UnixNanos::new(1_700_000_000_123_456_789);
        assert_eq!(Hour::containing(time).to_string(), "2023-11-14T22Z");
    }
}
