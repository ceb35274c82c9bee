//! The kinds of gaps.

use std::fmt;

use serde::Serialize;

/// The kind of a gap: the thing that the recorder did not do in that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// The recorder ran and was not connected.
    Down,
    /// Messages were received and are not in the archive.
    Dropped,
    /// The disk took no writes. Messages waited in memory; those that did not fit there are a gap of
    /// kind [`Dropped`](Self::Dropped).
    Stalled,
    /// The recording of the stem had not begun: the time from the start of its first hour to its first
    /// `open`.
    NotRecorded,
    /// No recorder ran.
    NotRunning,
    /// The journals do not say whether a recorder listened.
    Unknown,
}

impl fmt::Display for GapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Dropped => "dropped",
            Self::Stalled => "stalled",
            Self::NotRecorded => "not_recorded",
            Self::NotRunning => "not_running",
            Self::Unknown => "unknown",
        })
    }
}
