//! The comparison of lines with the sealed file of the same hour. Both exist when a seal was
//! interrupted, when lines came late, or when another program compressed or decompressed the hour.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::decode::{decode_and_digest, is_corruption};
use super::digest;
use super::disk::{self, FileError};
use super::file_info::FileInfo;
use super::file_name::{FileKind, Stem};
use super::journal::{self, JournalEntry, JournalEvent, SealRecord};
use super::progress::{Progress, Stopped};
use super::seal_error::SealError;
use crate::base::time::Hour;

/// Number of bytes from which on an equal start of two files is no coincidence. An hour of a few
/// heartbeats may well begin like another.
const MIN_CONCLUSIVE_BYTES: u64 = 64 << 10;

/// Relation of a file of lines to the sealed file of its hour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// There is no sealed file, or all of it is in the lines: the lines are sealed on their own.
    Supersedes,
    /// The first `skip` bytes of the lines are in the sealed file, the others are not.
    Extends {
        /// Bytes at the start of the lines that are sealed already.
        skip: u64,
        /// Content of the sealed file.
        base: SealRecord,
    },
    /// All lines are in the sealed file.
    Contained {
        /// Content of the sealed file.
        record: SealRecord,
        /// `true` if the journal has this record as `sealed`.
        recorded: bool,
    },
    /// The sealed file cannot be decoded, for the reason of the decoder.
    Corrupt(String),
}

/// A file of lines and the hour whose sealed file it is compared with.
pub(super) struct Reconciler<'a> {
    pub(super) dir: &'a Path,
    pub(super) stem: &'a Stem,
    pub(super) hour: Hour,
    /// The file of the lines: the `.jsonl`, or a part.
    pub(super) kind: FileKind,
    pub(super) lines: &'a File,
    pub(super) lines_info: FileInfo,
    pub(super) progress: &'a Progress,
}

