//! Sealing: the lines of a closed hour become a compressed file that was decoded and compared.
//!
//! The order is such that at every moment the hour is on disk, whole, under a name of ours:
//! sync the lines, compress to `.jsonl.zst.tmp`, sync, decode and compare, note in the journal what
//! is about to get its name, rename, sync the directory, note that it has it, remove the lines. A
//! run that was cut off at any point is taken up by the next.

mod seal_target;
mod temp_file;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use self::seal_target::SealTarget;
use self::temp_file::{SealBase, write_and_verify};
use super::compress::Compression;
use super::directory::FileInfo;
use super::disk::{self, FileError};
use super::file_lock;
use super::file_name::{FileKind, MAX_CORRUPT_FILES};
use super::journal::{self, JournalEvent, SealRecord};
use super::progress::Progress;
use super::reconciler::{Overlap, Reconciler};
use super::seal_error::SealError;
use super::tail_repair::{TailRepair, find_last_line_end, repair_tail};
use super::tail_scan::{Checkpoints, TailScan};
use crate::base::time::Clock;

/// What became of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealOutcome {
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
    AlreadySealed(SealRecord),
    /// Somebody writes to it.
    InUse,
}

/// Something that deserves a word though the hour was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealWarning {
    /// The last line had no line feed.
    TailRepaired(TailRepair),
    /// The sealed file that was there could not be decoded.
    CorruptQuarantined {
        /// Where it is now.
        kept_in: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Lines that were sealed before are gone with their file.
    LinesLost {
        /// How many.
        messages: u64,
    },
}

/// Seals the lines of an hour.
///
/// # Errors
/// [`SealError`]: the lines are where they were, and the next run tries again.
pub fn seal(
    target: SealTarget<'_>,
    compression: Compression,
    clock: &dyn Clock,
    progress: &Progress,
    remark: &mut dyn FnMut(SealWarning),
) -> Result<SealOutcome, SealError> {
    progress.check_stopped()?;
    let path = target.path(FileKind::Lines);
    let lines = disk::open_read_no_follow(&path)?;
    if !file_lock::try_lock(&lines, &path)? {
        return Ok(SealOutcome::InUse);
    }
    if let Some(mended) = repair_lines_end(&lines, target, clock)? {
        remark(SealWarning::TailRepaired(mended));
    }
    disk::sync(&lines, &path)?;
    let info = file_info(&lines, &path)?;
    lines.unlock().map_err(FileError::from_io("unlock", &path))?;

    let SealTarget { dir, stem, hour } = target;
    let pair = Reconciler { dir, stem, hour, lines: &lines, lines_info: info, progress };
    let (skip, base, corrupt) = match pair.reconcile()? {
        Overlap::Supersedes => (0, None, None),
        Overlap::Extends { skip, base } => (skip, Some(base), None),
        Overlap::Corrupt(why) => (0, None, Some(why)),
        Overlap::Contained { record, recorded } => {
            if !relock_unchanged(&lines, &path, info)? {
                return Ok(SealOutcome::InUse);
            }
            if !recorded {
                target.append_event(clock, JournalEvent::Sealed(record.clone()))?;
            }
            disk::remove_if_exists(&path)?;
            return Ok(SealOutcome::AlreadySealed(record));
        }
    };
    let replaces = SealBase { skip_bytes: skip, record: base };
    let written = write_and_verify(target, &lines, info, &replaces, compression, progress);
    let sealed = written.and_then(|(record, part)| {
        if !relock_unchanged(&lines, &path, info)? {
            return Ok(SealOutcome::InUse);
        }
        if let Some(why) = corrupt {
            // Only now that there is something better: who is still writing it has not removed the
            // lines.
            remark(SealWarning::CorruptQuarantined {
                kept_in: quarantine_corrupt(target)?,
                reason: why,
            });
        } else if replaces.record.is_none() {
            report_lost_lines(target, &lines, info, remark)?;
        }
        target.append_event(clock, JournalEvent::Sealing(record.clone()))?;
        disk::rename(&target.path(FileKind::SealingTemp), &target.path(FileKind::Sealed))?;
        disk::sync_dir(dir)?;
        target.append_event(clock, JournalEvent::Sealed(record.clone()))?;
        disk::remove_if_exists(&path)?;
        let before = replaces.record.map_or(0, |base| base.stored_bytes);
        let stored_bytes = record.stored_bytes - before;
        Ok(SealOutcome::Sealed { record, raw_bytes: part.bytes, stored_bytes })
    });
    if !matches!(sealed, Ok(SealOutcome::Sealed { .. })) {
        // The next run removes it if this cannot.
        drop(disk::remove_if_exists(&target.path(FileKind::SealingTemp)));
    }
    sealed
}

