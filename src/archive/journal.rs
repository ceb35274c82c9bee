//! The journal of an hour, `<stem>_<hour>.journal`: JSON lines that are appended and never changed.
//! Where files may not be larger, it begins in `<stem>_<hour>.1.journal` and so on.
//!
//! A journal records when the recorder listened and when not, the size that the lines had reached
//! at various times, and what became of the lines. Readers skip unknown events, and report torn
//! lines as [`JournalEvent::Torn`].

mod drop_cause;
mod event;
mod limit_kind;
mod pending_events;
mod previous_run;
mod seal_record;
mod writer;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;

pub use self::drop_cause::DropCause;
pub use self::event::{
    ClosedEvent, ConfigChangedEvent, ContinuedEvent, FORMAT_VERSION, JournalEntry, JournalEvent,
    Mark, OpenEvent, RecoveredEvent,
};
pub use self::limit_kind::LimitKind;
pub use self::pending_events::PendingEvents;
pub use self::previous_run::PreviousRun;
pub use self::seal_record::{SealRecord, SealedPart};
pub use self::writer::JournalWriter;
use super::digest;
use super::disk::{self, FileError};
use super::file_name::FileKind;
use super::parts::{continue_in_next_file, part_paths};
use crate::base::time::UnixNanos;

/// Maximum number of bytes read from a journal: of longer journals, the last ones.
const MAX_READ_BYTES: u64 = 64 << 20;
/// Text that marks contain, and no other events, within the first [`MARK_TAG_WITHIN`] bytes.
const MARK_TAG: &[u8] = br#""event":"mark""#;
/// Length of the longest start of a mark that contains [`MARK_TAG`].
const MARK_TAG_WITHIN: usize = 48;

/// Appends an event and makes it durable. A journal that can take no more is continued.
pub(super) fn append(path: &Path, t: UnixNanos, event: JournalEvent) -> Result<(), FileError> {
    let line = encode_line(&JournalEntry { t, event });
    match append_to_file(path, &line) {
        Err(error) if error.is_too_large() => {
            let Some(part) = continue_in_next_file(path, FileKind::JournalPart)? else {
                return Err(error);
            };
            let first = encode_line(&JournalEntry { t, event: JournalEvent::Continues { part } });
            append_to_file(path, &[first, line].concat())
        }
        appended => appended,
    }
}

fn append_to_file(path: &Path, lines: &[u8]) -> Result<(), FileError> {
    let file = disk::open_append(path)?;
    let mut bytes = Vec::new();
    // A crash may have left an incomplete line, which must not swallow this one.
    if !ends_with_newline(&file).map_err(FileError::from_io("read", path))? {
        bytes.push(b'\n');
    }
    bytes.extend(lines);
    let length = file.metadata().map_err(FileError::from_io("read the size of", path))?.len();
    disk::write_all(&file, path, &bytes).inspect_err(|_| {
        // What cannot be cut off is an incomplete line.
        drop(disk::cut_back(&file, path, length));
    })?;
    disk::sync(&file, path)?;
    Ok(())
}

/// Returns the line of an entry, with its line feed.
fn encode_line(entry: &JournalEntry) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry)
        .expect("numbers, texts and lists of them, with texts as keys, always encode");
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

/// Reads all events that this version knows, in order, with [`JournalEvent::Torn`] for each line
/// that is no event. Returns none if there is no journal.
///
/// # Errors
/// The journal cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<JournalEntry>> {
    Ok(read_bytes(path)?.map_or_else(Vec::new, |bytes| parse_entries(&bytes, MarkFilter::All)))
}

/// Reads the events like [`read`], but of successive marks only the last one. Most readers need no
/// more, and parsing all marks takes far longer. Returns `None` if there is no journal.
///
/// # Errors
/// The journal cannot be read.
pub fn read_compacted(path: &Path) -> io::Result<Option<Vec<JournalEntry>>> {
    Ok(read_bytes(path)?.map(|bytes| parse_entries(&bytes, MarkFilter::LastOnly)))
}

