//! The times at which faults were injected.

use super::action::Action;
use super::timeline_line::TimelineLine;

/// The actions of a scenario, each with the time at which it was done.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    entries: Vec<(u64, Action)>,
}

impl FaultLog {
    pub(super) fn add(&mut self, time: u64, action: Action) {
        self.entries.push((time, action));
    }

    /// Returns the actions in words.
    pub(super) fn lines(&self) -> Vec<TimelineLine> {
        self.entries
            .iter()
            .map(|(time, action)| TimelineLine { time: *time, text: action.to_string() })
            .collect()
    }
}
