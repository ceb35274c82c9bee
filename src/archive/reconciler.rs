//! What to do with lines for an hour that has a sealed file already: a crash left both, lines came
//! late, another program compressed the hour, or somebody decompressed it again.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::decode::{decode_and_digest, is_corruption};
use super::digest;
use super::directory::FileInfo;
use super::disk::FileError;
use super::file_name::{FileKind, Stem};
use super::journal;
use super::journal::{JournalEntry, JournalEvent, SealRecord};
use super::progress::{Progress, Stopped};
use super::seal_error::SealError;
use crate::base::time::{Hour, UnixNanos};

/// So many bytes at the start of a file of lines are not the same as all that is sealed by chance:
/// an hour of a few heartbeats may be.
const MIN_CONCLUSIVE_BYTES: u64 = 64 << 10;

/// How a file of lines stands to the sealed file of its hour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// There is no sealed file, or all of it is in the lines: these are sealed by themselves.
    Supersedes,
    /// The first `skip` bytes are in the sealed file already, those behind are not.
    Extends {
        /// Bytes of the lines.
        skip: u64,
        /// What the sealed file holds.
        base: SealRecord,
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

/// A file of lines and the sealed file of its hour, side by side.
pub(super) struct Reconciler<'a> {
    pub(super) dir: &'a Path,
    pub(super) stem: &'a Stem,
    pub(super) hour: Hour,
    pub(super) lines: &'a File,
    pub(super) lines_info: FileInfo,
    pub(super) progress: &'a Progress,
}

