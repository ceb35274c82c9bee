//! Sealing: the lines of a closed hour become a compressed file that was decoded and compared.
//!
//! The order is such that at every moment the hour is on disk, whole, under a name of ours:
//! sync the lines, compress to `.jsonl.zst.tmp`, sync, decode and compare, note in the journal what
//! is about to get its name, rename, sync the directory, note that it has it, remove the lines. A
//! run that was cut off at any point is taken up by the next.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ahead::{CHUNK, each_chunk};
use super::compress::{Compression, Decoded, Output, compress, decode, decode_plain};
use super::digest::{self, Digest, Digester};
use super::directory::FileInfo;
use super::disk::{self, FileError};
use super::hour_file::same_file;
use super::journal::{self, Event, Part, SealRecord};
use super::layout::{Kind, MAX_CORRUPT, Stem};
use super::progress::{Progress, Stopped};
use super::reconcile::{Base, Standing, reconcile};
use super::retain::available;
use super::tail::{Mended, mend};
use crate::clock::{Clock, Hour, UnixNanos};

/// The disk is never filled to its end: a recorder writes to it, too. One part in this many stays
/// free, but no more than `MAX_RESERVE`.
const RESERVE_PART: u64 = 100;
const MAX_RESERVE: u64 = 256 << 20;

/// An hour that is to be sealed.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The directory.
    pub dir: &'a Path,
    /// The first part of the hour's file names.
    pub stem: &'a Stem,
    /// The hour.
    pub hour: Hour,
}

/// What became of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is sealed.
    Sealed(SealRecord),
    /// It was: a run before was cut off at its end.
    Finished(SealRecord),
    /// Somebody writes to it.
    Held,
}

/// Something that deserves a word though the hour was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// The last line had no line feed.
    Mended(Mended),
    /// The sealed file that was there could not be decoded.
    SetAside {
        /// Where it is now.
        kept_in: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Why an hour was not sealed. Its lines are where they were.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// An operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading ahead failed; becomes a [`FileError`] where the path is known.
    #[error("cannot read")]
    Io(#[from] io::Error),
    /// The disk is nearly full.
    #[error("only {available} bytes are free in `{}`, and {reserve} are left for the recorder: free some, or set `retention`", dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
        /// Bytes that are free.
        available: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// What was decoded is not what was compressed.
    #[error("`{}` does not decode to the lines that went into it; nothing was changed. Memory or disk may be failing", .0.display())]
    Differs(PathBuf),
    /// The sealed file that was to be extended is not what it was.
    #[error("`{}` is not what was sealed before; run `streamer verify`", .0.display())]
    BaseDiffers(PathBuf),
    /// The lines changed meanwhile.
    #[error("`{}` changed while it was sealed: somebody who takes no lock writes to it", .0.display())]
    Changed(PathBuf),
    /// There are too many corrupt files of this hour.
    #[error("`{}` is corrupt, and {MAX_CORRUPT} corrupt files of its hour are kept already", .0.display())]
    TooManyCorrupt(PathBuf),
    /// The work was told to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl SealError {
    /// Gives an error of the system its place.
    pub(super) fn at(self, action: &'static str, path: &Path) -> Self {
        match self {
            Self::Io(source) => FileError::of(action, path)(source).into(),
            other => other,
        }
    }

    /// Whether there was no room.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::File(error) => error.is_no_space(),
            _ => false,
        }
    }
}

