//! Sealing: the lines of a closed hour become a compressed file that was decoded and compared.
//!
//! The order is such that at every moment the hour is on disk, whole, under a name of ours:
//! sync the lines, compress to `.jsonl.zst.tmp`, sync, decode and compare, note in the journal what
//! is about to get its name, rename, sync the directory, note that it has it, remove the lines. A
//! run that was cut off at any point is taken up by the next.

mod temporary;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use self::temporary::{Replaces, write_and_check};
use super::compress::Compression;
use super::directory::FileInfo;
use super::disk::{self, FileError};
use super::journal::{self, Event, SealRecord};
use super::layout::{Kind, MAX_CORRUPT, Stem};
use super::line_lock;
use super::progress::{Progress, Stopped};
use super::reconcile::{Overlap, Pair};
use super::recover::{Claims, Finding};
use super::tail::{Mended, line_end_before, mend};
use crate::clock::{Clock, Hour};

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
    if let Some(mended) = mend_if_torn(&lines, target, clock)? {
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

/// Says so when lines were sealed before that neither the sealed file nor these lines have.
fn warn_of_loss(
    target: Target<'_>,
    lines: &File,
    info: FileInfo,
    remark: &mut dyn FnMut(Remark),
) -> Result<(), SealError> {
    let path = target.path(Kind::Journal);
    let entries = journal::outline(&path).map_err(FileError::of("read", &path))?;
    let entries = entries.unwrap_or_default();
    let Some(record) = journal::sealed(&entries).next_back() else { return Ok(()) };
    let path = target.path(Kind::Lines);
    let kept =
        journal::is_start_of(record, lines, info.bytes).map_err(FileError::of("read", &path))?;
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
fn mend_if_torn(
    lines: &File,
    target: Target<'_>,
    clock: &dyn Clock,
) -> Result<Option<Mended>, FileError> {
    let (path, torn) = (target.path(Kind::Lines), target.path(Kind::Torn));
    let journal = target.path(Kind::Journal);
    let claims = Claims::of(&journal::read(&journal).map_err(FileError::of("read", &journal))?);
    if !claims.are_any() {
        // No recorder of ours wrote it: all but the end is as it should be.
        let length = lines.metadata().map_err(FileError::of("read the size of", &path))?.len();
        let whole = line_end_before(lines, length.saturating_sub(1), length);
        if whole.map_err(FileError::of("read", &path))? == Some(length) || length == 0 {
            return Ok(None);
        }
        return Ok(mend(&disk::append(&path)?, &path, &torn)?.1);
    }
    let finding = Finding::look(lines, &claims).map_err(FileError::of("read", &path))?;
    let recovery = if finding.is_whole() {
        finding.mend(lines, &path, &torn, &claims)?
    } else {
        finding.mend(&disk::append(&path)?, &path, &torn, &claims)?
    };
    if let Some(found) = recovery.found {
        target.journal(clock, Event::Recovered(found))?;
    }
    Ok(recovery.mended)
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
