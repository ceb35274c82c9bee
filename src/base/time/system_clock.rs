//! The operating system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Clock, UnixNanos};

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

    /// Returns `CLOCK_BOOTTIME` less `CLOCK_MONOTONIC`, see `clock_gettime(2)`.
    fn suspended_total(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        let [monotonic, boot_time] = [ClockId::Monotonic, ClockId::Boottime].map(|clock| {
            let time = clock_gettime(clock);
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
        });
        boot_time.saturating_sub(monotonic)
    }
}
