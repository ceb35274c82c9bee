//! The summary of an hour, from its journal and the sizes of its files. Sealed files are not
//! decoded.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::digest::count_line_feeds;
use super::file_info::FileInfo;
use super::file_name::FileKind;
use super::gaps::HourGaps;
use super::hour_entry::{HourEntry, SealState};
use super::journal::{self, JournalEntry, JournalEvent, SealRecord};
use super::line_position::LinePosition;
use super::read_ahead::for_each_chunk;
use super::recorded_lines::RecordedLines;
use super::sha256_hash::Sha256Hash;
use crate::base::time::{Hour, UnixNanos};

/// Row of an hour in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HourSummary {
    /// First part of the file names.
    pub stem: String,
    /// The hour; in JSON its first second, RFC 3339.
    #[serde(serialize_with = "serialize_hour_start")]
    pub hour: Hour,
    /// Path of the lines, else of the sealed file, else of another file.
    pub path: PathBuf,
    /// State of the hour.
    pub state: HourState,
    /// Number of lines; `None` if it is not known.
    pub messages: Option<u64>,
    /// Length of the lines; `None` if it is not known.
    pub raw_bytes: Option<u64>,
    /// Length of the files that hold the lines, sealed or not.
    pub stored_bytes: u64,
    /// Hash of the lines; `None` unless all of them are sealed.
    pub sha256: Option<Sha256Hash>,
    /// Number of gaps that reach into the hour.
    pub gaps: u64,
    /// Seconds of the hour for which messages may be missing.
    pub gap_seconds: f64,
    /// `true` if `gap_seconds` includes time for which a journal is missing or unreadable.
    pub unknown: bool,
}

/// State of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HourState {
    /// The hour is not over, or a process has its lines open for writing.
    Open,
    /// The hour is over, and lines of it wait to be sealed.
    Closed,
    /// All of its lines are sealed.
    Sealed,
    /// A recorder listened, and no message arrived.
    Empty,
    /// The file of its lines is gone, and retention did not remove it.
    Missing,
    /// There is no file of the hour, and something that is no file at the name of its journal.
    Unknown,
    /// Retention removed its files, except the journal.
    Removed,
}

impl std::fmt::Display for HourState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Sealed => "sealed",
            Self::Empty => "empty",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Removed => "removed",
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn serialize_hour_start<S: Serializer>(hour: &Hour, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&hour.start())
}

/// Returns the summary of an hour with this journal; `None` if the hour has neither lines nor a
/// journal that mentions a recorder. Lines that are not sealed are counted; the number of sealed
/// ones is in the journal.
pub fn summarize_hour(
    dir: &Path,
    entry: &HourEntry,
    journal: &[JournalEntry],
    gaps: HourGaps,
    now: UnixNanos,
) -> Option<HourSummary> {
    let first = entry.unsealed_kinds().next().unwrap_or(FileKind::Lines);
    let lines = entry.file(first);
    let sealed = entry.file(FileKind::Sealed);
    let record = sealed.and_then(|sealed| find_seal_record(journal, sealed.bytes));
    let state = hour_state(dir, entry, journal, now)?;
    let mut summary = HourSummary {
        stem: entry.stem.as_str().to_owned(),
        hour: entry.hour,
        path: dir.join(entry.display_name()),
        state,
        messages: Some(0),
        raw_bytes: Some(0),
        stored_bytes: entry.unsealed_bytes() + sealed.map_or(0, |file| file.bytes),
        sha256: record.as_ref().filter(|_| lines.is_none()).map(|record| record.raw_sha256),
        gaps: gaps.count,
        gap_seconds: gaps.duration.as_secs_f64(),
        unknown: gaps.has_unknown,
    };
    if let (HourState::Missing | HourState::Removed, Some(record)) =
        (state, journal::all_sealed_records(journal).next_back())
    {
        summary.messages = Some(record.messages);
        summary.raw_bytes = Some(record.raw_bytes);
    } else if matches!(state, HourState::Missing | HourState::Unknown) {
        summary.messages = None;
        summary.raw_bytes = None;
    }
    // A sum with an unknown part is unknown.
    let add = |sum: &mut Option<u64>, part: Option<u64>| {
        *sum = sum.zip(part).map(|(sum, part)| sum + part);
    };
    if sealed.is_some() {
        add(&mut summary.messages, record.as_ref().map(|record| record.messages));
        add(&mut summary.raw_bytes, record.as_ref().map(|record| record.raw_bytes));
    }
    // An interrupted seal leaves lines that are sealed already.
    let part = record.as_ref().and_then(|record| record.part.as_ref());
    let is_sealed_part = |lines: FileInfo| {
        part.is_some_and(|part| part.inode == lines.inode && part.modified == lines.modified)
    };
    // A tool that decompresses keeps the time of the sealed file.
    let is_decompressed =
        |lines: FileInfo| sealed.is_some_and(|sealed| sealed.modified == lines.modified);
    let unsealed = lines.filter(|lines| !is_sealed_part(*lines) && !is_decompressed(*lines));
    // Only the first of several files may be sealed already.
    let others = entry.unsealed_kinds().skip(1);
    for kind in unsealed.map(|_| first).into_iter().chain(others) {
        let counted = count_lines(&entry.path(dir, kind));
        add(&mut summary.messages, counted.map(|counted| counted.messages));
        add(&mut summary.raw_bytes, counted.map(|counted| counted.bytes));
    }
    Some(summary)
}

/// Returns the state of the hour; `None` if no recorder listened in it.
fn hour_state(
    dir: &Path,
    entry: &HourEntry,
    journal: &[JournalEntry],
    now: UnixNanos,
) -> Option<HourState> {
    if entry.has_lines() {
        return Some(match entry.seal_state(dir, now) {
            SealState::Open => HourState::Open,
            SealState::Closed => HourState::Closed,
            SealState::Sealed => HourState::Sealed,
        });
    }
    if entry.kinds().next().is_none() {
        Some(HourState::Unknown)
    } else if journal::is_removed(journal) {
        Some(HourState::Removed)
    } else if journal::sealed_records(journal).next().is_some()
        || RecordedLines::from_journal(journal).has_lines()
    {
        Some(HourState::Missing)
    } else {
        let listened = journal.iter().any(|entry| matches!(entry.event, JournalEvent::Open(_)));
        listened.then_some(HourState::Empty)
    }
}

/// Returns the newest record of the journal that fits a sealed file of this length.
fn find_seal_record(journal: &[JournalEntry], stored_bytes: u64) -> Option<SealRecord> {
    let records = journal::seal_records(journal);
    records.into_iter().rev().find(|record| record.stored_bytes == stored_bytes)
}

/// Counts the lines and bytes of a file. A file that cannot be read has an unknown number: the list
/// shows the other hours, and `streamer verify` reports the error.
fn count_lines(path: &Path) -> Option<LinePosition> {
    let mut count = LinePosition::default();
    for_each_chunk(File::open(path).ok()?, |chunk| {
        count.messages += count_line_feeds(chunk);
        count.bytes += chunk.len() as u64;
        std::io::Result::Ok(())
    })
    .ok()?;
    Some(count)
}
