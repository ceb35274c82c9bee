//! The certainty of a gap.

use std::fmt;

use serde::Serialize;

/// The degree to which a gap's bounds, or the gap itself, are certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Both bounds were recorded when they occurred.
    Exact,
    /// The gap was at most this long. Its start is, for example, the last sign of life of a run that
    /// crashed.
    AtMost,
    /// Perhaps nothing is missing.
    Possible,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::AtMost => "at_most",
            Self::Possible => "possible",
        })
    }
}
