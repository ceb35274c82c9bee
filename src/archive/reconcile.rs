//! What to do with lines for an hour that has a sealed file already: a crash left both, lines came
//! late, another program compressed the hour, or somebody decompressed it again.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::decode::{decode, is_corrupt};
use super::digest;
use super::directory::FileInfo;
use super::disk::FileError;
use super::journal::{self, Entry, Event, SealRecord};
use super::layout::{Kind, Stem};
use super::progress::{Progress, Stopped};
use super::seal::SealError;
use crate::clock::{Hour, UnixNanos};

/// So many bytes at the start of a file of lines are not the same as all that is sealed by chance:
/// an hour of a few heartbeats may be.
const NO_COINCIDENCE: u64 = 64 << 10;

/// How a file of lines stands to the sealed file of its hour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// There is no sealed file, or all of it is in the lines: these are sealed by themselves.
    Fresh,
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
pub(super) struct Pair<'a> {
    pub(super) dir: &'a Path,
    pub(super) stem: &'a Stem,
    pub(super) hour: Hour,
    pub(super) lines: &'a File,
    pub(super) info: FileInfo,
    pub(super) progress: &'a Progress,
}

impl Pair<'_> {
    /// Compares them.
    pub(super) fn reconcile(&self) -> Result<Overlap, SealError> {
        let path = self.stem.path(self.dir, self.hour, Kind::Sealed);
        let fail = |action| FileError::of(action, &path);
        let sealed = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Overlap::Fresh),
            Err(error) => return Err(fail("open")(error).into()),
        };
        let info = FileInfo::of(&sealed.metadata().map_err(fail("read the size of"))?);
        let journal = self.stem.path(self.dir, self.hour, Kind::Journal);
        let entries = journal::outline(&journal).map_err(FileError::of("read", &journal))?;
        let entries = entries.unwrap_or_default();
        if let Some(record) = current_record(&sealed, &entries).map_err(fail("read"))? {
            self.progress.check()?;
            let lines = self.stem.path(self.dir, self.hour, Kind::Lines);
            let skip = self.contained(info, &record).map_err(FileError::of("read", &lines))?;
            return Ok(match skip {
                Some(skip) if skip == self.info.bytes => {
                    let recorded = entries.iter().any(|e| e.event == Event::Sealed(record.clone()));
                    Overlap::Contained { record, recorded }
                }
                skip => Overlap::Extends { skip: skip.unwrap_or(0), base: record },
            });
        }
        match self.compare(sealed, info) {
            Ok(overlap) => Ok(overlap),
            Err(Failed::Lines(error)) => {
                let lines = self.stem.path(self.dir, self.hour, Kind::Lines);
                Err(FileError::of("read", &lines)(error).into())
            }
            Err(Failed::Sealed(error)) if is_corrupt(&error) => {
                Ok(Overlap::Corrupt(error.to_string()))
            }
            Err(Failed::Sealed(error)) => Err(fail("read")(error).into()),
            Err(Failed::Stopped) => Err(Stopped.into()),
        }
    }

    /// How many bytes at the start of the lines are in the sealed file, whose record is known.
    fn contained(&self, sealed: FileInfo, record: &SealRecord) -> io::Result<Option<u64>> {
        if let Some(part) = &record.part {
            let created = self.info.created.map(UnixNanos::nanos);
            // A copy of the directory has other inodes, but keeps the times.
            let same_file = part.inode == self.info.inode && part.created == created
                || part.modified == self.info.modified.nanos();
            if same_file
                && part.bytes <= self.info.bytes
                && digest::of_start(self.lines, part.bytes)?.sha256 == part.sha256
            {
                return Ok(Some(part.bytes));
            }
        }
        // Somebody decompressed it: the time is kept by some tools, and chance is ruled out by size.
        let likely = record.raw_bytes >= NO_COINCIDENCE || sealed.modified == self.info.modified;
        if likely && journal::is_start_of(record, self.lines, self.info.bytes)? {
            return Ok(Some(record.raw_bytes));
        }
        Ok(None)
    }

    /// Compares them byte by byte: nothing is known of the sealed file.
    fn compare(&self, sealed: File, info: FileInfo) -> Result<Overlap, Failed> {
        let length = self.info.bytes;
        let again = sealed.try_clone()?;
        let (mut position, mut same) = (0, true);
        let decoded = decode(sealed, |chunk| {
            self.progress.check()?;
            let left = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
            let common = chunk.get(..left.min(chunk.len())).unwrap_or_default();
            same = same && self.lines_have(position, common)?;
            position += chunk.len() as u64;
            Ok::<(), Failed>(())
        })?;
        let raw_bytes = decoded.lines.bytes;
        let record = SealRecord::from(decoded);
        if same && raw_bytes == length {
            return Ok(Overlap::Contained { record, recorded: false });
        }
        if same && raw_bytes < length {
            return Ok(Overlap::Fresh);
        }
        // The journal is lost, but a sealed file has the time of the lines that went into it last.
        if info.modified == self.info.modified
            && raw_bytes > length
            && self.is_end_of(again, raw_bytes - length)?
        {
            return Ok(Overlap::Contained { record, recorded: false });
        }
        Ok(Overlap::Extends { skip: 0, base: record })
    }

    /// Whether the lines are what the sealed file holds from this byte on.
    fn is_end_of(&self, mut sealed: File, from: u64) -> Result<bool, Failed> {
        sealed.rewind()?;
        let (mut position, mut same) = (0, true);
        decode(sealed, |chunk| {
            self.progress.check()?;
            let skip = usize::try_from(from.saturating_sub(position)).unwrap_or(usize::MAX);
            let tail = chunk.get(skip.min(chunk.len())..).unwrap_or_default();
            same = same && self.lines_have(position.max(from) - from, tail)?;
            position += chunk.len() as u64;
            Ok::<(), Failed>(())
        })?;
        Ok(same)
    }

    /// Whether these bytes stand at this place of the lines.
    fn lines_have(&self, position: u64, bytes: &[u8]) -> Result<bool, Failed> {
        let mut own = vec![0; bytes.len()];
        if !bytes.is_empty() {
            self.lines.read_exact_at(&mut own, position).map_err(Failed::Lines)?;
        }
        Ok(own == bytes)
    }
}

enum Failed {
    Stopped,
    Lines(io::Error),
    Sealed(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Sealed(error)
    }
}

impl From<Stopped> for Failed {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// What the journal says of the sealed file as it is: the newest record that fits. A run that was
/// cut off may have noted what it was about to put there.
fn current_record(mut file: &File, entries: &[Entry]) -> io::Result<Option<SealRecord>> {
    let length = file.metadata()?.len();
    let mut records = journal::records(entries);
    records.retain(|record| record.stored_bytes == length);
    if records.is_empty() {
        return Ok(None);
    }
    let hash = digest::of_start(file, length)?.sha256;
    // What follows reads the file from its start.
    file.rewind()?;
    Ok(records.into_iter().rev().find(|record| record.stored_sha256 == hash))
}
