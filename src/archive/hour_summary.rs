//! What there is to say of an hour without decoding it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::digest::{Sha256Hash, count_line_feeds};
use super::directory::{FileInfo, HourEntry, SealState};
use super::file_name::FileKind;
use super::gaps::HourGaps;
use super::journal;
use super::journal::{JournalEntry, JournalEvent, SealRecord};
use super::read_ahead::for_each_chunk;
use super::tail_scan::Checkpoints;
use crate::base::time::{Hour, UnixNanos};

/// An hour in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HourSummary {
    /// The first part of its file names.
    pub stem: String,
    /// The hour; in JSON its first second, RFC 3339.
    #[serde(serialize_with = "serialize_hour_start")]
    pub hour: Hour,
    /// Its lines, or the sealed file.
    pub path: PathBuf,
    /// How far it is.
    pub state: HourState,
    /// The number of its lines, where it is known.
    pub messages: Option<u64>,
    /// Their bytes, where they are known.
    pub raw_bytes: Option<u64>,
    /// Bytes on disk of its lines, sealed or not.
    pub stored_bytes: u64,
    /// The hash of the lines; known once all of them are sealed.
    pub sha256: Option<Sha256Hash>,
    /// How many gaps reach into it.
    pub gaps: u64,
    /// For how many seconds of it something may be missing.
    pub gap_seconds: f64,
    /// Whether that is in part because a journal does not tell.
    pub unknown: bool,
}

/// What there is of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HourState {
    /// Somebody writes to it, or may yet.
    Open,
    /// Its lines, or some of them, wait to be sealed.
    Closed,
    /// All of it is sealed.
    Sealed,
    /// A recorder listened, and nothing came.
    Empty,
    /// Its sealed file is gone, and retention did not remove it.
    Missing,
    /// Retention removed it. Its journal is kept.
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
            Self::Removed => "removed",
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn serialize_hour_start<S: Serializer>(hour: &Hour, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&hour.start())
}

/// The row of an hour, of which the journal says this; `None` when there is nothing to say. Lines
/// that are not sealed are counted, what is sealed is known from the journal.
pub fn summarize_hour(
    dir: &Path,
    entry: &HourEntry,
    journal: &[JournalEntry],
    gaps: HourGaps,
    now: UnixNanos,
) -> Option<HourSummary> {
    let (lines, sealed) = (entry.file(FileKind::Lines), entry.file(FileKind::Sealed));
    let record = sealed.and_then(|sealed| find_seal_record(journal, sealed.bytes));
    let state = hour_state(dir, entry, journal, now)?;
    let mut row = HourSummary {
        stem: entry.stem.as_str().to_owned(),
        hour: entry.hour,
        path: dir.join(entry.display_name()),
        state,
        messages: Some(0),
        raw_bytes: Some(0),
        stored_bytes: lines.map_or(0, |file| file.bytes) + sealed.map_or(0, |file| file.bytes),
        sha256: record.as_ref().filter(|_| lines.is_none()).map(|record| record.raw_sha256),
        gaps: gaps.count,
        gap_seconds: gaps.duration.as_secs_f64(),
        unknown: gaps.has_unknown,
    };
    if let (HourState::Missing | HourState::Removed, Some(record)) =
        (state, journal::all_sealed_records(journal).next_back())
    {
        (row.messages, row.raw_bytes) = (Some(record.messages), Some(record.raw_bytes));
    } else if state == HourState::Missing {
        (row.messages, row.raw_bytes) = (None, None);
    }
    let add = |sum: &mut Option<u64>, more: Option<u64>| {
        *sum = sum.zip(more).map(|(sum, more)| sum + more);
    };
    if sealed.is_some() {
        add(&mut row.messages, record.as_ref().map(|record| record.messages));
        add(&mut row.raw_bytes, record.as_ref().map(|record| record.raw_bytes));
    }
    // A run that was cut off leaves lines that are sealed already.
    let part = record.as_ref().and_then(|record| record.part.as_ref());
    let same_file = |lines: FileInfo| {
        part.is_some_and(|part| {
            (part.inode, part.modified) == (lines.inode, lines.modified.nanos())
        })
    };
    // Or somebody decompressed it, which keeps the time.
    let same_time =
        |lines: FileInfo| sealed.is_some_and(|sealed| sealed.modified == lines.modified);
    let twice = lines.is_some_and(|lines| same_file(lines) || same_time(lines));
    if lines.is_some() && !twice {
        let counted = count_file(&entry.path(dir, FileKind::Lines));
        add(&mut row.messages, counted.map(|(messages, _)| messages));
        add(&mut row.raw_bytes, counted.map(|(_, bytes)| bytes));
    }
    Some(row)
}

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
    if journal::is_removed(journal) {
        Some(HourState::Removed)
    } else if journal::sealed_records(journal).next().is_some()
        || Checkpoints::from_journal(journal).has_beyond(0)
    {
        Some(HourState::Missing)
    } else {
        let listened = journal.iter().any(|entry| matches!(entry.event, JournalEvent::Open(_)));
        listened.then_some(HourState::Empty)
    }
}

/// What the journal says of a sealed file of this length.
fn find_seal_record(journal: &[JournalEntry], stored_bytes: u64) -> Option<SealRecord> {
    let records = journal::seal_records(journal);
    records.into_iter().rev().find(|record| record.stored_bytes == stored_bytes)
}

/// The lines and bytes of a file.
fn count_file(path: &Path) -> Option<(u64, u64)> {
    let (mut messages, mut bytes) = (0, 0);
    for_each_chunk(File::open(path).ok()?, |chunk| {
        messages += count_line_feeds(chunk);
        bytes += chunk.len() as u64;
        std::io::Result::Ok(())
    })
    .ok()?;
    Some((messages, bytes))
}
