//! What to do with lines for an hour that has a sealed file already: a crash left both, lines came
//! late, or another program compressed the hour.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::compress::{Decoded, decode, is_corrupt};
use super::digest::{self, Digest, Hash};
use super::directory::FileInfo;
use super::disk::FileError;
use super::journal::{self, Entry, Event, SealRecord};
use super::layout::{Kind, Stem};
use super::progress::{Progress, Stopped};
use super::seal::SealError;
use crate::clock::{Hour, UnixNanos};

/// How a file of lines stands to the sealed file of its hour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no sealed file, or all of it is in the lines: these are sealed by themselves.
    Fresh,
    /// The first `skip` bytes are in the sealed file already, those behind are not.
    Extends {
        /// Bytes of the lines.
        skip: u64,
        /// What the sealed file holds.
        base: Base,
    },
    /// All lines are in the sealed file.
    Contained {
        /// What it holds.
        record: SealRecord,
        /// Whether the journal says so already.
        recorded: bool,
    },
    /// The sealed file cannot be decoded.
    Corrupt(String),
}

/// What a sealed file holds that gets further frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) raw_bytes: u64,
    pub(super) raw_sha256: Hash,
    pub(super) stored_bytes: u64,
}

impl From<&SealRecord> for Base {
    fn from(record: &SealRecord) -> Self {
        let SealRecord { raw_bytes, raw_sha256, stored_bytes, .. } = *record;
        Self { raw_bytes, raw_sha256, stored_bytes }
    }
}

/// Compares the lines, open as `lines`, with what the hour has.
pub(super) fn reconcile(
    dir: &Path,
    stem: &Stem,
    hour: Hour,
    lines: &File,
    info: FileInfo,
    progress: &Progress,
) -> Result<Standing, SealError> {
    let sealed = stem.path(dir, hour, Kind::Sealed);
    let file = match File::open(&sealed) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Fresh),
        Err(error) => return Err(FileError::of("open", &sealed)(error).into()),
    };
    let journal = stem.path(dir, hour, Kind::Journal);
    let entries = journal::read(&journal).map_err(FileError::of("read", &journal))?;
    let record = current_record(&file, &entries).map_err(FileError::of("read", &sealed))?;
    if let Some(record) = record {
        let skip = contained(lines, info, &record)
            .map_err(FileError::of("read", &stem.path(dir, hour, Kind::Lines)))?;
        if skip == info.bytes && record.part.is_some() {
            let recorded = entries.iter().any(|e| e.event == Event::Sealed(record.clone()));
            return Ok(Standing::Contained { record, recorded });
        }
        return Ok(Standing::Extends { skip, base: Base::from(&record) });
    }
    let modified = FileInfo::of(&file.metadata().map_err(FileError::of("read", &sealed))?).modified;
    let (decoded, is_prefix) = match compare(file, lines, info.bytes, progress) {
        Ok(compared) => compared,
        Err(Failed::Stopped) => return Err(Stopped.into()),
        Err(Failed::Io(error)) if is_corrupt(&error) => {
            return Ok(Standing::Corrupt(error.to_string()));
        }
        Err(Failed::Io(error)) => return Err(FileError::of("read", &sealed)(error).into()),
    };
    let Digest { bytes: raw_bytes, messages, sha256: raw_sha256, .. } = decoded.lines;
    let Decoded { stored_sha256, stored_bytes, .. } = decoded;
    let record =
        SealRecord { raw_bytes, messages, raw_sha256, stored_bytes, stored_sha256, part: None };
    if is_prefix && raw_bytes == info.bytes {
        return Ok(Standing::Contained { record, recorded: false });
    }
    if is_prefix && raw_bytes < info.bytes {
        return Ok(Standing::Fresh);
    }
    // The journal is lost, but a sealed file has the time of the lines that went into it last.
    if modified == info.modified && raw_bytes > info.bytes {
        let file = File::open(&sealed).map_err(FileError::of("open", &sealed))?;
        let mut position = 0;
        let from = raw_bytes - info.bytes;
        let mut same = true;
        let reread = decode(file, |chunk| {
            progress.advance(0)?;
            let skip = usize::try_from(from.saturating_sub(position)).unwrap_or(usize::MAX);
            if let Some(tail) = chunk.get(skip.min(chunk.len())..).filter(|tail| !tail.is_empty()) {
                same &= matches(lines, position.max(from) - from, tail)?;
            }
            position += chunk.len() as u64;
            Ok::<(), Failed>(())
        });
        match reread {
            Ok(_) if same => return Ok(Standing::Contained { record, recorded: false }),
            Ok(_) => {}
            Err(Failed::Stopped) => return Err(Stopped.into()),
            Err(Failed::Io(error)) => return Err(FileError::of("read", &sealed)(error).into()),
        }
    }
    Ok(Standing::Extends { skip: 0, base: Base::from(&record) })
}

enum Failed {
    Stopped,
    Io(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Stopped> for Failed {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What the journal says of the sealed file as it is: the newest record that fits. A run that was
/// cut off may have noted what it was about to put there.
fn current_record(file: &File, entries: &[Entry]) -> io::Result<Option<SealRecord>> {
    let length = file.metadata()?.len();
    let mut records = journal::records(entries.to_vec());
    records.retain(|record| record.stored_bytes == length);
    if records.is_empty() {
        return Ok(None);
    }
    let hash = digest::of_start(file, length)?.sha256;
    // What follows reads the file from its start.
    (&mut &*file).rewind()?;
    Ok(records.into_iter().rev().find(|record| record.stored_sha256 == hash))
}

/// How many bytes at the start of the lines are those that the last sealing took, from this very
/// file.
fn contained(lines: &File, info: FileInfo, record: &SealRecord) -> io::Result<u64> {
    let Some(part) = &record.part else { return Ok(0) };
    let created = info.created.map(UnixNanos::nanos);
    // A copy of the directory has other inodes, but keeps the times.
    let same_file = part.inode == info.inode && part.created == created
        || part.modified == info.modified.nanos();
    if !same_file || part.bytes > info.bytes {
        return Ok(0);
    }
    let start = digest::of_start(lines, part.bytes)?;
    Ok(if start.sha256 == part.sha256 { part.bytes } else { 0 })
}

/// Decodes the sealed file; gives whether it and the lines are the same as far as the shorter goes.
fn compare(
    sealed: File,
    lines: &File,
    length: u64,
    progress: &Progress,
) -> Result<(Decoded, bool), Failed> {
    let mut position = 0;
    let mut same = true;
    let decoded = decode(sealed, |chunk| {
        progress.advance(0)?;
        let left = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
        let common = chunk.get(..left.min(chunk.len())).unwrap_or_default();
        same = same && matches(lines, position, common)?;
        position += chunk.len() as u64;
        Ok::<(), Failed>(())
    })?;
    Ok((decoded, same))
}

/// Whether these bytes stand at this place of the file.
fn matches(file: &File, position: u64, bytes: &[u8]) -> io::Result<bool> {
    let mut own = vec![0; bytes.len()];
    file.read_exact_at(&mut own, position)?;
    Ok(own == bytes)
}
