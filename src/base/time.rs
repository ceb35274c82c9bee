//! Wall-clock time: instants as Unix nanoseconds, UTC hours, and the clocks that read the time.
//!
//! Every interval (backoff, idle timeouts, sync) is measured with monotonic time. The wall clock
//! decides one thing only: the hour to which a message belongs.

mod clock;
mod hour;
mod manual_clock;
mod read_together;
mod receipt;
mod system_clock;
mod unix_nanos;

pub use self::clock::Clock;
pub use self::hour::Hour;
pub use self::manual_clock::ManualClock;
pub(crate) use self::read_together::read_together;
pub use self::receipt::Receipt;
pub use self::system_clock::SystemClock;
pub use self::unix_nanos::UnixNanos;