impl Reconciler<'_> {
    /// Compares the lines with the sealed file: by the journal if it knows the sealed file, else
    /// byte by byte.
    ///
    /// # Errors
    /// [`SealError::File`] if a file cannot be read, [`SealError::Stopped`] if a stop was
    /// requested.
    pub(super) fn reconcile(&self) -> Result<Overlap, SealError> {
        let sealed_path = self.path(FileKind::Sealed);
        let sealed_error = |action| FileError::from_io(action, &sealed_path);
        let sealed = match disk::open_regular(&sealed_path) {
            Ok(file) => file,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                return Ok(Overlap::Supersedes);
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = sealed.metadata().map_err(sealed_error("read the size of"))?;
        let sealed_info = FileInfo::from_metadata(&metadata);
        let lines_path = self.path(self.kind);
        let journal_path = self.path(FileKind::Journal);
        let entries = journal::read_compacted(&journal_path)
            .map_err(FileError::from_io("read", &journal_path))?
            .unwrap_or_default();
        if let Some(record) =
            find_current_record(&sealed, &entries).map_err(sealed_error("read"))?
        {
            self.progress.check_stopped()?;
            let skip = self
                .recorded_prefix_len(sealed_info, &record)
                .map_err(FileError::from_io("read", &lines_path))?;
            return Ok(match skip {
                Some(skip) if skip == self.lines_info.bytes => {
                    let sealed_event = JournalEvent::Sealed(record.clone());
                    let recorded = entries.iter().any(|entry| entry.event == sealed_event);
                    Overlap::Contained { record, recorded }
                }
                skip => Overlap::Extends { skip: skip.unwrap_or(0), base: record },
            });
        }
        match self.compare_bytes(sealed, sealed_info) {
            Ok(overlap) => Ok(overlap),
            Err(CompareError::Lines(error)) => {
                Err(FileError::from_io("read", &lines_path)(error).into())
            }
            Err(CompareError::Sealed(error)) if is_corruption(&error) => {
                Ok(Overlap::Corrupt(error.to_string()))
            }
            Err(CompareError::Sealed(error)) => Err(sealed_error("read")(error).into()),
            Err(CompareError::Stopped) => Err(Stopped.into()),
        }
    }

    fn path(&self, kind: FileKind) -> std::path::PathBuf {
        self.stem.path(self.dir, self.hour, kind)
    }

    /// Returns the number of bytes at the start of the lines that are in the sealed file of this
    /// record; `None` if no relation is evident.
    fn recorded_prefix_len(
        &self,
        sealed: FileInfo,
        record: &SealRecord,
    ) -> io::Result<Option<u64>> {
        if let Some(part) = &record.part {
            // A copy of the directory has other inodes, but keeps the times.
            let same_file = part.inode == self.lines_info.inode
                && part.created == self.lines_info.created
                || part.modified == self.lines_info.modified;
            if same_file
                && part.bytes <= self.lines_info.bytes
                && digest::digest_prefix(self.lines, part.bytes)?.sha256 == part.sha256
            {
                return Ok(Some(part.bytes));
            }
        }
        // The lines may be the decompressed file. Some tools keep the time; without it, only a
        // large file rules out coincidence.
        let is_conclusive =
            record.raw_bytes >= MIN_CONCLUSIVE_BYTES || sealed.modified == self.lines_info.modified;
        if is_conclusive && journal::has_sealed_prefix(record, self.lines, self.lines_info.bytes)? {
            return Ok(Some(record.raw_bytes));
        }
        Ok(None)
    }

    /// Compares the two files byte by byte, when the journal does not know the sealed file.
    fn compare_bytes(&self, sealed: File, info: FileInfo) -> Result<Overlap, CompareError> {
        let length = self.lines_info.bytes;
        let sealed_again = sealed.try_clone()?;
        let mut position = 0;
        let mut same = true;
        let decoded = decode_and_digest(sealed, |chunk| {
            self.progress.check_stopped()?;
            let remaining = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
            let (common, _) = chunk.split_at(remaining.min(chunk.len()));
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
        // A sealed file has the time of the lines that were added to it last: those may be its end,
        // when the journal was lost.
        if info.modified == self.lines_info.modified
            && raw_bytes > length
            && self.is_suffix_of(sealed_again, raw_bytes - length)?
        {
            return Ok(Overlap::Contained { record, recorded: false });
        }
        Ok(Overlap::Extends { skip: 0, base: record })
    }

    /// Returns whether the lines are the content of the sealed file from byte `start` on.
    fn is_suffix_of(&self, mut sealed: File, start: u64) -> Result<bool, CompareError> {
        sealed.rewind()?;
        let mut position = 0_u64;
        let mut same = true;
        decode_and_digest(sealed, |chunk| {
            self.progress.check_stopped()?;
            let skip = usize::try_from(start.saturating_sub(position)).unwrap_or(usize::MAX);
            let (_, suffix) = chunk.split_at(skip.min(chunk.len()));
            same = same && self.lines_match_at(position.max(start) - start, suffix)?;
            position += chunk.len() as u64;
            Ok::<(), CompareError>(())
        })?;
        Ok(same)
    }

    /// Returns whether the lines have these bytes at this position.
    fn lines_match_at(&self, position: u64, bytes: &[u8]) -> Result<bool, CompareError> {
        let mut lines = vec![0; bytes.len()];
        if !bytes.is_empty() {
            self.lines.read_exact_at(&mut lines, position).map_err(CompareError::Lines)?;
        }
        Ok(lines == bytes)
    }
}

/// Error of a comparison, by the file that it concerns.
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

/// Returns the newest record of the journal that fits the sealed file as it is. The newest of all
/// need not fit: an interrupted run may have recorded what it was about to put there.
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
    // The caller reads the file from its start.
    file.rewind()?;
    Ok(records.into_iter().rev().find(|record| record.stored_sha256 == hash))
}
