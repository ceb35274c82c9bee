//! One writer a directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::layout::LOCK_NAME;

/// The right to write to a directory. Ends with the value, or with the process, however it ends.
#[derive(Debug)]
pub struct DirLock {
    /// Holds the lock for as long as it is open.
    _file: File,
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be used.
    #[error("cannot open the lock file `{}`", path.display())]
    Open {
        /// The lock file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another process writes there.
    #[error("another recorder ({holder}) is writing to `{}`; stop it or choose another `output_dir`", dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Its process, as `pid 123`, where it is known.
        holder: String,
    },
}

impl DirLock {
    /// Locks a directory that exists.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_NAME);
        let open_error = |source| LockError::Open { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .map_err(open_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The pid is a courtesy: without it the error is still true.
                let read = (&mut file).take(20).read_to_string(&mut pid).is_ok();
                let pid = pid.trim();
                let known = read && !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit());
                let holder = if known { format!("pid {pid}") } else { "pid unknown".to_owned() };
                return Err(LockError::Held { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(open_error(source)),
        }
        // A full disk must not keep the recorder from starting: the lock is held without it.
        if file.set_len(0).is_ok() {
            drop(writeln!(file, "{}", std::process::id()));
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path()).unwrap();
        let refused = DirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(first);
        DirLock::acquire(dir.path()).unwrap();
    }
}
