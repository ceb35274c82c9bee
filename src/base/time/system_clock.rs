//! The operating system's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::{Clock, UnixNanos, read_together};

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Returns the time at which the machine was started, by the wall clock as it is now: its reading
    /// less `CLOCK_BOOTTIME`. Two calls differ by the steps of the wall clock in between.
    pub fn booted(self) -> UnixNanos {
        let (running, now) = read_together(|| duration_of(ClockId::Boottime), || self.now());
        now.saturating_sub(running)
    }

    /// Returns a text that the system makes anew at each start of the machine, see `random(4)`; empty
    /// where it has none.
    pub fn boot_id() -> String {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.map(|id| id.trim_end().to_owned()).unwrap_or_default()
    }
}

fn duration_of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> UnixNanos {
        // A clock before 1970 counts as 1970: the hour is then wrong, but nothing is lost.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos::default().saturating_add(since)
    }

    /// Returns `CLOCK_BOOTTIME` less `CLOCK_MONOTONIC`, see `clock_gettime(2)`.
    fn suspended_total(&self) -> Duration {
        let (monotonic, running) =
            read_together(|| duration_of(ClockId::Monotonic), || duration_of(ClockId::Boottime));
        running.saturating_sub(monotonic)
    }
}
