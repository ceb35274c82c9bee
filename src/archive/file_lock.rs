//! The lock of a file of lines: held by whoever has the hour open to write to it, and by whoever
//! takes its name away.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disk;
use super::disk::FileError;

/// For how long opening an hour waits for its lock. Who seals it holds the lock for the time of a
/// rename and two syncs.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Opens the file, or creates it, and locks it. Gives whether it is new.
pub(super) fn open_locked(path: &Path, mode: u32) -> Result<(File, bool), FileError> {
    let begun = Instant::now();
    loop {
        let (file, new) = match disk::open_append_existing(path)? {
            Some(file) => (file, false),
            None => (disk::open_append_with_mode(path, mode)?, true),
        };
        match file.try_lock() {
            // Who held the lock may have sealed the file and removed its name.
            Ok(()) if is_same_file(&file, path) => return Ok((file, new)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_TIMEOUT => {
                std::thread::sleep(LOCK_POLL_INTERVAL);
            }
            Err(error) => return Err(FileError::from_io("lock", path)(error.into())),
        }
    }
}

/// Whether `path` leads to the open `file`.
pub(super) fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Takes the lock of an open file; false when somebody else has it, or the name leads to another
/// file by now.
pub(super) fn try_lock(file: &File, path: &Path) -> Result<bool, FileError> {
    match file.try_lock() {
        Ok(()) => Ok(is_same_file(file, path)),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(error) => Err(FileError::from_io("lock", path)(error.into())),
    }
}

/// Whether somebody has the file open to write to it. A file that cannot be opened fails where it is
/// to be sealed or removed.
pub(super) fn is_locked(path: &Path) -> bool {
    let lock = File::open(path).map(|file| file.try_lock_shared());
    matches!(lock, Ok(Err(TryLockError::WouldBlock)))
}
