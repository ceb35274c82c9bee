//! What there is to say of an hour without decoding it.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

use super::ahead::each_chunk;
use super::digest::{Hash, count_lines};
use super::directory::{FileInfo, HourEntry, State};
use super::journal::{self, SealRecord};
use super::layout::Kind;
use crate::clock::{Hour, UnixNanos};

/// An hour in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The first part of its file names.
    pub stem: String,
    /// The hour; in JSON its first second, RFC 3339.
    #[serde(serialize_with = "start")]
    pub hour: Hour,
    /// Its lines, or the sealed file.
    pub path: PathBuf,
    /// How far it is.
    pub state: State,
    /// The number of its lines, where it is known.
    pub messages: Option<u64>,
    /// Their bytes, where they are known.
    pub raw_bytes: Option<u64>,
    /// Bytes on disk of its lines, sealed or not.
    pub stored_bytes: u64,
    /// The hash of the lines; known once all of them are sealed.
    pub sha256: Option<Hash>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn start<S: Serializer>(hour: &Hour, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&hour.start())
}

/// The row of an hour that has lines. Lines that are not sealed are counted, what is sealed is
/// known from the journal.
pub fn row(dir: &Path, entry: &HourEntry, now: UnixNanos) -> Row {
    let (lines, sealed) = (entry.file(Kind::Lines), entry.file(Kind::Sealed));
    let record = sealed.and_then(|sealed| record(dir, entry, sealed.bytes));
    let state = entry.state(dir, now);
    let mut row = Row {
        stem: entry.stem.as_str().to_owned(),
        hour: entry.hour,
        path: dir.join(entry.name()),
        state,
        messages: Some(0),
        raw_bytes: Some(0),
        stored_bytes: lines.map_or(0, |file| file.bytes) + sealed.map_or(0, |file| file.bytes),
        sha256: record.as_ref().filter(|_| state == State::Sealed).map(|record| record.raw_sha256),
    };
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
    row
}

/// Bytes of the lines that a sealed hour holds, where they are known.
pub fn raw_bytes(dir: &Path, entry: &HourEntry) -> Option<u64> {
    let sealed = entry.file(Kind::Sealed)?;
    record(dir, entry, sealed.bytes).map(|record| record.raw_bytes)
}

/// What the journal says of a sealed file of this length.
fn record(dir: &Path, entry: &HourEntry, stored_bytes: u64) -> Option<SealRecord> {
    let entries = journal::outline(&entry.path(dir, Kind::Journal)).ok()??;
    let records = journal::records(&entries);
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
