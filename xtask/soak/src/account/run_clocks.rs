//! The clocks of all runs of a scenario.

use super::run_clock::RunClock;

/// The runs in their order. Their offsets differ by more than a scenario lasts, or not at all, so
/// that a time that was shown belongs to one real time.
#[derive(Debug, Default)]
pub(super) struct RunClocks {
    runs: Vec<RunClock>,
}

impl RunClocks {
    /// Adds a run that begins.
    pub(super) fn begin(&mut self, offset: i64, from: u64) {
        self.runs.push(RunClock { offset, from, to: None });
    }

    /// Ends the newest run.
    pub(super) fn end(&mut self, to: u64) {
        if let Some(run) = self.runs.last_mut() {
            run.to.get_or_insert(to);
        }
    }

    /// Returns the real time at which a run showed a time; `None` if none ever did.
    pub(super) fn real_time(&self, shown: u64) -> Option<u64> {
        self.runs.iter().rev().find_map(|run| run.real_time(shown))
    }
}
