//! The advisory lock (`flock(2)`) of a file of lines.
//!
//! The lock is held by the writer for as long as it has the hour open, and by a seal or a removal
//! while it takes the file's name away. A file that can be locked is therefore not in use.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk::{self, FileError};
use super::file_id::is_same_file;

/// Time for which [`open_locked`] waits for the lock. A seal holds it for a rename and two syncs.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A file that is open for appending and locked by this handle.
#[derive(Debug)]
pub(super) struct LockedFile {
    pub(super) file: File,
    /// `true` if the file did not exist before.
    pub(super) created: bool,
}

/// Opens the file for appending, creates it with `mode` if it does not exist, and locks it.
///
/// # Errors
/// The file cannot be opened, or another handle holds its lock for longer than [`LOCK_TIMEOUT`].
pub(super) fn open_locked(path: &Path, mode: u32) -> Result<LockedFile, FileError> {
    let started = Instant::now();
    loop {
        let (file, created) = match disk::open_append_existing(path)? {
            Some(file) => (file, false),
            None => (disk::open_append_with_mode(path, mode)?, true),
        };
        match file.try_lock() {
            // The previous holder of the lock may have sealed the file and removed its name.
            Ok(()) if leads_to(&file, path)? => return Ok(LockedFile { file, created }),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_TIMEOUT => {
                std::thread::sleep(LOCK_POLL_INTERVAL);
            }
            Err(error) => return Err(FileError::from_io("lock", path)(error.into())),
        }
    }
}

/// Locks an open file. Returns `false` when another handle holds the lock, or when `path` leads to
/// another file by now.
///
/// # Errors
/// The file cannot be locked for another reason, or its name cannot be looked up.
pub(super) fn try_lock(file: &File, path: &Path) -> Result<bool, FileError> {
    match file.try_lock() {
        Ok(()) => leads_to(file, path),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(error) => Err(FileError::from_io("lock", path)(error.into())),
    }
}

/// Returns whether another handle holds the lock of the file. A file that cannot be opened counts
/// as not locked: the error shows when the file is sealed or removed.
///
/// `flock(2)` cannot be queried, so this takes a shared lock for a moment. A [`try_lock`] elsewhere
/// at the same moment fails, and is repeated by the next run; [`open_locked`] waits.
pub(super) fn is_locked(path: &Path) -> bool {
    let lock = File::open(path).map(|file| file.try_lock_shared());
    matches!(lock, Ok(Err(TryLockError::WouldBlock)))
}

fn leads_to(file: &File, path: &Path) -> Result<bool, FileError> {
    is_same_file(file, path).map_err(FileError::from_io("look up the name of", path))
}
