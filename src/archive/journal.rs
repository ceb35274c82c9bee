//! The journal of an hour, `<stem>_<hour>.journal`: JSON lines, appended and never changed. It says
//! what happened in the hour: when the recorder listened and when not, how far the lines had come
//! when, and what became of them.
//!
//! Readers skip events that they do not know, and a line that is torn.

mod event;
mod waiting;
mod writer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use self::event::{Closed, Entry, Event, Mark, Open, Part, Recovered, SealRecord, VERSION};
pub use self::waiting::Waiting;
pub use self::writer::Writer;
use super::digest;
use super::disk::{self, FileError};
use crate::clock::UnixNanos;

/// Of longer journals only the end is read.
const MAX_READ: u64 = 64 << 20;
/// In the first bytes of a line this says that it is a mark.
const MARK: &[u8] = br#""event":"mark""#;
const MARK_WITHIN: usize = 48;

/// Appends an event and makes it durable.
pub(super) fn append(path: &Path, now: UnixNanos, event: Event) -> Result<(), FileError> {
    let file = disk::append(path)?;
    let mut line = Vec::new();
    // A torn line of an earlier crash must not swallow this one.
    if !ends_with_feed(&file).map_err(FileError::of("read", path))? {
        line.push(b'\n');
    }
    line.extend(line_of(now, event));
    disk::write(&file, path, &line)?;
    disk::sync(&file, path)
}

/// An event as it stands in the file.
fn line_of(t: UnixNanos, event: Event) -> Vec<u8> {
    // Plain numbers and texts: this cannot fail.
    let mut line = serde_json::to_vec(&Entry { t: t.nanos(), event }).unwrap_or_default();
    line.push(b'\n');
    line
}

fn ends_with_feed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// All events that this version knows, in order, with [`Event::Torn`] where a line is none; nothing
/// when there is no journal.
///
/// # Errors
/// The journal cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    Ok(parse(&bytes(path)?.unwrap_or_default(), Marks::All))
}

/// The same with the last mark alone before each other event: all that most need, and quick to read.
/// `None` when there is no journal.
///
/// # Errors
/// The journal cannot be read.
pub fn outline(path: &Path) -> io::Result<Option<Vec<Entry>>> {
    Ok(bytes(path)?.map(|bytes| parse(&bytes, Marks::Last)))
}

fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match disk::open_regular(path) {
        Ok(file) => disk::regular(file)?,
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.source),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_READ)))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MAX_READ)).unwrap_or(0));
    // A journal that grows meanwhile is read no further.
    file.take(length.min(MAX_READ)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marks {
    All,
    Last,
}

fn parse(bytes: &[u8], marks: Marks) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut mark: Option<&[u8]> = None;
    let finder = Finder::new(MARK);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let start = line.get(..MARK_WITHIN.min(line.len())).unwrap_or_default();
        if marks == Marks::Last && line.ends_with(b"}") && finder.find(start).is_some() {
            mark = Some(line);
            continue;
        }
        entries.extend(mark.take().and_then(entry));
        entries.extend(entry(line));
    }
    entries.extend(mark.and_then(entry));
    entries
}

/// The event in a line, unless it is one that this version does not know.
fn entry(line: &[u8]) -> Option<Entry> {
    /// What every event has, also one of a later version.
    #[derive(Deserialize)]
    struct Any {
        t: u64,
        #[serde(rename = "event")]
        _event: IgnoredAny,
    }
    if let Ok(entry) = serde_json::from_slice(line) {
        return Some(entry);
    }
    let any: Option<Any> = serde_json::from_slice(line).ok();
    if any.is_some_and(|any| any.t > 0) { None } else { Some(Entry { t: 0, event: Event::Torn }) }
}

/// The events since the hour was last removed: what was before is gone, though its journal may have
/// been kept.
pub(super) fn since_removal(entries: &[Entry]) -> &[Entry] {
    let removed = entries.iter().rposition(|entry| matches!(entry.event, Event::Removed { .. }));
    removed.and_then(|removed| entries.get(removed + 1..)).unwrap_or(entries)
}

/// Every content that the sealed file was about to have or had, in order, each once.
pub(super) fn records(entries: &[Entry]) -> Vec<SealRecord> {
    let mut records: Vec<SealRecord> = Vec::new();
    for entry in since_removal(entries) {
        let (Event::Sealing(record) | Event::Sealed(record)) = &entry.event else { continue };
        if records.last() != Some(record) {
            records.push(record.clone());
        }
    }
    records
}

/// Every content that the sealed file had for certain, in order.
pub fn sealed(entries: &[Entry]) -> impl DoubleEndedIterator<Item = &SealRecord> {
    ever_sealed(since_removal(entries))
}

/// The same, also of what was removed.
pub(super) fn ever_sealed(entries: &[Entry]) -> impl DoubleEndedIterator<Item = &SealRecord> {
    entries.iter().filter_map(|entry| match &entry.event {
        Event::Sealed(record) => Some(record),
        _ => None,
    })
}

/// Whether a file of lines of this length starts with all that the record says.
pub(super) fn is_start_of(record: &SealRecord, lines: &File, length: u64) -> io::Result<bool> {
    Ok(record.raw_bytes <= length
        && digest::of_start(lines, record.raw_bytes)?.sha256 == record.raw_sha256)
}

/// Whether the hour was to be removed, and nothing was recorded or sealed after that.
pub(super) fn is_removed(entries: &[Entry]) -> bool {
    let last = entries.iter().rev().find(|entry| entry.event != Event::Torn);
    matches!(last, Some(Entry { event: Event::Removed { .. }, .. }))
}

#[cfg(test)]
mod tests;
