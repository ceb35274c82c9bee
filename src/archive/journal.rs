//! The journal of an hour, `<stem>_<hour>.journal`: JSON lines, appended and never changed.
//!
//! So far it holds what sealing did. Readers skip events that they do not know and a last line
//! that is torn.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::{self, Hash};
use super::disk::{self, FileError};
use super::retain::Limit;
use crate::clock::UnixNanos;

/// Of longer journals only the end is read.
const MAX_READ: u64 = 64 << 20;

/// What a sealed file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealRecord {
    /// Bytes of all its lines.
    pub raw_bytes: u64,
    /// The number of its lines.
    pub messages: u64,
    /// The hash of its lines.
    pub raw_sha256: Hash,
    /// Bytes of the `.jsonl.zst`.
    pub stored_bytes: u64,
    /// The hash of the `.jsonl.zst`.
    pub stored_sha256: Hash,
    /// Whether its last line has no line feed: only another program seals such.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
    /// Where its last part came from; none when the file was found as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// The lines that one sealing added, and the `.jsonl` that they were in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Bytes of these lines, which stood at the start of the `.jsonl`.
    pub bytes: u64,
    /// Their hash.
    pub sha256: Hash,
    /// The inode of the `.jsonl`.
    pub inode: u64,
    /// Its modification time, Unix nanoseconds.
    pub modified: u64,
    /// Its creation time, Unix nanoseconds, where the file system knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
}

/// An event of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A sealed file is complete and checked, and is about to get its name.
    Sealing(SealRecord),
    /// A sealed file stands under its name.
    Sealed(SealRecord),
    /// The hour is about to be removed.
    Removed {
        /// The limit for whose sake.
        reason: Limit,
    },
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, Unix nanoseconds.
    pub t: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Appends an event and makes it durable.
pub(super) fn append(path: &Path, now: UnixNanos, event: Event) -> Result<(), FileError> {
    let file = disk::append(path)?;
    let entry = Entry { t: now.nanos(), event };
    let mut line = Vec::new();
    // A torn line of an earlier crash must not swallow this one.
    if !ends_with_feed(&file).map_err(FileError::of("read", path))? {
        line.push(b'\n');
    }
    serde_json::to_writer(&mut line, &entry)
        .map_err(|error| FileError::of("write to", path)(error.into()))?;
    line.push(b'\n');
    disk::write(&file, path, &line)?;
    disk::sync(&file, path)
}

fn ends_with_feed(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

/// The events that this version knows, in order; none when there is no journal.
///
/// # Errors
/// The journal cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            let start = file.metadata()?.len().saturating_sub(MAX_READ);
            file.seek(SeekFrom::Start(start))?;
            file.read_to_end(&mut bytes)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let lines = bytes.split(|byte| *byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Every content that the sealed file was about to have or had, in order, each once.
pub(super) fn records(entries: &[Entry]) -> Vec<SealRecord> {
    let mut records: Vec<SealRecord> = Vec::new();
    for entry in entries {
        let (Event::Sealing(record) | Event::Sealed(record)) = &entry.event else { continue };
        if records.last() != Some(record) {
            records.push(record.clone());
        }
    }
    records
}

/// Every content that the sealed file had for certain, in order.
pub(super) fn sealed(entries: &[Entry]) -> impl DoubleEndedIterator<Item = &SealRecord> {
    entries.iter().filter_map(|entry| match &entry.event {
        Event::Sealed(record) => Some(record),
        Event::Sealing(_) | Event::Removed { .. } => None,
    })
}

/// Whether a file of lines of this length starts with all that the record says.
pub(super) fn is_start_of(record: &SealRecord, lines: &File, length: u64) -> io::Result<bool> {
    Ok(record.raw_bytes <= length
        && digest::of_start(lines, record.raw_bytes)?.sha256 == record.raw_sha256)
}

/// Whether the hour was to be removed, and nothing came after that.
pub(super) fn is_removed(entries: &[Entry]) -> bool {
    matches!(entries.last(), Some(Entry { event: Event::Removed { .. }, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::digest::Digester;

    fn record(bytes: u64) -> SealRecord {
        let hash = Digester::new().finish().sha256;
        SealRecord {
            raw_bytes: bytes,
            messages: 1,
            raw_sha256: hash,
            stored_bytes: 9,
            stored_sha256: hash,
            torn: false,
            part: Some(Part { bytes, sha256: hash, inode: 7, modified: 8, created: None }),
        }
    }

    #[test]
    fn what_is_appended_is_read_back_past_what_nobody_knows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.journal");
        assert_eq!(read(&path).unwrap(), []);
        std::fs::write(&path, "{\"t\":1,\"event\":\"mark\",\"bytes\":5}\n{\"t\":2,\"eve").unwrap();
        append(&path, UnixNanos::new(3), Event::Sealing(record(1))).unwrap();
        append(&path, UnixNanos::new(4), Event::Sealed(record(1))).unwrap();
        append(&path, UnixNanos::new(5), Event::Sealing(record(2))).unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.t).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(records(&entries), [record(1), record(2)]);
    }
}
