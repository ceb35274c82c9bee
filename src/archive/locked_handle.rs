//! A locked file handle that can be closed to save descriptors and opened again.

use std::fs::File;
use std::path::Path;

use super::disk::FileError;
use super::file_id::{FileId, is_same_file};
use super::file_lock::{LockedFile, lock_exclusive, open_locked, unlock};

/// The relation of a file that is written to what its name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The name leads to the file, which is as it was left.
    InPlace,
    /// The file was removed or moved away.
    Gone,
    /// Another program has written to the file, or cut it off.
    Resized {
        /// Length of the file.
        found: u64,
    },
}

/// The handle of a file that this process appends to. The lock of the file belongs to the handle:
/// both are given up by [`LockedHandle::close`].
#[derive(Debug)]
pub(super) struct LockedHandle {
    /// `None` between [`LockedHandle::close`] and the next use.
    file: Option<File>,
    id: FileId,
    /// Mode of the file, should it have to be created.
    mode: u32,
}

impl LockedHandle {
    /// Takes over a file that is open and locked.
    ///
    /// # Errors
    /// The file at `path` cannot be examined.
    pub(super) fn new(file: File, path: &Path, mode: u32) -> Result<Self, FileError> {
        let metadata = file.metadata().map_err(FileError::from_io("look at", path))?;
        Ok(Self { file: Some(file), id: FileId::from_metadata(&metadata), mode })
    }

    /// Returns the handle, and opens and locks the file again if it was closed.
    ///
    /// # Errors
    /// The file cannot be opened or locked, or it is not the file of `bytes` bytes that was closed:
    /// another program has changed or replaced it, so nothing may be appended.
    pub(super) fn ensure_open(&mut self, path: &Path, bytes: u64) -> Result<&File, FileError> {
        match &mut self.file {
            Some(file) => Ok(file),
            closed @ None => {
                let LockedFile { file, created } = open_locked(path, self.mode)?;
                let metadata = file.metadata().map_err(FileError::from_io("look at", path))?;
                let same = FileId::from_metadata(&metadata) == self.id && metadata.len() == bytes;
                if created || !same {
                    return Err(changed(path));
                }
                Ok(closed.insert(file))
            }
        }
    }

    /// Replaces an open handle by a new one on the same file. The old handle stays when that fails.
    /// There is nothing to replace when the handle is closed: the next use opens a new one.
    pub(super) fn replace(&mut self, path: &Path) {
        let Some(old) = &self.file else { return };
        // A lock belongs to the handle that took it, so it is given up for a moment. A seal that
        // takes it then finds that the hour is not over, or that lines follow those that it seals.
        drop(unlock(old, path));
        match open_locked(path, self.mode) {
            Ok(new) if is_same_file(old, path).is_ok_and(|same| same) => self.file = Some(new.file),
            // Without the lock the old handle still writes to the file; another holder of the lock
            // notices that the file has grown.
            _ => drop(lock_exclusive(old, path)),
        }
    }

    /// Closes the file and gives up its lock, until [`LockedHandle::ensure_open`].
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Returns whether `path` still leads to the file, and whether that has `length` bytes, unless
    /// it is `None`. A path that cannot be looked up counts as moved.
    pub(super) fn placement(&self, path: &Path, length: Option<u64>) -> Placement {
        let Ok(metadata) = std::fs::metadata(path) else { return Placement::Gone };
        let found = metadata.len();
        if FileId::from_metadata(&metadata) != self.id {
            Placement::Gone
        } else if length.is_some_and(|length| length != found) {
            Placement::Resized { found }
        } else {
            Placement::InPlace
        }
    }

    /// Returns the handle if it is open.
    pub(super) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }
}

/// Checks that the file has `bytes` bytes. What is appended to a file that another program has cut
/// off within a line would join that line.
///
/// # Errors
/// The file cannot be examined, or it has another length.
pub(super) fn check_length(file: &File, path: &Path, bytes: u64) -> Result<(), FileError> {
    let metadata = file.metadata().map_err(FileError::from_io("look at", path))?;
    if metadata.len() == bytes { Ok(()) } else { Err(changed(path)) }
}

fn changed(path: &Path) -> FileError {
    FileError::from_io("go on with", path)(std::io::Error::other("another program has changed it"))
}
