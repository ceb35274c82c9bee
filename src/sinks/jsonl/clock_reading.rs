//! The wall clock between two ticks.

use std::time::Instant;

use crate::base::time::UnixNanos;

/// A wall-clock time that the engine handed over, and the monotonic time at which it did.
///
/// Between two readings the time advances monotonically: a step of the wall clock shows at the next
/// reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockReading {
    wall: UnixNanos,
    taken_at: Instant,
}

impl ClockReading {
    /// Returns a reading of `wall`, taken at this moment.
    pub(super) fn new(wall: UnixNanos) -> Self {
        Self { wall, taken_at: Instant::now() }
    }

    /// Returns the wall-clock time of the reading.
    pub(super) fn wall(self) -> UnixNanos {
        self.wall
    }

    /// Returns the wall-clock time of the reading plus the monotonic time since.
    pub(super) fn now(self) -> UnixNanos {
        self.wall.saturating_add(self.taken_at.elapsed())
    }
}
