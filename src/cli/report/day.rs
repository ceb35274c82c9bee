//! A day in UTC.

use crate::base::time::{Hour, UnixNanos};

const DAY_SECONDS: u64 = 24 * 3600;

/// A day in UTC, as the number of days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(pub(super) u64);

impl Day {
    /// Returns the day that contains `time`.
    pub(super) fn containing(time: UnixNanos) -> Self {
        Self(time.seconds() / DAY_SECONDS)
    }

    /// Returns the first day that begins at `time` or later.
    pub(super) fn beginning_from(time: UnixNanos) -> Self {
        Self(time.seconds().div_ceil(DAY_SECONDS))
    }

    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    pub(super) fn start(self) -> UnixNanos {
        UnixNanos::from_seconds(self.0 * DAY_SECONDS)
    }

    /// Returns the 24 hours of the day.
    pub(super) fn hours(self) -> impl Iterator<Item = Hour> {
        let start = self.start().seconds();
        (start..start + DAY_SECONDS).step_by(3600).filter_map(Hour::starting_at)
    }

    /// Returns the date, such as `2026-01-31`.
    pub(super) fn date(self) -> String {
        let time = self.start().to_string();
        time.get(..10).unwrap_or(&time).to_owned()
    }
}
