//! Sealing: the lines of a closed hour become a compressed file that was decoded and compared.
//!
//! The order is such that at every moment the hour is on disk, whole, under a name of ours:
//! sync the lines, compress to `.jsonl.zst.tmp`, sync, decode and compare, note in the journal what
//! is about to get its name, rename, sync the directory, note that it has it, remove the lines. A
//! run that was cut off at any point is taken up by the next.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::ahead::{CHUNK, each_chunk};
use super::compress::{Compression, Output, compress, compress_line_feed};
use super::decode::{Decoded, decode, decode_plain};
use super::digest::{self, Digest, Digester};
use super::directory::FileInfo;
use super::disk::{self, FileError};
use super::journal::{self, Event, Part, SealRecord};
use super::layout::{Kind, MAX_CORRUPT, Stem};
use super::line_lock;
use super::progress::{Progress, Stopped};
use super::reconcile::{Overlap, Pair};
use super::retain::available;
use super::tail::{Mended, mend};
use crate::clock::{Clock, Hour, UnixNanos};

/// The disk is never filled to its end: a recorder writes to it, too. One part in this many stays
/// free, but no more than `MAX_RESERVE`: sealing is what makes room.
const RESERVE_PART: u64 = 100;
const MAX_RESERVE: u64 = 16 << 20;

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
    Sealed {
        /// What the sealed file holds.
        record: SealRecord,
        /// Bytes of the lines that were added to it now.
        raw_bytes: u64,
        /// Bytes by which it grew.
        stored_bytes: u64,
    },
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
    /// Lines that were sealed before are gone with their file.
    Lost {
        /// How many.
        messages: u64,
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
    #[error("`{}` was rewritten while it was sealed", .0.display())]
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
    progress.check()?;
    let path = target.path(Kind::Lines);
    let lines = disk::open_regular(&path)?;
    if !line_lock::take(&lines, &path)? {
        return Ok(Outcome::Held);
    }
    if let Some(mended) = mend_if_torn(&lines, target)? {
        remark(Remark::Mended(mended));
    }
    disk::sync(&lines, &path)?;
    let info = info_of(&lines, &path)?;
    lines.unlock().map_err(FileError::of("unlock", &path))?;

    let Target { dir, stem, hour } = target;
    let pair = Pair { dir, stem, hour, lines: &lines, info, progress };
    let (skip, base, corrupt) = match pair.reconcile()? {
        Overlap::Fresh => (0, None, None),
        Overlap::Extends { skip, base } => (skip, Some(base), None),
        Overlap::Corrupt(why) => (0, None, Some(why)),
        Overlap::Contained { record, recorded } => {
            if !still_ours(&lines, &path, info)? {
                return Ok(Outcome::Held);
            }
            if !recorded {
                target.journal(clock, Event::Sealed(record.clone()))?;
            }
            disk::remove(&path)?;
            return Ok(Outcome::Finished(record));
        }
    };
    let replaces = Replaces { skip, base };
    let written = write_and_check(target, &lines, info, &replaces, compression, progress);
    let sealed = written.and_then(|(record, part)| {
        if !still_ours(&lines, &path, info)? {
            return Ok(Outcome::Held);
        }
        if let Some(why) = corrupt {
            // Only now that there is something better: who is still writing it has not removed the
            // lines.
            remark(Remark::SetAside { kept_in: set_aside(target)?, why });
        } else if replaces.base.is_none() {
            warn_of_loss(target, &lines, info, remark)?;
        }
        target.journal(clock, Event::Sealing(record.clone()))?;
        disk::rename(&target.path(Kind::Sealing), &target.path(Kind::Sealed))?;
        disk::sync_dir(dir)?;
        target.journal(clock, Event::Sealed(record.clone()))?;
        disk::remove(&path)?;
        let before = replaces.base.map_or(0, |base| base.stored_bytes);
        let stored_bytes = record.stored_bytes - before;
        Ok(Outcome::Sealed { record, raw_bytes: part.bytes, stored_bytes })
    });
    if !matches!(sealed, Ok(Outcome::Sealed { .. })) {
        // The next run removes it if this cannot.
        drop(disk::remove(&target.path(Kind::Sealing)));
    }
    sealed
}

/// What the lines are added to.
struct Replaces {
    /// Bytes of the lines that are in it already.
    skip: u64,
    /// The sealed file that gets further frames.
    base: Option<SealRecord>,
}