/// Seals the lines of an hour.
///
/// # Errors
/// [`SealError`]: the lines are where they were, and the next run tries again.
pub fn seal(
    target: Target<'_>,
    compression: Compression,
    clock: &dyn Clock,
    progress: &Progress,
    remark: &mut dyn FnMut(Remark),
) -> Result<Outcome, SealError> {
    let path = target.path(Kind::Lines);
    let mut flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    flags |= rustix::fs::OFlags::CLOEXEC;
    let lines = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(&path)
        .map_err(FileError::of("open", &path))?;
    if !lock(&lines, &path)? {
        return Ok(Outcome::Held);
    }
    if let Some(mended) = mend_if_torn(&lines, target)? {
        remark(Remark::Mended(mended));
    }
    disk::sync(&lines, &path)?;
    let info = info_of(&lines, &path)?;
    lines.unlock().map_err(FileError::of("unlock", &path))?;

    let Target { dir, stem, hour } = target;
    let (skip, base) = match reconcile(dir, stem, hour, &lines, info, progress)? {
        Standing::Fresh => (0, None),
        Standing::Extends { skip, base } => (skip, Some(base)),
        Standing::Contained { record, recorded } => {
            if !still_ours(&lines, &path, info)? {
                return Ok(Outcome::Held);
            }
            if !recorded {
                let event = Event::Sealed(record.clone());
                journal::append(&target.path(Kind::Journal), clock.now(), event)?;
            }
            disk::remove(&path)?;
            return Ok(Outcome::Finished(record));
        }
        Standing::Corrupt(why) => {
            let kept_in = set_aside(target)?;
            remark(Remark::SetAside { kept_in, why });
            (0, None)
        }
    };
    let tmp = target.path(Kind::Sealing);
    let sealed = write_and_check(target, &lines, info, skip, base, compression, progress).and_then(
        |record| {
            if !still_ours(&lines, &path, info)? {
                return Ok(Outcome::Held);
            }
            let journal = target.path(Kind::Journal);
            journal::append(&journal, clock.now(), Event::Sealing(record.clone()))?;
            disk::rename(&tmp, &target.path(Kind::Sealed))?;
            disk::sync_dir(dir)?;
            journal::append(&journal, clock.now(), Event::Sealed(record.clone()))?;
            disk::remove(&path)?;
            Ok(Outcome::Sealed(record))
        },
    );
    if !matches!(sealed, Ok(Outcome::Sealed(_))) {
        // The next run removes it if this cannot.
        drop(disk::remove(&tmp));
    }
    sealed
}

/// Compresses to the temporary file and reads it back; gives what it holds.
fn write_and_check(
    target: Target<'_>,
    lines: &File,
    info: FileInfo,
    skip: u64,
    base: Option<Base>,
    compression: Compression,
    progress: &Progress,
) -> Result<SealRecord, SealError> {
    let path = target.path(Kind::Lines);
    let tmp = target.path(Kind::Sealing);
    let file = disk::create(&tmp)?;
    if let Some(base) = base {
        copy(&target.path(Kind::Sealed), base.stored_bytes, &file, &tmp)?;
    }
    let out = Output { file: &file, path: &tmp };
    let room = || has_room(target.dir);
    let part = compress(lines, &path, skip..info.bytes, &out, compression, progress, room)?;
    disk::dress(&file, &tmp, lines)?;
    disk::sync(&file, &tmp)?;
    let checked = match base {
        None => check(file, &tmp, lines, &part, progress),
        Some(base) => check_extended(file, &tmp, base, &part, progress),
    };
    let decoded = checked.map_err(|error| error.at("read back", &tmp))?;
    let Digest { bytes, messages, sha256, .. } = decoded.lines;
    Ok(SealRecord {
        raw_bytes: bytes,
        messages,
        raw_sha256: sha256,
        stored_bytes: decoded.stored_bytes,
        stored_sha256: decoded.stored_sha256,
        part: Some(Part {
            // A crash after an extension must find the whole of what is sealed of this file.
            bytes: info.bytes,
            sha256: if skip == 0 {
                part.sha256
            } else {
                digest::of_start(lines, info.bytes).map_err(FileError::of("read", &path))?.sha256
            },
            inode: info.inode,
            modified: info.modified.nanos(),
            created: info.created.map(UnixNanos::nanos),
        }),
    })
}

/// Decodes the temporary file and compares every byte with the lines that went into it.
fn check(
    mut file: File,
    tmp: &Path,
    lines: &File,
    part: &Digest,
    progress: &Progress,
) -> Result<Decoded, SealError> {
    file.rewind()?;
    let (mut position, mut same) = (0, true);
    let mut own = vec![0; CHUNK];
    let (stored_sha256, stored_bytes) = decode_plain(file, |chunk| {
        progress.advance(chunk.len())?;
        let end = position + chunk.len() as u64;
        let own = own.get_mut(..chunk.len()).filter(|_| end <= part.bytes);
        let Some(own) = own else { return Err(SealError::Differs(tmp.to_owned())) };
        lines.read_exact_at(own, position)?;
        same &= own == chunk;
        position = end;
        Ok::<(), SealError>(())
    })?;
    if same && position == part.bytes {
        Ok(Decoded { lines: *part, stored_sha256, stored_bytes })
    } else {
        Err(SealError::Differs(tmp.to_owned()))
    }
}

