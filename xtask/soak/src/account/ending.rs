//! The end of a scenario.

use std::fmt;

/// What the recorder does when its account is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Running,
    Stopped,
    Killed,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "still running",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        })
    }
}
