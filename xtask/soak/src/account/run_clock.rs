//! The clock of one run of the recorder.

/// Nanoseconds by which an event of a run may seem to lie outside of it.
const MARGIN: i128 = 100_000_000;

/// A run, and how far its clock was off. All times are real ones in Unix nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunClock {
    /// Seconds by which the clock of the run is ahead of the real one.
    pub(super) offset: i64,
    pub(super) from: u64,
    /// End of the run; `None` while it lasts.
    pub(super) to: Option<u64>,
}

impl RunClock {
    /// Returns the real time at which the clock of this run showed a time; `None` if it never did.
    pub(super) fn real_time(&self, shown: u64) -> Option<u64> {
        let real = i128::from(shown) - i128::from(self.offset) * 1_000_000_000;
        let begins = i128::from(self.from) - MARGIN;
        let ends = self.to.map_or(i128::MAX, |to| i128::from(to) + MARGIN);
        let in_run = begins <= real && real <= ends;
        in_run.then(|| u64::try_from(real).ok()).flatten()
    }
}
