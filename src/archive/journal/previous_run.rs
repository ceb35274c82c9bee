//! The completeness of the run before.

use serde::{Deserialize, Serialize};

use crate::base::time::UnixNanos;

/// The completeness of the run before. A run that is killed tells it no more: the next one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousRun {
    /// Number of that run.
    pub run_number: u64,
    /// Time until which everything that was sent is in the files of the directory.
    pub complete_until: UnixNanos,
    /// Time by the same clock at which the machine was started: it tells a clock that was set since.
    pub booted: UnixNanos,
}
