//! The hour that a seal works on.

use std::path::{Path, PathBuf};

use crate::archive::disk::FileError;
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
}

impl SealTarget<'_> {
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
