//! Removal of the files of an hour.

use std::io;
use std::path::Path;

use super::disk::{self, FileError};
use super::file_lock;
use super::file_name::FileKind;
use super::hour_entry::HourEntry;
use super::journal::{self, JournalEvent, LimitKind};
use super::parts::part_paths;
use crate::base::time::UnixNanos;

/// True if the journal of an hour is removed with the hour's other files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JournalFate {
    Keep,
    Remove,
}

/// The result of an attempt to remove an hour.
#[derive(Debug)]
pub(super) enum RemovalOutcome {
    /// The files are removed.
    Removed {
        /// Error because of which the journal does not record the removal. A journal that is kept
        /// then shows the hour's lines as missing for an unknown cause.
        unrecorded: Option<FileError>,
    },
    /// A recorder has opened the hour's lines since, so that nothing was removed.
    InUse,
}

/// Removes the files of an hour.
///
/// # Durability
/// The journal records the removal first and is removed last, or kept, so that
/// [`is_partially_removed`] recognizes a removal that was cut off.
///
/// # Errors
/// [`FileError`] of the first file that could not be removed. The files after it remain.
pub(super) fn remove_hour(
    dir: &Path,
    entry: &HourEntry,
    reason: LimitKind,
    now: UnixNanos,
    fate: JournalFate,
) -> Result<RemovalOutcome, FileError> {
    let path = entry.path(dir, FileKind::Lines);
    let lines = match entry.file(FileKind::Lines).map(|_| disk::open_to_lock(&path)).transpose() {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => None,
        lines => lines?,
    };
    // Holds the lock until the files are removed.
    if let Some(lines) = &lines
        && !file_lock::try_lock(lines, &path)?
    {
        return Ok(RemovalOutcome::InUse);
    }
    let journal = entry.path(dir, FileKind::Journal);
    // A full disk, often the reason for the removal, may have no room for the event.
    let unrecorded = journal::append(&journal, now, JournalEvent::Removed { reason }).err();
    finish_removal(dir, entry, fate)?;
    Ok(RemovalOutcome::Removed { unrecorded })
}

/// Removes the files of an hour, its journal last.
pub(super) fn finish_removal(
    dir: &Path,
    entry: &HourEntry,
    fate: JournalFate,
) -> Result<(), FileError> {
    // Of the parts of the journal, all but the last ones were listed.
    let is_kept = |kind: FileKind| {
        kind == FileKind::Journal || fate == JournalFate::Keep && kind.is_journal()
    };
    for kind in entry.kinds().filter(|kind| !is_kept(*kind)) {
        disk::remove_if_exists(&entry.path(dir, kind))?;
    }
    if fate == JournalFate::Keep {
        return Ok(());
    }
    let journal = entry.path(dir, FileKind::Journal);
    // The record of the removal may have made another part. It is in the last of them.
    let parts: Vec<_> = part_paths(&journal, FileKind::JournalPart, 0).collect();
    for path in parts.iter().chain([&journal]) {
        disk::remove_if_exists(path)?;
    }
    Ok(())
}

/// Returns whether the hour's files remain from a removal that was cut off.
///
/// # Errors
/// The hour's journal cannot be read.
pub(super) fn is_partially_removed(
    dir: &Path,
    entry: &HourEntry,
    fate: JournalFate,
) -> Result<bool, FileError> {
    let has_others = entry.kinds().any(|kind| !kind.is_journal());
    let may_remain = !entry.has_lines()
        && entry.file(FileKind::Journal).is_some()
        && (has_others || fate == JournalFate::Remove);
    if !may_remain {
        return Ok(false);
    }
    let path = entry.path(dir, FileKind::Journal);
    let entries = journal::read_compacted(&path).map_err(FileError::from_io("read", &path))?;
    Ok(entries.is_some_and(|entries| journal::is_removed(&entries)))
}
