//! The advisory lock (`flock(2)`) of a file of lines.
//!
//! The lock is held by the writer for as long as it has the hour open, and by a seal or a removal
//! while it takes the file's name away. A file that can be locked is therefore not in use.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::disk::{self, DiskOperation, FileError};
use super::file_id::is_same_file;

/// A file that is open for appending and locked by this handle.
#[derive(Debug)]
pub(super) struct LockedFile {
    pub(super) file: File,
    /// `true` if the file did not exist before.
    pub(super) created: bool,
}

/// Opens the file for appending, creates it with `mode` if it does not exist, and locks it. Does not
/// wait for the lock: other files must not wait with this one.
///
/// # Errors
/// The file cannot be opened, or another handle holds its lock; see [`FileError::is_locked`].
pub(super) fn open_locked(path: &Path, mode: u32) -> Result<LockedFile, FileError> {
    loop {
        let (file, created) = match disk::open_append_existing(path)? {
            Some(file) => (file, false),
            None => (disk::open_append_with_mode(path, mode)?, true),
        };
        match lock_exclusive(&file, path).map_err(FileError::from_io("lock", path))? {
            // The previous holder of the lock may have sealed the file and removed its name.
            LockOutcome::Acquired if leads_to(&file, path)? => {
                return Ok(LockedFile { file, created });
            }
            LockOutcome::Acquired => {}
            LockOutcome::Held => {
                let words = "another program has locked it";
                let held = io::Error::new(io::ErrorKind::WouldBlock, words);
                return Err(FileError::from_io("lock", path)(held));
            }
        }
    }
}

/// Locks an open file. Returns `false` when another handle holds the lock, or when `path` leads to
/// another file by now.
///
/// # Errors
/// The file cannot be locked for another reason, or its name cannot be looked up.
pub(super) fn try_lock(file: &File, path: &Path) -> Result<bool, FileError> {
    match lock_exclusive(file, path).map_err(FileError::from_io("lock", path))? {
        LockOutcome::Acquired => leads_to(file, path),
        LockOutcome::Held => Ok(false),
    }
}

/// Gives up the lock of an open file.
///
/// # Errors
/// The file system has locks, and does not give this one up.
pub(super) fn unlock(file: &File, path: &Path) -> Result<(), FileError> {
    let unlocked = disk::support_point(DiskOperation::Lock).and_then(|()| file.unlock());
    DiskOperation::Lock
        .check_support(path, unlocked)
        .map(drop)
        .map_err(FileError::from_io("unlock", path))
}

/// The outcome of an attempt to lock a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockOutcome {
    /// This handle has the lock, or the file system has no locks.
    Acquired,
    /// Another handle has the lock.
    Held,
}

/// Locks an open file against all other handles, without waiting.
///
/// # Errors
/// The file cannot be locked, for another reason than that another handle has the lock.
pub(super) fn lock_exclusive(file: &File, path: &Path) -> io::Result<LockOutcome> {
    let locked = disk::support_point(DiskOperation::Lock)
        .map_err(TryLockError::Error)
        .and_then(|()| file.try_lock());
    let result = match locked {
        Err(TryLockError::WouldBlock) => return Ok(LockOutcome::Held),
        // The locks of SMB are mandatory, and a lock that another has is refused like this.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(LockOutcome::Held);
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    DiskOperation::Lock.check_support(path, result)?;
    Ok(LockOutcome::Acquired)
}

/// The state of the lock of a file, as far as this process can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockState {
    /// Another handle holds the lock.
    Held,
    /// No handle holds the lock.
    Free,
    /// The file cannot be opened, or its file system has no locks.
    Unknown,
}

/// Returns whether another handle holds the lock of the file. A file whose lock is unknown counts
/// as not locked: an error shows when the file is sealed or removed.
pub(super) fn is_locked(path: &Path) -> bool {
    lock_state(path) == LockState::Held
}

/// Returns the state of the lock of the file.
///
/// `flock(2)` cannot be queried, so this takes a shared lock for a moment. A [`try_lock`] elsewhere
/// at the same moment fails, and is repeated by the next run; so does an
/// [`open_locked`], which is repeated soon.
pub(super) fn lock_state(path: &Path) -> LockState {
    let Ok(file) = disk::open_regular(path) else { return LockState::Unknown };
    if disk::support_point(DiskOperation::Lock).is_err() {
        return LockState::Unknown;
    }
    match file.try_lock_shared() {
        Ok(()) => LockState::Free,
        Err(TryLockError::WouldBlock) => LockState::Held,
        Err(TryLockError::Error(_)) => LockState::Unknown,
    }
}

fn leads_to(file: &File, path: &Path) -> Result<bool, FileError> {
    is_same_file(file, path).map_err(FileError::from_io("look up the name of", path))
}
