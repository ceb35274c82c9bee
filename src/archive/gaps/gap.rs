//! A gap in a recording.

use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use super::certainty::Certainty;
use super::gap_kind::GapKind;
use super::gap_length::GapLength;
use crate::base::time::UnixNanos;

/// An interval in which something may be missing from the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Start of the gap.
    pub from: UnixNanos,
    /// End of the gap; `None` while it lasts. It is earlier than the start if the clock was set back
    /// within the gap.
    pub to: Option<UnixNanos>,
    /// Length of the gap.
    pub length: GapLength,
    /// Kind of the gap.
    pub kind: GapKind,
    /// Cause in one word. A gap of kind `down` has the cause under which the status counts the
    /// disconnect.
    pub cause: String,
    /// Details in the words of the operating system or the server; may be empty.
    pub detail: String,
    /// Number of missing messages, if it is known.
    pub messages: Option<u64>,
    /// Certainty of the gap.
    pub certainty: Certainty,
}

impl Gap {
    /// Returns the length of the gap, which goes on until `now` if it has no end; `None` if it is
    /// not known.
    pub fn duration(&self, now: UnixNanos) -> Option<Duration> {
        match self.length {
            GapLength::Bounds => Some(self.to.unwrap_or(now).saturating_since(self.from)),
            GapLength::Measured(length) => Some(length),
            GapLength::Unknown => None,
        }
    }

    /// Returns whether the gap ends before it starts, by the wall clock.
    pub fn is_reversed(&self) -> bool {
        self.to.is_some_and(|to| to < self.from)
    }
}

/// Serializes times as RFC 3339 text and adds the duration in seconds.
impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut gap = serializer.serialize_struct("Gap", 8)?;
        gap.serialize_field("from", &self.from.to_string())?;
        gap.serialize_field("to", &self.to.map(|to| to.to_string()))?;
        let length = self.to.and_then(|to| self.duration(to));
        let seconds = length.map(|length| length.as_secs_f64());
        gap.serialize_field("seconds", &seconds)?;
        gap.serialize_field("kind", &self.kind)?;
        gap.serialize_field("cause", &self.cause)?;
        gap.serialize_field("detail", &self.detail)?;
        gap.serialize_field("messages", &self.messages)?;
        gap.serialize_field("certainty", &self.certainty)?;
        gap.end()
    }
}
