//! Two clocks that are read at one moment.

use std::ops::Sub;
use std::time::Duration;

/// Longest time between two readings that are of one moment.
const MOMENT: Duration = Duration::from_millis(1);
/// Number of attempts, after which a machine is so busy that the last one has to do.
const MAX_ATTEMPTS: u32 = 10;

/// Reads a monotonic clock and another one at the same moment: a process may be stopped between two
/// readings.
pub(crate) fn read_together<M, T>(monotonic: impl Fn() -> M, mut other: impl FnMut() -> T) -> (M, T)
where
    M: Copy + Sub<Output = Duration>,
{
    let mut attempts = 0;
    let mut before = monotonic();
    loop {
        let reading = other();
        let after = monotonic();
        attempts += 1;
        if after - before <= MOMENT || attempts == MAX_ATTEMPTS {
            return (after, reading);
        }
        before = after;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_stop_between_two_readings_is_not_taken_for_a_difference_of_the_clocks() {
        let time = Cell::new(Duration::ZERO);
        let stops = Cell::new(2);
        let read_wall = || {
            let wall = time.get();
            if stops.get() > 0 {
                stops.set(stops.get() - 1);
                time.set(wall + Duration::from_secs(3));
            }
            wall
        };
        assert_eq!(
            read_together(|| time.get(), read_wall),
            (Duration::from_secs(6), Duration::from_secs(6))
        );
    }
}