impl Reconciler<'_> {
    /// Compares them.
    pub(super) fn reconcile(&self) -> Result<Overlap, SealError> {
        let path = self.stem.path(self.dir, self.hour, FileKind::Sealed);
        let fail = |action| FileError::from_io(action, &path);
        let sealed = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Overlap::Supersedes);
            }
            Err(error) => return Err(fail("open")(error).into()),
        };
        let info = FileInfo::from_metadata(&sealed.metadata().map_err(fail("read the size of"))?);
        let journal = self.stem.path(self.dir, self.hour, FileKind::Journal);
        let entries =
            journal::read_compacted(&journal).map_err(FileError::from_io("read", &journal))?;
        let entries = entries.unwrap_or_default();
        if let Some(record) = find_current_record(&sealed, &entries).map_err(fail("read"))? {
            self.progress.check_stopped()?;
            let lines = self.stem.path(self.dir, self.hour, FileKind::Lines);
            let skip = self
                .recorded_prefix_len(info, &record)
                .map_err(FileError::from_io("read", &lines))?;
            return Ok(match skip {
                Some(skip) if skip == self.lines_info.bytes => {
                    let recorded =
                        entries.iter().any(|e| e.event == JournalEvent::Sealed(record.clone()));
                    Overlap::Contained { record, recorded }
                }
                skip => Overlap::Extends { skip: skip.unwrap_or(0), base: record },
            });
        }
        match self.compare_bytes(sealed, info) {
            Ok(overlap) => Ok(overlap),
            Err(CompareError::Lines(error)) => {
                let lines = self.stem.path(self.dir, self.hour, FileKind::Lines);
                Err(FileError::from_io("read", &lines)(error).into())
            }
            Err(CompareError::Sealed(error)) if is_corruption(&error) => {
                Ok(Overlap::Corrupt(error.to_string()))
            }
            Err(CompareError::Sealed(error)) => Err(fail("read")(error).into()),
            Err(CompareError::Stopped) => Err(Stopped.into()),
        }
    }

    /// How many bytes at the start of the lines are in the sealed file, whose record is known.
    fn recorded_prefix_len(
        &self,
        sealed: FileInfo,
        record: &SealRecord,
    ) -> io::Result<Option<u64>> {
        if let Some(part) = &record.part {
            let created = self.lines_info.created.map(UnixNanos::nanos);
            // A copy of the directory has other inodes, but keeps the times.
            let same_file = part.inode == self.lines_info.inode && part.created == created
                || part.modified == self.lines_info.modified.nanos();
            if same_file
                && part.bytes <= self.lines_info.bytes
                && digest::digest_prefix(self.lines, part.bytes)?.sha256 == part.sha256
            {
                return Ok(Some(part.bytes));
            }
        }
        // Somebody decompressed it: the time is kept by some tools, and chance is ruled out by size.
        let likely =
            record.raw_bytes >= MIN_CONCLUSIVE_BYTES || sealed.modified == self.lines_info.modified;
        if likely && journal::has_sealed_prefix(record, self.lines, self.lines_info.bytes)? {
            return Ok(Some(record.raw_bytes));
        }
        Ok(None)
    }

    /// Compares them byte by byte: nothing is known of the sealed file.
    fn compare_bytes(&self, sealed: File, info: FileInfo) -> Result<Overlap, CompareError> {
        let length = self.lines_info.bytes;
        let again = sealed.try_clone()?;
        let (mut position, mut same) = (0, true);
        let decoded = decode_and_digest(sealed, |chunk| {
            self.progress.check_stopped()?;
            let left = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
            let common = chunk.get(..left.min(chunk.len())).unwrap_or_default();
            same = same && self.lines_match_at(position, common)?;
            position += chunk.len() as u64;
            Ok::<(), CompareError>(())
        })?;
        let raw_bytes = decoded.lines.bytes;
        let record = SealRecord::from(decoded);
        if same && raw_bytes == length {
            return Ok(Overlap::Contained { record, recorded: false });
        }
        if same && raw_bytes < length {
            return Ok(Overlap::Supersedes);
        }
        // The journal is lost, but a sealed file has the time of the lines that went into it last.
        if info.modified == self.lines_info.modified
            && raw_bytes > length
            && self.is_suffix_of(again, raw_bytes - length)?
        {
            return Ok(Overlap::Contained { record, recorded: false });
        }
        Ok(Overlap::Extends { skip: 0, base: record })
    }

    /// Whether the lines are what the sealed file holds from this byte on.
    fn is_suffix_of(&self, mut sealed: File, from: u64) -> Result<bool, CompareError> {
        sealed.rewind()?;
        let (mut position, mut same) = (0, true);
        decode_and_digest(sealed, |chunk| {
            self.progress.check_stopped()?;
            let skip = usize::try_from(from.saturating_sub(position)).unwrap_or(usize::MAX);
            let tail = chunk.get(skip.min(chunk.len())..).unwrap_or_default();
            same = same && self.lines_match_at(position.max(from) - from, tail)?;
            position += chunk.len() as u64;
            Ok::<(), CompareError>(())
        })?;
        Ok(same)
    }

    /// Whether these bytes stand at this place of the lines.
    fn lines_match_at(&self, position: u64, bytes: &[u8]) -> Result<bool, CompareError> {
        let mut own = vec![0; bytes.len()];
        if !bytes.is_empty() {
            self.lines.read_exact_at(&mut own, position).map_err(CompareError::Lines)?;
        }
        Ok(own == bytes)
    }
}

enum CompareError {
    Stopped,
    Lines(io::Error),
    Sealed(io::Error),
}

impl From<io::Error> for CompareError {
    fn from(error: io::Error) -> Self {
        Self::Sealed(error)
    }
}

impl From<Stopped> for CompareError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What the journal says of the sealed file as it is: the newest record that fits. A run that was
/// cut off may have noted what it was about to put there.
fn find_current_record(
    mut file: &File,
    entries: &[JournalEntry],
) -> io::Result<Option<SealRecord>> {
    let length = file.metadata()?.len();
    let mut records = journal::seal_records(entries);
    records.retain(|record| record.stored_bytes == length);
    if records.is_empty() {
        return Ok(None);
    }
    let hash = digest::digest_prefix(file, length)?.sha256;
    // What follows reads the file from its start.
    file.rewind()?;
    Ok(records.into_iter().rev().find(|record| record.stored_sha256 == hash))
}
