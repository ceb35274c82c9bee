//! The times at which faults were injected.

use std::fmt;

use super::action::Action;
use super::format_time;

/// The actions of a scenario, each with the time at which it was done.
#[derive(Debug, Default)]
pub(super) struct FaultLog {
    entries: Vec<(u64, Action)>,
}

impl FaultLog {
    pub(super) fn add(&mut self, time: u64, action: Action) {
        self.entries.push((time, action));
    }
}

impl fmt::Display for FaultLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (time, action) in &self.entries {
            writeln!(f, "    {} {action}", format_time(*time))?;
        }
        Ok(())
    }
}
