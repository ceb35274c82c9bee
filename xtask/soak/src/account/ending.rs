//! The end of a scenario.

use std::fmt;

/// The state of the recorder while its account is read.
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