/// Says so when lines were sealed before that neither the sealed file nor these lines have.
fn report_lost_lines(
    target: SealTarget<'_>,
    lines: &File,
    info: FileInfo,
    remark: &mut dyn FnMut(SealWarning),
) -> Result<(), SealError> {
    let path = target.path(FileKind::Journal);
    let entries = journal::read_compacted(&path).map_err(FileError::from_io("read", &path))?;
    let entries = entries.unwrap_or_default();
    let Some(record) = journal::sealed_records(&entries).next_back() else { return Ok(()) };
    let path = target.path(FileKind::Lines);
    let kept = journal::has_sealed_prefix(record, lines, info.bytes)
        .map_err(FileError::from_io("read", &path))?;
    if !kept {
        remark(SealWarning::LinesLost { messages: record.messages });
    }
    Ok(())
}

/// Locks the lines again. False when somebody has them open, had them meanwhile, or has replaced
/// them.
fn relock_unchanged(lines: &File, path: &Path, info: FileInfo) -> Result<bool, SealError> {
    if !file_lock::try_lock(lines, path)? {
        return Ok(false);
    }
    let now = file_info(lines, path)?;
    if now != info && now.bytes <= info.bytes {
        return Err(SealError::LinesRewritten(path.to_owned()));
    }
    Ok(now == info)
}

fn file_info(lines: &File, path: &Path) -> Result<FileInfo, FileError> {
    let metadata = lines.metadata().map_err(FileError::from_io("read the size of", path))?;
    Ok(FileInfo::from_metadata(&metadata))
}

/// Mends the end of the lines, which are locked. They are opened for writing only if need be.
fn repair_lines_end(
    lines: &File,
    target: SealTarget<'_>,
    clock: &dyn Clock,
) -> Result<Option<TailRepair>, FileError> {
    let (path, torn) = (target.path(FileKind::Lines), target.path(FileKind::Torn));
    let journal = target.path(FileKind::Journal);
    let claims = Checkpoints::from_journal(
        &journal::read(&journal).map_err(FileError::from_io("read", &journal))?,
    );
    if !claims.has_any() {
        // No recorder of ours wrote it: all but the end is as it should be.
        let length = lines.metadata().map_err(FileError::from_io("read the size of", &path))?.len();
        let whole = find_last_line_end(lines, length.saturating_sub(1), length);
        if whole.map_err(FileError::from_io("read", &path))? == Some(length) || length == 0 {
            return Ok(None);
        }
        return Ok(repair_tail(&disk::open_append(&path)?, &path, &torn)?.1);
    }
    let finding = TailScan::scan(lines, &claims).map_err(FileError::from_io("read", &path))?;
    let recovery = if finding.is_intact() {
        finding.repair(lines, &path, &torn, &claims)?
    } else {
        finding.repair(&disk::open_append(&path)?, &path, &torn, &claims)?
    };
    if let Some(found) = recovery.recovered {
        target.append_event(clock, JournalEvent::Recovered(found))?;
    }
    Ok(recovery.repair)
}

/// Moves a sealed file that cannot be decoded out of the way. Nothing is overwritten.
fn quarantine_corrupt(target: SealTarget<'_>) -> Result<PathBuf, SealError> {
    let sealed = target.path(FileKind::Sealed);
    for number in 1..=MAX_CORRUPT_FILES {
        let aside = target.path(FileKind::Corrupt(number));
        if !aside.exists() {
            disk::rename(&sealed, &aside)?;
            return Ok(aside);
        }
    }
    Err(SealError::TooManyCorrupt(sealed))
}
