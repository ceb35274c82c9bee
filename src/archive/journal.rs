//! The journal of an hour, `<stem>_<hour>.journal`: JSON lines, appended and never changed. It says
//! what happened in the hour: when the recorder listened and when not, how far the lines had come
//! when, and what became of them.
//!
//! Readers skip events that they do not know, and a line that is torn.

mod drop_cause;
mod event;
mod limit_kind;
mod pending_events;
mod writer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use self::drop_cause::DropCause;
pub use self::event::{
    ClosedEvent, FORMAT_VERSION, JournalEntry, JournalEvent, Mark, OpenEvent, RecoveredEvent,
    SealRecord, SealedPart,
};
pub use self::limit_kind::LimitKind;
pub use self::pending_events::PendingEvents;
pub use self::writer::JournalWriter;
use super::digest;
use super::disk::{self, FileError};
use crate::base::time::UnixNanos;

/// Of longer journals only the end is read.
const MAX_READ_BYTES: u64 = 64 << 20;
/// In the first bytes of a line this says that it is a mark.
const MARK_TAG: &[u8] = br#""event":"mark""#;
const MARK_TAG_WITHIN: usize = 48;

/// Appends an event and makes it durable.
pub(super) fn append(path: &Path, now: UnixNanos, event: JournalEvent) -> Result<(), FileError> {
    let file = disk::open_append(path)?;
    let mut line = Vec::new();
    // A torn line of an earlier crash must not swallow this one.
    if !ends_with_newline(&file).map_err(FileError::from_io("read", path))? {
        line.push(b'\n');
    }
    line.extend(encode_line(now, event));
    disk::write_all(&file, path, &line)?;
    disk::sync(&file, path)
}

/// An event as it stands in the file.
fn encode_line(t: UnixNanos, event: JournalEvent) -> Vec<u8> {
    // Plain numbers and texts: this cannot fail.
    let mut line = serde_json::to_vec(&JournalEntry { t: t.nanos(), event }).unwrap_or_default();
    line.push(b'\n');
    line
}

fn ends_with_newline(file: &File) -> io::Result<bool> {
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
pub fn read(path: &Path) -> io::Result<Vec<JournalEntry>> {
    Ok(parse_entries(&read_bytes(path)?.unwrap_or_default(), MarkFilter::All))
}

/// The same with the last mark alone before each other event: all that most need, and quick to read.
/// `None` when there is no journal.
///
/// # Errors
/// The journal cannot be read.
pub fn read_compacted(path: &Path) -> io::Result<Option<Vec<JournalEntry>>> {
    Ok(read_bytes(path)?.map(|bytes| parse_entries(&bytes, MarkFilter::LastOnly)))
}

fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match disk::open_regular(path) {
        Ok(file) => file,
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.source),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_READ_BYTES)))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(MAX_READ_BYTES)).unwrap_or(0));
    // A journal that grows meanwhile is read no further.
    file.take(length.min(MAX_READ_BYTES)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MarkFilter {
    All,
    LastOnly,
}

fn parse_entries(bytes: &[u8], marks: MarkFilter) -> Vec<JournalEntry> {
    let mut entries = Vec::new();
    let mut mark: Option<&[u8]> = None;
    let finder = Finder::new(MARK_TAG);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let start = line.get(..MARK_TAG_WITHIN.min(line.len())).unwrap_or_default();
        if marks == MarkFilter::LastOnly && line.ends_with(b"}") && finder.find(start).is_some() {
            mark = Some(line);
            continue;
        }
        entries.extend(mark.take().and_then(parse_entry));
        entries.extend(parse_entry(line));
    }
    entries.extend(mark.and_then(parse_entry));
    entries
}

/// The event in a line, unless it is one that this version does not know.
fn parse_entry(line: &[u8]) -> Option<JournalEntry> {
    /// What every event has, also one of a later version.
    #[derive(Deserialize)]
    struct AnyEvent {
        t: u64,
        #[serde(rename = "event")]
        _event: IgnoredAny,
    }
    if let Ok(entry) = serde_json::from_slice(line) {
        return Some(entry);
    }
    let any: Option<AnyEvent> = serde_json::from_slice(line).ok();
    if any.is_some_and(|any| any.t > 0) {
        None
    } else {
        Some(JournalEntry { t: 0, event: JournalEvent::Torn })
    }
}

/// The events since the hour was last removed: what was before is gone, though its journal may have
/// been kept.
pub(super) fn entries_since_removal(entries: &[JournalEntry]) -> &[JournalEntry] {
    let removed =
        entries.iter().rposition(|entry| matches!(entry.event, JournalEvent::Removed { .. }));
    removed.and_then(|removed| entries.get(removed + 1..)).unwrap_or(entries)
}

/// Every content that the sealed file was about to have or had, in order, each once.
pub(super) fn seal_records(entries: &[JournalEntry]) -> Vec<SealRecord> {
    let mut records: Vec<SealRecord> = Vec::new();
    for entry in entries_since_removal(entries) {
        let (JournalEvent::Sealing(record) | JournalEvent::Sealed(record)) = &entry.event else {
            continue;
        };
        if records.last() != Some(record) {
            records.push(record.clone());
        }
    }
    records
}

/// Every content that the sealed file had for certain, in order.
pub fn sealed_records(entries: &[JournalEntry]) -> impl DoubleEndedIterator<Item = &SealRecord> {
    all_sealed_records(entries_since_removal(entries))
}

/// The same, also of what was removed.
pub(super) fn all_sealed_records(
    entries: &[JournalEntry],
) -> impl DoubleEndedIterator<Item = &SealRecord> {
    entries.iter().filter_map(|entry| match &entry.event {
        JournalEvent::Sealed(record) => Some(record),
        _ => None,
    })
}

/// Whether a file of lines of this length starts with all that the record says.
pub(super) fn has_sealed_prefix(
    record: &SealRecord,
    lines: &File,
    length: u64,
) -> io::Result<bool> {
    Ok(record.raw_bytes <= length
        && digest::digest_prefix(lines, record.raw_bytes)?.sha256 == record.raw_sha256)
}

/// Whether the hour was to be removed, and nothing was recorded or sealed after that.
pub(super) fn is_removed(entries: &[JournalEntry]) -> bool {
    let last = entries.iter().rev().find(|entry| entry.event != JournalEvent::Torn);
    matches!(last, Some(JournalEntry { event: JournalEvent::Removed { .. }, .. }))
}

#[cfg(test)]
mod tests;