/// Reads the journal with its parts. Returns `None` if there is neither. A part that is gone is a line
/// of its own.
fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let last = read_file(path, MAX_READ_BYTES)?;
    let mut read = last.as_ref().map_or(0, |bytes| bytes.len() as u64);
    let before = last.as_deref().and_then(preceding_part).unwrap_or(0);
    let parts: Vec<_> = part_paths(path, FileKind::JournalPart, before).collect();
    let mut files = Vec::from_iter(last);
    for part in parts.iter().rev() {
        if read >= MAX_READ_BYTES {
            break;
        }
        let bytes = match read_file(part, MAX_READ_BYTES - read)? {
            Some(bytes) => bytes,
            None => encode_line(&JournalEntry {
                t: UnixNanos::default(),
                event: JournalEvent::PartGone,
            }),
        };
        read += bytes.len() as u64;
        files.push(bytes);
    }
    files.reverse();
    Ok(match files.len() {
        0 => None,
        1 => files.pop(),
        _ => Some(files.concat()),
    })
}

/// Returns the number of the part from which a file of a journal goes on.
fn preceding_part(bytes: &[u8]) -> Option<u16> {
    let first = bytes.split(|byte| *byte == b'\n').find(|line| !line.is_empty())?;
    match parse_entry(first)?.event {
        JournalEvent::Continues { part } => Some(part),
        _ => None,
    }
}

/// Reads the last bytes of a file, at most `max_bytes`; returns `None` if it does not exist.
fn read_file(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut file = match disk::open_regular(path) {
        Ok(file) => file,
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.source),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max_bytes)))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(max_bytes)).unwrap_or(0));
    // Events that are appended while this reads are left for the next reader.
    file.take(length.min(max_bytes)).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The choice of marks that a reader gets.
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
        let start = line.get(..MARK_TAG_WITHIN).unwrap_or(line);
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

/// Parses one line. Returns `None` for an event of a later version, and [`JournalEvent::Torn`] for a
/// line that is no event.
fn parse_entry(line: &[u8]) -> Option<JournalEntry> {
    /// The fields that all events have, also those of later versions.
    #[derive(Deserialize)]
    struct AnyEvent {
        t: UnixNanos,
        #[serde(rename = "event")]
        _event: IgnoredAny,
    }
    if let Ok(entry) = serde_json::from_slice(line) {
        return Some(entry);
    }
    match serde_json::from_slice::<AnyEvent>(line) {
        Ok(any) if any.t > UnixNanos::default() => None,
        Ok(_) | Err(_) => Some(JournalEntry { t: UnixNanos::default(), event: JournalEvent::Torn }),
    }
}

/// Returns the events since the hour was last removed. Earlier events describe lines that are gone,
/// and remain only if journals are kept.
pub(super) fn entries_since_removal(entries: &[JournalEntry]) -> &[JournalEntry] {
    entries
        .rsplit(|entry| matches!(entry.event, JournalEvent::Removed { .. }))
        .next()
        .unwrap_or(entries)
}

/// Returns each content that the sealed file had or was about to have since the last removal, in
/// order and without repetitions.
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

/// Returns each content that the sealed file certainly had since the last removal, in order.
pub fn sealed_records(entries: &[JournalEntry]) -> impl DoubleEndedIterator<Item = &SealRecord> {
    all_sealed_records(entries_since_removal(entries))
}

/// Returns each content that the sealed file certainly had, in order, removals included.
pub(super) fn all_sealed_records(
    entries: &[JournalEntry],
) -> impl DoubleEndedIterator<Item = &SealRecord> {
    entries.iter().filter_map(|entry| match &entry.event {
        JournalEvent::Sealed(record) => Some(record),
        _ => None,
    })
}

/// Returns whether a file of `length` bytes starts with all lines of the record.
pub(super) fn has_sealed_prefix(
    record: &SealRecord,
    lines: &File,
    length: u64,
) -> io::Result<bool> {
    Ok(record.raw_bytes <= length
        && digest::digest_prefix(lines, record.raw_bytes)?.sha256 == record.raw_sha256)
}

/// Returns whether the last event says that the hour is about to be removed.
pub(super) fn is_removed(entries: &[JournalEntry]) -> bool {
    let last = entries.iter().rev().find(|entry| entry.event != JournalEvent::Torn);
    matches!(last, Some(JournalEntry { event: JournalEvent::Removed { .. }, .. }))
}

#[cfg(test)]
mod tests;