/// Decodes the temporary file and compares the hashes of what was sealed before and of what is new.
fn check_extended(
    mut file: File,
    tmp: &Path,
    base: Base,
    part: &Digest,
    progress: &Progress,
) -> Result<Decoded, SealError> {
    file.rewind()?;
    let (mut before, mut behind) = (Digester::new(), Digester::new());
    let decoded = decode(file, |chunk| {
        progress.advance(chunk.len())?;
        let left = usize::try_from(base.raw_bytes - before.bytes()).unwrap_or(usize::MAX);
        let (first, rest) = chunk.split_at(left.min(chunk.len()));
        before.update(first);
        behind.update(rest);
        Ok::<(), SealError>(())
    })?;
    if before.finish().sha256 != base.raw_sha256 {
        return Err(SealError::BaseDiffers(tmp.with_extension("")));
    }
    let same = behind.finish() == *part;
    if same { Ok(decoded) } else { Err(SealError::Differs(tmp.to_owned())) }
}

impl Target<'_> {
    fn path(&self, kind: Kind) -> PathBuf {
        self.stem.path(self.dir, self.hour, kind)
    }
}

/// Takes the lock of the lines; false when somebody else has it.
fn lock(lines: &File, path: &Path) -> Result<bool, FileError> {
    match lines.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(error) => Err(FileError::of("lock", path)(error.into())),
    }
}

/// Locks the lines again. False when somebody has them open or has replaced them.
fn still_ours(lines: &File, path: &Path, info: FileInfo) -> Result<bool, SealError> {
    if !lock(lines, path)? || !same_file(lines, path) {
        return Ok(false);
    }
    if info_of(lines, path)? == info { Ok(true) } else { Err(SealError::Changed(path.to_owned())) }
}

fn info_of(lines: &File, path: &Path) -> Result<FileInfo, FileError> {
    let metadata = lines.metadata().map_err(FileError::of("read the size of", path))?;
    Ok(FileInfo::of(&metadata))
}

/// Mends the end of the lines, which are locked. They are opened for writing only if need be.
fn mend_if_torn(lines: &File, target: Target<'_>) -> Result<Option<Mended>, FileError> {
    let path = target.path(Kind::Lines);
    let mut last = [b'\n'];
    if let Some(at) = info_of(lines, &path)?.bytes.checked_sub(1) {
        lines.read_exact_at(&mut last, at).map_err(FileError::of("read", &path))?;
    }
    if last == *b"\n" {
        return Ok(None);
    }
    let file = disk::append(&path)?;
    Ok(mend(&file, &path, &target.path(Kind::Torn))?.1)
}

/// Moves a sealed file that cannot be decoded out of the way. Nothing is overwritten.
fn set_aside(target: Target<'_>) -> Result<PathBuf, SealError> {
    let sealed = target.path(Kind::Sealed);
    for number in 1..=MAX_CORRUPT {
        let aside = target.path(Kind::Corrupt(number));
        if !aside.exists() {
            disk::rename(&sealed, &aside)?;
            return Ok(aside);
        }
    }
    Err(SealError::TooManyCorrupt(sealed))
}

/// Copies the first `length` bytes of a file.
fn copy(from: &Path, length: u64, to: &File, to_path: &Path) -> Result<(), SealError> {
    let file = File::open(from).map_err(FileError::of("open", from))?;
    each_chunk(file.take(length), |chunk| Ok(disk::write(to, to_path, chunk)?))
        .map_err(|error: SealError| error.at("read", from))
}

/// Whether there is room for another frame.
fn has_room(dir: &Path) -> Result<(), SealError> {
    let (available, total) = available(dir)?;
    let reserve = (total / RESERVE_PART).min(MAX_RESERVE);
    if available > reserve {
        return Ok(());
    }
    Err(SealError::NoSpace { dir: dir.to_owned(), available, reserve })
}
