//! Wall-clock time: instants as Unix nanoseconds, UTC hours, and where "now" comes from.
//!
//! Every interval (back-off, idle time-outs, sync) is measured with monotonic time. The wall
//! clock decides one thing only: the hour to which a message belongs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_HOUR: u64 = 3600;

/// An instant: nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted (as in POSIX).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(u64);

impl UnixNanos {
    /// The instant `nanos` nanoseconds after the epoch.
    pub const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `seconds` seconds after the epoch; the far future saturates.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NANOS_PER_SECOND))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }

    /// How far apart the two are.
    pub fn abs_diff(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `duration` later; the far future saturates.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The instant `duration` earlier, at least 1970.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// RFC 3339, UTC, milliseconds: `2026-01-31T14:03:59.120Z`.
impl fmt::Display for UnixNanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.seconds()).unwrap_or(i64::MAX);
        let nanos = u32::try_from(self.0 % NANOS_PER_SECOND).unwrap_or(0);
        match chrono::DateTime::from_timestamp(seconds, nanos) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.3fZ")),
            None => write!(f, "{seconds}s"),
        }
    }
}

/// A UTC hour, known by the Unix second at which it starts (a multiple of 3600).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u64);

impl Hour {
    /// The hour in which `time` lies.
    pub const fn containing(time: UnixNanos) -> Self {
        Self(time.seconds() / SECONDS_PER_HOUR * SECONDS_PER_HOUR)
    }

    /// The hour that starts at this Unix second, or `None` when no hour starts there.
    pub const fn starting_at(seconds: u64) -> Option<Self> {
        if seconds.is_multiple_of(SECONDS_PER_HOUR) { Some(Self(seconds)) } else { None }
    }

    /// The Unix second at which the hour starts.
    pub const fn start_seconds(self) -> u64 {
        self.0
    }

    /// The first instant of the hour.
    pub const fn start(self) -> UnixNanos {
        UnixNanos::from_seconds(self.0)
    }

    /// The first instant after the hour.
    pub const fn end(self) -> UnixNanos {
        UnixNanos::from_seconds(self.0.saturating_add(SECONDS_PER_HOUR))
    }
}

/// `2026-01-31T14Z`, or the number where no calendar reaches.
impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|s| chrono::DateTime::from_timestamp(s, 0)) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%HZ")),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Where "now" comes from: the system, or a test's hand.
pub trait Clock: Send + Sync {
    /// The wall-clock time. It may step in either direction between two calls.
    fn now(&self) -> UnixNanos;

    /// For how long the machine has been suspended since it booted: monotonic time does not go on
    /// then. (`CLOCK_BOOTTIME` less `CLOCK_MONOTONIC`, see `clock_gettime(2)`.)
    fn suspended_total(&self) -> Duration {
        Duration::ZERO
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> UnixNanos {
        // A clock before 1970 counts as 1970: the hour is then wrong, but nothing is lost.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos::default().saturating_add(since)
    }

    fn suspended_total(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        let [awake, all] = [ClockId::Monotonic, ClockId::Boottime].map(|clock| {
            let time = clock_gettime(clock);
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
        });
        all.saturating_sub(awake)
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `time`.
    pub fn new(time: UnixNanos) -> Self {
        Self(AtomicU64::new(time.nanos()))
    }

    /// Moves the clock, in either direction.
    pub fn set(&self, time: UnixNanos) {
        // Relaxed: the clock orders nothing but itself.
        self.0.store(time.nanos(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixNanos {
        UnixNanos(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_contains_its_first_and_last_nanosecond() {
        let hour = Hour::starting_at(1_700_000_000 / 3600 * 3600).unwrap();
        let first = UnixNanos::from_seconds(hour.start_seconds());
        let last = UnixNanos::new(first.nanos() + 3600 * NANOS_PER_SECOND - 1);
        assert_eq!(Hour::containing(first), hour);
        assert_eq!(Hour::containing(last), hour);
        assert!(Hour::containing(last.saturating_add(Duration::from_nanos(1))) > hour);
    }

    #[test]
    fn only_multiples_of_3600_start_an_hour() {
        assert_eq!(Hour::starting_at(7200).map(Hour::start_seconds), Some(7200));
        assert_eq!(Hour::starting_at(1_700_000_000), None);
    }

    #[test]
    fn times_are_shown_as_rfc_3339() {
        let time = UnixNanos::new(1_700_000_000_123_456_789);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Hour::containing(time).to_string(), "2023-11-14T22Z");
        assert_eq!(UnixNanos::new(u64::MAX).to_string(), "2554-07-21T23:34:33.709Z");
    }
}
