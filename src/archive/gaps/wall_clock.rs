//! The wall clock of a run, as its journals tell of it.

use std::time::Duration;

use super::gap_length::GapLength;
use crate::archive::journal::OpenEvent;
use crate::base::time::UnixNanos;

/// Difference between two clocks that does not count as a step: clocks run a little apart.
const MAX_DRIFT: Duration = Duration::from_millis(100);
/// Longest time after a start of the machine within which a step mends the clock of the start.
const MAX_TIME_TO_MEND: Duration = Duration::from_secs(3600);

/// Difference between two clocks up to which no step is recorded in a journal.
const MAX_UNRECORDED_STEP: Duration = Duration::from_secs(2);

/// The relation of a wall clock to the time since the machine was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WallClock {
    /// Identifier of the start of the machine, or of the run where the journals lack it.
    boot: String,
    /// Reading of the wall clock at the start of the machine, in nanoseconds. It changes by each
    /// step of the clock.
    booted: i128,
}

impl WallClock {
    /// Takes what an `open` event says of the clock.
    pub(super) fn on_open(&mut self, open: &OpenEvent) {
        if let Some(booted) = open.booted {
            self.boot.clone_from(&open.boot);
            self.booted = i128::from(booted.nanos());
        } else if self.boot != open.run {
            self.boot.clone_from(&open.run);
            self.booted = 0;
        }
    }

    /// Takes a step of the clock, which showed `to` instead of `from`.
    pub(super) fn step(&mut self, from: UnixNanos, to: UnixNanos) {
        self.booted += signed_difference(from, to);
    }

    /// Returns whether a clock by which the machine was started at `booted` is this one, and was not
    /// set since.
    pub(super) fn is_clock_of(&self, booted: UnixNanos) -> bool {
        let difference = i128::from(booted.nanos()) - self.booted;
        difference.unsigned_abs() <= MAX_UNRECORDED_STEP.as_nanos()
    }

    /// Returns the length of a gap that starts at `from` by this clock, and ends at `to` by `end`.
    pub(super) fn gap_length(&self, from: UnixNanos, end: &Self, to: UnixNanos) -> GapLength {
        let by_bounds = signed_difference(from, to);
        if self.boot != end.boot {
            return if by_bounds < 0 { GapLength::Unknown } else { GapLength::Bounds };
        }
        let steps = end.booted - self.booted;
        if steps.unsigned_abs() <= MAX_DRIFT.as_nanos() {
            return GapLength::Bounds;
        }
        GapLength::Measured(duration(by_bounds - steps))
    }

    /// Returns the length of a gap between two starts of the machine, if the clock that showed `to`
    /// at its end was wrong then, and was set from `step_from` to `step_to` later on.
    pub(super) fn corrected_length(
        from: UnixNanos,
        to: UnixNanos,
        step_from: UnixNanos,
        step_to: UnixNanos,
    ) -> Option<GapLength> {
        // A clock that is set much later may have been right at that time.
        if from <= to && step_from.saturating_since(to) > MAX_TIME_TO_MEND {
            return None;
        }
        let length = signed_difference(from, to) + signed_difference(step_from, step_to);
        (length >= 0).then(|| GapLength::Measured(duration(length)))
    }

    /// Returns whether the machine was started between this time and that of `later`.
    pub(super) fn is_before_boot_of(&self, later: &Self) -> bool {
        !self.boot.is_empty() && self.boot != later.boot
    }
}

fn signed_difference(from: UnixNanos, to: UnixNanos) -> i128 {
    i128::from(to.nanos()) - i128::from(from.nanos())
}

/// Returns the duration of a number of nanoseconds; zero if it is negative.
fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}
