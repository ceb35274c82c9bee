//! What there is to say of an hour without decoding it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::ahead::each_chunk;
use super::digest::{Hash, count_lines};
use super::directory::{FileInfo, HourEntry, State};
use super::gaps::InHour;
use super::journal::{self, Entry, Event, SealRecord};
use super::layout::Kind;
use super::recover::Claims;
use crate::clock::{Hour, UnixNanos};

/// An hour in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The first part of its file names.
    pub stem: String,
    /// The hour; in JSON its first second, RFC 3339.
    #[serde(serialize_with = "start")]
    pub hour: Hour,
    /// Its lines, or the sealed file.
    pub path: PathBuf,
    /// How far it is.
    pub state: Standing,
    /// The number of its lines, where it is known.
    pub messages: Option<u64>,
    /// Their bytes, where they are known.
    pub raw_bytes: Option<u64>,
    /// Bytes on disk of its lines, sealed or not.
    pub stored_bytes: u64,
    /// The hash of the lines; known once all of them are sealed.
    pub sha256: Option<Hash>,
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
pub enum Standing {
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

impl std::fmt::Display for Standing {
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
fn start<S: Serializer>(hour: &Hour, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&hour.start())
}

/// The row of an hour, of which the journal says this; `None` when there is nothing to say. Lines
/// that are not sealed are counted, what is sealed is known from the journal.
pub fn row(
    dir: &Path,
    entry: &HourEntry,
    journal: &[Entry],
    gaps: InHour,
    now: UnixNanos,
) -> Option<Row> {
    let (lines, sealed) = (entry.file(Kind::Lines), entry.file(Kind::Sealed));
    let record = sealed.and_then(|sealed| record(journal, sealed.bytes));
    let state = standing(dir, entry, journal, now)?;
    let mut row = Row {
        stem: entry.stem.as_str().to_owned(),
        hour: entry.hour,
        path: dir.join(entry.name()),
        state,
        messages: Some(0),
        raw_bytes: Some(0),
        stored_bytes: lines.map_or(0, |file| file.bytes) + sealed.map_or(0, |file| file.bytes),
        sha256: record.as_ref().filter(|_| lines.is_none()).map(|record| record.raw_sha256),
        gaps: gaps.count,
        gap_seconds: gaps.lasting.as_secs_f64(),
        unknown: gaps.unknown,
    };
    if let (Standing::Missing | Standing::Removed, Some(record)) =
        (state, journal::ever_sealed(journal).next_back())
    {
        (row.messages, row.raw_bytes) = (Some(record.messages), Some(record.raw_bytes));
    } else if state == Standing::Missing {
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
        let counted = count(&entry.path(dir, Kind::Lines));
        add(&mut row.messages, counted.map(|(messages, _)| messages));
        add(&mut row.raw_bytes, counted.map(|(_, bytes)| bytes));
    }
    Some(row)
}

fn standing(dir: &Path, entry: &HourEntry, journal: &[Entry], now: UnixNanos) -> Option<Standing> {
    if entry.has_lines() {
        return Some(match entry.state(dir, now) {
            State::Open => Standing::Open,
            State::Closed => Standing::Closed,
            State::Sealed => Standing::Sealed,
        });
    }
    if journal::is_removed(journal) {
        Some(Standing::Removed)
    } else if journal::sealed(journal).next().is_some() || Claims::of(journal).are_more_than(0) {
        Some(Standing::Missing)
    } else {
        let listened = journal.iter().any(|entry| matches!(entry.event, Event::Open(_)));
        listened.then_some(Standing::Empty)
    }
}

/// What the journal says of a sealed file of this length.
fn record(journal: &[Entry], stored_bytes: u64) -> Option<SealRecord> {
    let records = journal::records(journal);
    records.into_iter().rev().find(|record| record.stored_bytes == stored_bytes)
}

/// The lines and bytes of a file.
fn count(path: &Path) -> Option<(u64, u64)> {
    let (mut messages, mut bytes) = (0, 0);
    each_chunk(File::open(path).ok()?, |chunk| {
        messages += count_lines(chunk);
        bytes += chunk.len() as u64;
        std::io::Result::Ok(())
    })
    .ok()?;
    Some((messages, bytes))
}
