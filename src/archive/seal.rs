//! Sealing: the lines of a closed hour become a compressed file, which is decoded again and
//! compared with them before it replaces them.
//!
//! At every moment the complete hour is on disk, under one of the archive's names. The order is:
//! sync the lines, compress to `.jsonl.zst.tmp`, sync, decode and compare, record `sealing` in the
//! journal, rename, sync the directory, record `sealed`, remove the lines. The next run resumes a
//! seal that was interrupted at any point.

mod seal_target;
mod temp_file;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use self::seal_target::SealTarget;
use self::temp_file::{SealBase, write_and_verify};
use super::checkpoints::Checkpoints;
use super::compress::Compression;
use super::disk::{self, FileError};
use super::file_info::FileInfo;
use super::file_lock;
use super::file_name::{FileKind, MAX_CORRUPT_FILES};
use super::journal::{self, JournalEvent, SealRecord};
use super::progress::Progress;
use super::reconciler::{Overlap, Reconciler};
use super::seal_error::SealError;
use super::tail_repair::{FileTail, TailRepair};
use super::tail_scan::TailScan;
use crate::base::time::Clock;

/// Outcome of a seal that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealOutcome {
    /// The lines were sealed.
    Sealed {
        /// Content of the sealed file.
        record: SealRecord,
        /// Bytes of lines that this seal added to it.
        raw_bytes: u64,
        /// Bytes by which the sealed file grew.
        stored_bytes: u64,
    },
    /// The lines were in the sealed file already, since a run before was interrupted at its end.
    AlreadySealed(SealRecord),
    /// Another process has the lines open for writing.
    InUse,
}

/// Finding that the user should learn of, though the hour was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealWarning {
    /// The last line had no line feed.
    TailRepaired(TailRepair),
    /// The existing sealed file could not be decoded.
    CorruptQuarantined {
        /// Path to which it was moved.
        kept_in: PathBuf,
        /// Error of the decoder.
        reason: String,
    },
    /// Lines that were sealed before are gone with their file.
    LinesLost {
        /// Number of lines.
        messages: u64,
    },
}

/// Seals the lines of an hour. Warnings are passed to `warn`.
///
/// # Errors
/// [`SealError`]: the lines are unchanged, and the next run tries again.
pub fn seal(
    target: SealTarget<'_>,
    compression: Compression,
    clock: &dyn Clock,
    progress: &Progress,
    warn: &mut dyn FnMut(SealWarning),
) -> Result<SealOutcome, SealError> {
    progress.check_stopped()?;
    let path = target.lines_path();
    let lines = disk::open_to_lock(&path)?;
    if !file_lock::try_lock(&lines, &path)? {
        return Ok(SealOutcome::InUse);
    }
    if let Some(repair) = repair_lines_end(&lines, target, clock)? {
        warn(SealWarning::TailRepaired(repair));
    }
    // A file system without the operation keeps no hour from being sealed.
    disk::sync(&lines, &path)?;
    let info = file_info(&lines, &path)?;
    // Compression takes long: a recorder whose clock was set back must not wait for it.
    file_lock::unlock(&lines, &path)?;

    let SealTarget { dir, stem, hour, lines: kind } = target;
    let reconciler =
        Reconciler { dir, stem, hour, kind, lines: &lines, lines_info: info, progress };
    let (skip, base, corrupt) = match reconciler.reconcile()? {
        Overlap::Supersedes => (0, None, None),
        Overlap::Extends { skip, base } => (skip, Some(base), None),
        Overlap::Corrupt(reason) => (0, None, Some(reason)),
        Overlap::Contained { record, recorded } => {
            if !relock_unchanged(&lines, &path, info)? {
                return Ok(SealOutcome::InUse);
            }
            if !recorded {
                target.append_event(clock, JournalEvent::Sealed(record.clone()))?;
            }
            target.remove_lines()?;
            return Ok(SealOutcome::AlreadySealed(record));
        }
    };
    let base = SealBase { skip_bytes: skip, record: base };
    let written = write_and_verify(target, &lines, info, &base, compression, progress);
    let outcome = written.and_then(|(record, part)| {
        if !relock_unchanged(&lines, &path, info)? {
            return Ok(SealOutcome::InUse);
        }
        if let Some(reason) = corrupt {
            // Not before the lock above: a program that was still writing the sealed file removes
            // the lines when it is done, and then the lock fails.
            let kept_in = quarantine_corrupt(target)?;
            warn(SealWarning::CorruptQuarantined { kept_in, reason });
        } else if base.record.is_none() {
            report_lost_lines(target, &lines, info, warn)?;
        }
        publish(target, clock, &record)?;
        // Where the file system has no locks, a recorder may have appended lines meanwhile: they
        // stay for the next run.
        if file_info(&lines, &path)? == info {
            target.remove_lines()?;
        }
        let bytes_before = base.record.map_or(0, |base| base.stored_bytes);
        let stored_bytes = record.stored_bytes - bytes_before;
        Ok(SealOutcome::Sealed { record, raw_bytes: part.bytes, stored_bytes })
    });
    if !matches!(outcome, Ok(SealOutcome::Sealed { .. })) {
        // If this fails, the next run removes it.
        drop(disk::remove_if_exists(&target.path(FileKind::SealingTemp)));
    }
    outcome
}

