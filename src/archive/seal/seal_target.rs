//! The hour that a seal works on.

use std::path::{Path, PathBuf};

use crate::archive::disk::{self, FileError};
use crate::archive::file_name::{FileKind, Stem};
use crate::archive::journal::{self, JournalEvent};
use crate::base::time::{Clock, Hour};

/// Hour that is to be sealed.
#[derive(Debug, Clone, Copy)]
pub struct SealTarget<'a> {
    /// Directory of the archive.
    pub dir: &'a Path,
    /// First part of the hour's file names.
    pub stem: &'a Stem,
    /// The hour.
    pub hour: Hour,
    /// The file of the lines: the `.jsonl`, or a part.
    pub lines: FileKind,
}

impl SealTarget<'_> {
    /// Returns the path of the lines.
    pub(super) fn lines_path(&self) -> PathBuf {
        self.path(self.lines)
    }

    /// Returns the path of the time index of the lines.
    pub(super) fn times_path(&self) -> PathBuf {
        self.path(self.part_number().map_or(FileKind::Times, FileKind::TimesPart))
    }

    /// Removes the lines and their time index, which are sealed.
    pub(super) fn remove_lines(&self) -> Result<(), FileError> {
        // The index first: it is of no use without its lines, and nothing would ever remove it.
        disk::remove_if_exists(&self.times_path())?;
        disk::remove_if_exists(&self.lines_path())
    }

    /// Returns the number of the part, unless the lines are those of the `.jsonl`.
    pub(super) fn part_number(&self) -> Option<u16> {
        match self.lines {
            FileKind::Part(number) => Some(number),
            _ => None,
        }
    }

    /// Returns the path of a file of the hour.
    pub(super) fn path(&self, kind: FileKind) -> PathBuf {
        self.stem.path(self.dir, self.hour, kind)
    }

    /// Appends an event to the hour's journal and makes it durable.
    pub(super) fn append_event(
        &self,
        clock: &dyn Clock,
        event: JournalEvent,
    ) -> Result<(), FileError> {
        journal::append(&self.path(FileKind::Journal), clock.now(), event)
    }
}
