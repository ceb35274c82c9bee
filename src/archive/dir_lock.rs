//! One recorder a directory, and one run of the archive's job.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::disk::{chown_like_parent, no_follow_flag, require_regular};
use super::file_id::is_same_file;
use super::file_name::ARCHIVE_LOCK_NAME;
use crate::base::time::UnixNanos;

/// The right to write to a directory, or to work on its archive. Ends with the value, or with the process, however it ends.
#[derive(Debug)]
pub struct DirLock {
    /// Holds the lock for as long as it is open.
    file: File,
    path: PathBuf,
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be used.
    #[error("cannot open the lock file `{}` (only the user that records there may)", path.display())]
    Open {
        /// The lock file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Another process works on the archive.
    #[error("another run ({holder}) is at work on the archive in `{}`; try again when it has ended", dir.display())]
    ArchiveJobRunning {
        /// The directory.
        dir: PathBuf,
        /// Its process, as `pid 123`, where it is known.
        holder: String,
    },
    /// Another process writes there.
    #[error("another recorder ({holder}) is writing to `{}`; stop it or choose another `output_dir`", dir.display())]
    RecorderRunning {
        /// The directory.
        dir: PathBuf,
        /// Its process, as `pid 123`, where it is known.
        holder: String,
    },
    /// This process writes there already.
    #[error("two sinks of this configuration write to `{}`; give each an `output_dir` of its own", dir.display())]
    DuplicateSink {
        /// The directory.
        dir: PathBuf,
    },
}

impl DirLock {
    /// Takes the lock of this name in a directory that exists.
    ///
    /// # Errors
    /// [`LockError::Held`] and [`LockError::Busy`] name the process that has it.
    pub fn acquire(dir: &Path, name: &str) -> Result<Self, LockError> {
        let path = dir.join(name);
        let open_error = |source| LockError::Open { path: path.clone(), source };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .custom_flags(no_follow_flag())
            .open(&path)
            .map_err(open_error)?;
        let mut file = require_regular(file).map_err(open_error)?;
        chown_like_parent(&file, &path);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // The pid is a courtesy: without it the error is still true.
                let text = read_content(&mut file);
                let pid = text.lines().next().unwrap_or_default();
                let known = !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit());
                let holder = if known { format!("pid {pid}") } else { "pid unknown".to_owned() };
                if name == ARCHIVE_LOCK_NAME {
                    return Err(LockError::ArchiveJobRunning { dir: dir.to_owned(), holder });
                }
                if pid == std::process::id().to_string() {
                    return Err(LockError::DuplicateSink { dir: dir.to_owned() });
                }
                return Err(LockError::RecorderRunning { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(open_error(source)),
        }
        let last_run = parse_last_run(&read_content(&mut file));
        let mut lock = Self { file, path };
        lock.write_state(last_run);
        Ok(lock)
    }

    /// Notes that a run ends, for [`last_run`].
    pub fn record_run(&mut self, run: LastRun) {
        self.write_state(Some(run));
    }

    /// Writes the process, and when it last did its work. A full disk must not keep the recorder
    /// from starting: the lock is held without that.
    fn write_state(&mut self, last_run: Option<LastRun>) {
        let pid = std::process::id();
        let text = match last_run {
            Some(LastRun { at, removals_deferred: put_off }) => {
                format!("{pid}\n{}\n{}", at.nanos(), if put_off { "put off\n" } else { "" })
            }
            None => format!("{pid}\n"),
        };
        if self.file.rewind().is_ok() && self.file.set_len(0).is_ok() {
            drop(self.file.write_all(text.as_bytes()));
        }
    }

    /// Whether the directory still has this lock: nobody has removed or moved it.
    pub fn is_in_place(&self) -> bool {
        is_same_file(&self.file, &self.path).is_ok_and(|same| same)
    }
}

/// A program that is being started has a copy of the file until it runs: the lock must not wait for
/// that.
impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing does the rest.
        drop(self.file.unlock());
    }
}

/// The last run of the archive's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// When it was, by the clock that it had.
    pub at: UnixNanos,
    /// Whether it put removals off, since it did not believe that clock.
    pub removals_deferred: bool,
}

/// When the archive's job was last done in the directory.
pub fn read_last_run(dir: &Path) -> Option<LastRun> {
    parse_last_run(&read_content(&mut File::open(dir.join(ARCHIVE_LOCK_NAME)).ok()?))
}

fn parse_last_run(text: &str) -> Option<LastRun> {
    let mut lines = text.lines().skip(1);
    let at = lines.next()?.parse().ok().map(UnixNanos::new)?;
    Some(LastRun { at, removals_deferred: lines.next().is_some() })
}

/// The first bytes of the lock file; nothing when they are no text.
fn read_content(file: &mut File) -> String {
    let mut text = String::new();
    drop(file.take(64).read_to_string(&mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::file_name::RECORDER_LOCK_NAME;

    #[test]
    fn a_refused_lock_names_the_process_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path(), RECORDER_LOCK_NAME).unwrap();
        let refused = DirLock::acquire(dir.path(), RECORDER_LOCK_NAME).unwrap_err();
        assert!(matches!(refused, LockError::DuplicateSink { .. }), "{refused}");
        std::fs::write(dir.path().join(RECORDER_LOCK_NAME), "123\n").unwrap();
        let refused = DirLock::acquire(dir.path(), RECORDER_LOCK_NAME).unwrap_err().to_string();
        assert!(refused.contains("pid 123"), "{refused}");
        assert!(first.is_in_place());
        drop(first);
        DirLock::acquire(dir.path(), RECORDER_LOCK_NAME).unwrap();
    }

    #[test]
    fn a_symlink_in_place_of_the_lock_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious\n").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(RECORDER_LOCK_NAME)).unwrap();
        let refused = DirLock::acquire(dir.path(), RECORDER_LOCK_NAME).unwrap_err();
        assert!(matches!(refused, LockError::Open { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious\n");
    }
}