/// Gives the temporary file, which was synced and verified, the name of the sealed file.
///
/// # Durability
/// The journal has the record before the rename, so that a crash in between leaves a sealed file
/// that is known. The directory is synced, so that the lines may be removed.
fn publish(
    target: SealTarget<'_>,
    clock: &dyn Clock,
    record: &SealRecord,
) -> Result<(), FileError> {
    target.append_event(clock, JournalEvent::Sealing(record.clone()))?;
    disk::rename(&target.path(FileKind::SealingTemp), &target.path(FileKind::Sealed))?;
    disk::sync_dir(target.dir)?;
    target.append_event(clock, JournalEvent::Sealed(record.clone()))
}

/// Warns of lines that were sealed before and are neither in the sealed file nor in these lines.
fn report_lost_lines(
    target: SealTarget<'_>,
    lines: &File,
    info: FileInfo,
    warn: &mut dyn FnMut(SealWarning),
) -> Result<(), SealError> {
    let path = target.path(FileKind::Journal);
    let entries = journal::read_compacted(&path).map_err(FileError::from_io("read", &path))?;
    // An hour without a journal, or whose journal has no seal, was not sealed before.
    let entries = entries.unwrap_or_default();
    let Some(record) = journal::sealed_records(&entries).next_back() else { return Ok(()) };
    let path = target.lines_path();
    let contained = journal::has_sealed_prefix(record, lines, info.bytes)
        .map_err(FileError::from_io("read", &path))?;
    if !contained {
        warn(SealWarning::LinesLost { messages: record.messages });
    }
    Ok(())
}

/// Locks the lines again. Returns `false` when another process has them open for writing, has
/// appended to them since, or has replaced them.
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

/// Repairs the end of the lines, which are locked. They are opened for writing only if need be.
fn repair_lines_end(
    lines: &File,
    target: SealTarget<'_>,
    clock: &dyn Clock,
) -> Result<Option<TailRepair>, FileError> {
    let path = target.lines_path();
    let torn = target.path(FileKind::Torn);
    let journal = target.path(FileKind::Journal);
    let entries = journal::read(&journal).map_err(FileError::from_io("read", &journal))?;
    let checkpoints = Checkpoints::from_journal(&entries);
    if checkpoints.is_empty() || target.part_number().is_some() {
        // No recorder of ours wrote the lines, or it closed them when they became a part: only the
        // last line may be incomplete.
        let tail = FileTail::read(lines).map_err(FileError::from_io("read", &path))?;
        if tail.is_intact() {
            return Ok(None);
        }
        return Ok(tail.repair(&disk::open_append(&path)?, &path, &torn)?.1);
    }
    let scan = TailScan::scan(lines, &checkpoints).map_err(FileError::from_io("read", &path))?;
    let recovery = if scan.is_intact() {
        scan.repair(lines, &path, &torn, &checkpoints)?
    } else {
        scan.repair(&disk::open_append(&path)?, &path, &torn, &checkpoints)?
    };
    if let Some(event) = recovery.recovered {
        target.append_event(clock, JournalEvent::Recovered(event))?;
    }
    Ok(recovery.repair)
}

/// Moves a sealed file that cannot be decoded to the first free name of [`FileKind::Corrupt`].
fn quarantine_corrupt(target: SealTarget<'_>) -> Result<PathBuf, SealError> {
    let sealed = target.path(FileKind::Sealed);
    for number in 1..=MAX_CORRUPT_FILES {
        let corrupt = target.path(FileKind::Corrupt(number));
        if !corrupt.exists() {
            disk::rename(&sealed, &corrupt)?;
            return Ok(corrupt);
        }
    }
    Err(SealError::TooManyCorrupt(sealed))
}