/// Compresses to the temporary file and reads it back; gives what it holds, and what is new in it.
fn write_and_check(
    target: Target<'_>,
    lines: &File,
    info: FileInfo,
    replaces: &Replaces,
    compression: Compression,
    progress: &Progress,
) -> Result<(SealRecord, Digest), SealError> {
    let path = target.path(Kind::Lines);
    let tmp = target.path(Kind::Sealing);
    let file = disk::create(&tmp)?;
    let out = Output { file: &file, path: &tmp };
    let Replaces { skip, base } = replaces;
    if let Some(base) = base {
        copy(&target.path(Kind::Sealed), base.stored_bytes, out, progress)?;
        if base.torn {
            compress_line_feed(out)?;
        }
    }
    let room = || has_room(target.dir);
    let part = compress(lines, &path, *skip..info.bytes, out, compression, progress, room)?;
    disk::dress(&file, &tmp, lines)?;
    disk::sync(&file, &tmp)?;
    let checked = match base {
        None => check(file, &tmp, lines, &part, progress),
        Some(base) => check_extended(file, &tmp, base, &part, progress),
    };
    let decoded = checked.map_err(|error| error.at("read back", &tmp))?;
    let sha256 = if *skip == 0 {
        part.sha256
    } else {
        digest::of_start(lines, info.bytes).map_err(FileError::of("read", &path))?.sha256
    };
    // A crash after an extension must find the whole of what is sealed of this file.
    let from = Part {
        bytes: info.bytes,
        sha256,
        inode: info.inode,
        modified: info.modified.nanos(),
        created: info.created.map(UnixNanos::nanos),
    };
    Ok((SealRecord { part: Some(from), ..SealRecord::from(decoded) }, part))
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
    base: &SealRecord,
    part: &Digest,
    progress: &Progress,
) -> Result<Decoded, SealError> {
    file.rewind()?;
    let (mut before, mut behind) = (Digester::new(), Digester::new());
    let mut feeds = usize::from(base.torn);
    let decoded = decode(file, |chunk| {
        progress.advance(chunk.len())?;
        let left = usize::try_from(base.raw_bytes - before.bytes()).unwrap_or(usize::MAX);
        let (first, rest) = chunk.split_at(left.min(chunk.len()));
        before.update(first);
        let feed = feeds.min(rest.len());
        feeds -= feed;
        behind.update(rest.get(feed..).unwrap_or_default());
        Ok::<(), SealError>(())
    })?;
    if before.finish().sha256 != base.raw_sha256 {
        return Err(SealError::BaseDiffers(tmp.with_extension("")));
    }
    let same = behind.finish() == *part;
    if same { Ok(decoded) } else { Err(SealError::Differs(tmp.to_owned())) }
}

/// Says so when lines were sealed before that neither the sealed file nor these lines have.
fn warn_of_loss(
    target: Target<'_>,
    lines: &File,
    info: FileInfo,
    remark: &mut dyn FnMut(Remark),
) -> Result<(), SealError> {
    let path = target.path(Kind::Journal);
    let entries = journal::read(&path).map_err(FileError::of("read", &path))?;
    let Some(record) = journal::sealed(&entries).next_back() else { return Ok(()) };
    let path = target.path(Kind::Lines);
    let kept = record.raw_bytes <= info.bytes
        && digest::of_start(lines, record.raw_bytes).map_err(FileError::of("read", &path))?.sha256
            == record.raw_sha256;
    if !kept {
        remark(Remark::Lost { messages: record.messages });
    }
    Ok(())
}

impl Target<'_> {
    fn path(&self, kind: Kind) -> PathBuf {
        self.stem.path(self.dir, self.hour, kind)
    }

    fn journal(&self, clock: &dyn Clock, event: Event) -> Result<(), FileError> {
        journal::append(&self.path(Kind::Journal), clock.now(), event)
    }
}

/// Locks the lines again. False when somebody has them open, had them meanwhile, or has replaced
/// them.
fn still_ours(lines: &File, path: &Path, info: FileInfo) -> Result<bool, SealError> {
    if !line_lock::take(lines, path)? {
        return Ok(false);
    }
    let now = info_of(lines, path)?;
    if now != info && now.bytes <= info.bytes {
        return Err(SealError::Changed(path.to_owned()));
    }
    Ok(now == info)
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
fn copy(from: &Path, length: u64, to: Output<'_>, progress: &Progress) -> Result<(), SealError> {
    let file = File::open(from).map_err(FileError::of("open", from))?;
    each_chunk(file.take(length), |chunk| {
        progress.check()?;
        Ok(disk::write(to.file, to.path, chunk)?)
    })
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
