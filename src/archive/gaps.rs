//! Gaps: the stretches of time in which something may be missing from the archive, and why. They
//! are worked out from the journals, here and nowhere else.

mod detector;
mod run_segment;
mod topic_outages;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use self::detector::GapDetector;
use self::run_segment::segments_by_run;
use super::journal::JournalEntry;
use crate::base::time::{Hour, UnixNanos};

/// A stretch of time in which something may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// When it began.
    pub from: UnixNanos,
    /// When it ended; `None` while it goes on.
    pub to: Option<UnixNanos>,
    /// What was not done.
    pub kind: GapKind,
    /// Why, in a word: for `down` as the status counts it.
    pub cause: String,
    /// The particulars, in the system's or the server's words; may be empty.
    pub detail: String,
    /// How many messages are missing, where that is known.
    pub messages: Option<u64>,
    /// How sure that is.
    pub certainty: Certainty,
}

/// What a gap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// The recorder ran and was not connected.
    Down,
    /// Messages were received and are not in the archive.
    Dropped,
    /// The disk took nothing. Messages waited; those that found no room are a gap of their own.
    Stalled,
    /// No recorder ran.
    NotRunning,
    /// The journal does not tell.
    Unknown,
}

impl fmt::Display for GapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "down",
            Self::Dropped => "dropped",
            Self::Stalled => "stalled",
            Self::NotRunning => "not_running",
            Self::Unknown => "unknown",
        })
    }
}

/// How sure a gap is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// Both ends were noted when they came.
    Exact,
    /// It was no longer than that: its beginning is the last sign of life of a run that crashed.
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

impl Serialize for Gap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut gap = serializer.serialize_struct("Gap", 8)?;
        gap.serialize_field("from", &self.from.to_string())?;
        gap.serialize_field("to", &self.to.map(|to| to.to_string()))?;
        let seconds = self.to.map(|to| to.saturating_since(self.from).as_secs_f64());
        gap.serialize_field("seconds", &seconds)?;
        gap.serialize_field("kind", &self.kind)?;
        gap.serialize_field("cause", &self.cause)?;
        gap.serialize_field("detail", &self.detail)?;
        gap.serialize_field("messages", &self.messages)?;
        gap.serialize_field("certainty", &self.certainty)?;
        gap.end()
    }
}

/// What is known of an hour of a stem.
#[derive(Debug, Clone)]
pub struct HourRecord {
    /// The hour.
    pub hour: Hour,
    /// Whether there are lines, sealed or not.
    pub has_lines: bool,
    /// Its journal, of whose marks the last before another event suffices; or why there is none.
    pub journal: Result<Vec<JournalEntry>, &'static str>,
}

/// The gaps of one stem, by the time at which they begin. The hours come in the order of time.
/// `running` says whether a recorder is at work on it `now`.
pub fn detect_gaps<'a>(
    hours: impl IntoIterator<Item = &'a HourRecord>,
    now: UnixNanos,
    running: bool,
) -> Vec<Gap> {
    let mut teller = GapDetector::default();
    for segment in segments_by_run(hours) {
        teller.process_segment(&segment);
    }
    let mut gaps = teller.finish(running);
    for gap in &mut gaps {
        // A clock that was set back makes an end lie before its beginning.
        gap.to = gap.to.map(|to| to.max(gap.from));
        // And a gap that goes on cannot begin later than now.
        if gap.to.is_none() {
            gap.from = gap.from.min(now);
        }
    }
    gaps.sort_by_key(|gap| (gap.from, gap.to.is_none(), gap.to, gap.kind));
    gaps
}

/// The gaps that an hour has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HourGaps {
    /// How many reach into it.
    pub count: u64,
    /// For how long something may be missing: stretches that overlap count once, and those in which
    /// messages only waited not at all.
    pub duration: Duration,
    /// Whether a part of that is of kind `unknown`.
    pub has_unknown: bool,
}

/// The gaps of these hours, which come in the order of time. Gaps that go on reach to `now`; hours
/// without any are left out.
pub fn gaps_by_hour(
    gaps: &[Gap],
    hours: impl IntoIterator<Item = Hour>,
    now: UnixNanos,
) -> BTreeMap<Hour, HourGaps> {
    let mut found: BTreeMap<Hour, HourGaps> =
        hours.into_iter().map(|h| (h, HourGaps::default())).collect();
    // Gaps come by their beginnings, so that what is covered so far is known by its end.
    let mut covered = UnixNanos::default();
    for gap in gaps {
        let end = gap.to.unwrap_or(now.max(gap.from));
        for (hour, entry) in found.range_mut(Hour::containing(gap.from)..=Hour::containing(end)) {
            if end <= hour.start() && end > gap.from {
                continue;
            }
            entry.count += 1;
            entry.has_unknown |= gap.kind == GapKind::Unknown;
            if gap.kind != GapKind::Stalled {
                let from = gap.from.max(hour.start()).max(covered);
                entry.duration += end.min(hour.end()).saturating_since(from);
            }
        }
        if gap.kind != GapKind::Stalled {
            covered = covered.max(end);
        }
    }
    found.retain(|_, hour| hour.count > 0);
    found
}

#[cfg(test)]
mod tests;
