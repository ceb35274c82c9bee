//! The reasons in a journal's `removed` events.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The retention limit that caused a removal, named by its configuration key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// `max_age`.
    MaxAge,
    /// `max_total_size`.
    MaxTotalSize,
    /// `min_free_disk`.
    MinFreeDisk,
    /// `keep_journals`.
    KeepJournals,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxAge => "max_age",
            Self::MaxTotalSize => "max_total_size",
            Self::MinFreeDisk => "min_free_disk",
            Self::KeepJournals => "keep_journals",
        })
    }
}
