//! Locks of a directory: one recorder, and one run of the archive's job, at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::disk::{
    self, DEFAULT_FILE_MODE, FileError, NO_FOLLOW, chown_like_parent, open_or_create,
    require_regular,
};
use super::file_id::is_same_file;
use super::file_lock::{LockOutcome, LockState, lock_exclusive, lock_state};
use super::file_name::{ARCHIVE_LOCK_NAME, RECORDER_LOCK_NAME};
use super::frontier::Frontier;
use super::journal::PreviousRun;
use crate::base::time::{SystemClock, UnixNanos};

/// Largest number of bytes that are read of a lock file, which is shorter.
const MAX_CONTENT_BYTES: u64 = 256;
/// Third line of the lock file after a run that deferred removals.
const DEFERRED_LINE: &str = "put off";

/// Purpose of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirLockKind {
    /// Recording to the directory.
    Recorder,
    /// A run of the job on the directory's archive.
    ArchiveJob,
}

impl DirLockKind {
    /// Returns the path of the lock file.
    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(match self {
            Self::Recorder => RECORDER_LOCK_NAME,
            Self::ArchiveJob => ARCHIVE_LOCK_NAME,
        })
    }
}

/// Right to record to a directory, or to run the job on its archive. It ends with the value, and
/// with the process, however that ends.
///
/// The lock file has a line with the process id, for the error of others. That of a recorder also
/// has the number of the last run, and its [`Frontier`]. That of the job has the time of the last
/// run, in Unix nanoseconds, and then `put off` if the run deferred removals.
#[derive(Debug)]
pub struct DirLock {
    /// Open as long as the lock is held.
    file: File,
    path: PathBuf,
    /// The number of the last run, if the lock file has one.
    run_number: Option<u64>,
    /// Completeness of the run before, if the lock file tells it.
    previous: Option<PreviousRun>,
}

/// Reason for which the lock of a directory was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be used.
    #[error("cannot open the lock file `{}`{}", path.display(), if is_denied(.source) { " (only the user that records there may)" } else { "" })]
    Open {
        /// The lock file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file system does not lock the file.
    #[error("cannot lock `{}`: its file system, or the server of that, does not answer as it should; look into the log of the kernel, and mount it anew", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Another process runs the job.
    #[error("another run ({holder}) is at work on the archive in `{}`; try again when it has ended", dir.display())]
    ArchiveJobRunning {
        /// The directory.
        dir: PathBuf,
        /// The other process, as `pid 123` or `pid unknown`.
        holder: String,
    },
    /// Another process records to the directory.
    #[error("another recorder ({holder}) is writing to `{}`; stop it or choose another `output_dir`", dir.display())]
    RecorderRunning {
        /// The directory.
        dir: PathBuf,
        /// The other process, as `pid 123` or `pid unknown`.
        holder: String,
    },
    /// Another sink of this process records to the directory.
    #[error("two sinks of this configuration write to `{}`; give each an `output_dir` of its own", dir.display())]
    DuplicateSink {
        /// The directory.
        dir: PathBuf,
    },
}

impl DirLock {
    /// Acquires the lock of this kind in an existing directory.
    ///
    /// # Errors
    /// [`LockError`]; the error of a lock that is held names the process that holds it.
    pub fn acquire(dir: &Path, kind: DirLockKind) -> Result<Self, LockError> {
        let path = kind.path(dir);
        let open_error = |source| LockError::Open { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(DEFAULT_FILE_MODE).custom_flags(NO_FOLLOW);
        let file = open_or_create(&options, &path, DEFAULT_FILE_MODE).map_err(open_error)?;
        let mut file = require_regular(file).map_err(open_error)?;
        chown_like_parent(&file, &path);
        let lock_error = |source| LockError::Lock { path: path.clone(), source };
        match lock_exclusive(&file, &path).map_err(lock_error)? {
            LockOutcome::Acquired => {}
            LockOutcome::Held => {
                // Without the pid the error is less helpful, and still true.
                let content = read_content(&mut file).unwrap_or_default();
                let pid = parse_pid(&content);
                let holder = pid.map_or("pid unknown".to_owned(), |pid| format!("pid {pid}"));
                let is_own = pid.is_some_and(|pid| pid.unsigned_abs() == std::process::id());
                let dir = dir.to_owned();
                return Err(match kind {
                    DirLockKind::ArchiveJob => LockError::ArchiveJobRunning { dir, holder },
                    DirLockKind::Recorder if is_own => LockError::DuplicateSink { dir },
                    DirLockKind::Recorder => LockError::RecorderRunning { dir, holder },
                });
            }
        }
        let content = read_content(&mut file).map_err(open_error)?;
        let mut lock = Self { file, path: path.clone(), run_number: None, previous: None };
        // A full disk must not keep the recorder from starting: the lock is held without a content.
        drop(match kind {
            DirLockKind::Recorder => {
                lock.run_number = parse_run_number(&content);
                lock.previous = parse_previous_run(&content);
                lock.write_recorder(lock.run_number)
            }
            DirLockKind::ArchiveJob => lock.write_job(parse_last_run(&content)),
        });
        Ok(lock)
    }

    /// Returns the number of the last run of a recorder, if the lock file has one.
    pub fn run_number(&self) -> Option<u64> {
        self.run_number
    }

    /// Returns how far the run before was complete, if it recorded that.
    pub fn previous_run(&self) -> Option<PreviousRun> {
        self.previous
    }

    /// Records how far this run of a recorder is complete, for the next run.
    ///
    /// # Durability
    /// Not synced: a power cut may leave an earlier record.
    ///
    /// # Errors
    /// The lock file cannot be written. It has the last record, or none.
    pub fn record_frontier(&mut self, frontier: &Frontier) -> Result<(), FileError> {
        let Some(run_number) = self.run_number else { return Ok(()) };
        // Always of the same length, so that a record replaces the one before.
        let line = format!("{}\n{run_number}\n{}\n", std::process::id(), frontier.to_line());
        self.file
            .write_all_at(line.as_bytes(), 0)
            .map_err(FileError::from_io("record the progress in", &self.path))
    }

    /// Records the number of this run of a recorder.
    ///
    /// # Durability
    /// The number is synced. After a failure the file has none.
    ///
    /// # Errors
    /// The lock file cannot be written or synced.
    pub fn record_run_number(&mut self, run_number: u64) -> Result<(), FileError> {
        self.write_recorder(Some(run_number))
            .map_err(FileError::from_io("record the run in", &self.path))?;
        disk::sync(&self.file, &self.path)?;
        self.run_number = Some(run_number);
        Ok(())
    }

    /// Records a run of the job, for [`read_last_run`].
    ///
    /// # Errors
    /// [`FileError`]: the next run does not know of this one.
    pub fn record_run(&mut self, run: LastRun) -> Result<(), FileError> {
        self.write_job(Some(run)).map_err(FileError::from_io("record the run in", &self.path))
    }

    /// Writes the id of this process and the number of the last run.
    fn write_recorder(&mut self, run_number: Option<u64>) -> io::Result<()> {
        let number = run_number.map_or(String::new(), |number| format!("{number}\n"));
        self.write_content(&format!("{}\n{number}", std::process::id()))
    }

    /// Writes the id of this process and the last run.
    fn write_job(&mut self, last_run: Option<LastRun>) -> io::Result<()> {
        let pid = std::process::id();
        let content = match last_run {
            None => format!("{pid}\n"),
            Some(LastRun { at, removals_deferred: false }) => format!("{pid}\n{}\n", at.nanos()),
            Some(LastRun { at, removals_deferred: true }) => {
                format!("{pid}\n{}\n{DEFERRED_LINE}\n", at.nanos())
            }
        };
        self.write_content(&content)
    }

    fn write_content(&mut self, content: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(content.as_bytes())
    }

    /// Returns whether the directory does not tell upper from lower case in names, as on FAT, and
    /// where ext4 or a server is set up so.
    pub fn is_case_folded(&self) -> bool {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let name = self.path.file_name().unwrap_or_default().to_ascii_uppercase();
        is_same_file(&self.file, &dir.join(name)).is_ok_and(|same| same)
    }

    /// Returns whether the name in the directory still leads to this lock, and was not removed or
    /// moved. A name that cannot be looked up counts as moved.
    pub fn is_in_place(&self) -> bool {
        is_same_file(&self.file, &self.path).is_ok_and(|same| same)
    }
}

impl Drop for DirLock {
    /// Unlocks explicitly, since closing alone is not enough: a program that is being started has a
    /// copy of the handle until it runs.
    fn drop(&mut self) {
        // Closing the file is then the only way left.
        drop(self.file.unlock());
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Returns whether a recorder writes to the directory. On a file system without locks it is the
/// process that the lock file names, if that lives.
pub(super) fn is_recorder_running(dir: &Path) -> bool {
    let path = DirLockKind::Recorder.path(dir);
    match lock_state(&path) {
        LockState::Held => true,
        LockState::Free => false,
        LockState::Unknown => disk::open_regular(&path)
            .ok()
            .and_then(|mut file| read_content(&mut file).ok())
            .and_then(|content| Pid::from_raw(parse_pid(&content)?))
            .is_some_and(|pid| matches!(test_kill_process(pid), Ok(()) | Err(Errno::PERM))),
    }
}

/// Returns the id of the process that wrote the lock file.
fn parse_pid(content: &str) -> Option<i32> {
    content.lines().next()?.parse().ok().filter(|pid| *pid > 0)
}

/// Returns how far the run that wrote the lock file was complete.
fn parse_previous_run(content: &str) -> Option<PreviousRun> {
    let run_number = parse_run_number(content)?;
    let frontier = Frontier::from_line(content.lines().nth(2)?)?;
    let Frontier { complete_until, booted, .. } = frontier;
    let holds = frontier.holds_after(&SystemClock::boot_id());
    holds.then_some(PreviousRun { run_number, complete_until, booted })
}

/// Returns how far the last run of a recorder in the directory was complete, if it recorded that.
pub(super) fn read_previous_run(dir: &Path) -> Option<PreviousRun> {
    let mut file = disk::open_regular(&DirLockKind::Recorder.path(dir)).ok()?;
    parse_previous_run(&read_content(&mut file).ok()?)
}

/// Returns the number of the run that wrote the lock file.
fn parse_run_number(content: &str) -> Option<u64> {
    content.lines().nth(1)?.parse().ok()
}

/// Last run of the archive's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// Time of the run, by the clock that it had.
    pub at: UnixNanos,
    /// `true` if the run deferred removals, since it did not trust that clock.
    pub removals_deferred: bool,
}

/// Returns the last run of the archive's job in the directory; `None` if there was none. A time
/// that is garbled counts as 1970, as after a reset of the clock, so that removals are deferred
/// once.
///
/// # Errors
/// The lock file exists and cannot be read.
pub fn read_last_run(dir: &Path) -> Result<Option<LastRun>, FileError> {
    let path = DirLockKind::ArchiveJob.path(dir);
    let mut file = match disk::open_regular(&path) {
        Ok(file) => file,
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let content = read_content(&mut file).map_err(FileError::from_io("read", &path))?;
    Ok(parse_last_run(&content))
}

fn parse_last_run(content: &str) -> Option<LastRun> {
    let mut lines = content.lines().skip(1);
    let at = lines.next()?.parse().map_or(UnixNanos::default(), UnixNanos::new);
    Some(LastRun { at, removals_deferred: lines.next().is_some() })
}

/// Reads the lock file. Bytes that are not UTF-8 are replaced.
fn read_content(file: &mut File) -> io::Result<String> {
    let mut content = Vec::new();
    file.take(MAX_CONTENT_BYTES).read_to_end(&mut content)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::disk::DiskOperation;

    #[test]
    fn a_refused_lock_names_the_process_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::acquire(dir.path(), DirLockKind::Recorder).unwrap();
        let refused = DirLock::acquire(dir.path(), DirLockKind::Recorder).unwrap_err();
        assert!(matches!(refused, LockError::DuplicateSink { .. }), "{refused}");
        std::fs::write(dir.path().join(RECORDER_LOCK_NAME), "123\n").unwrap();
        let refused = DirLock::acquire(dir.path(), DirLockKind::Recorder).unwrap_err().to_string();
        assert!(refused.contains("pid 123"), "{refused}");
        assert!(first.is_in_place());
        drop(first);
        DirLock::acquire(dir.path(), DirLockKind::Recorder).unwrap();
    }

    #[test]
    fn a_symlink_in_place_of_the_lock_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious\n").unwrap();
        std::os::unix::fs::symlink(&victim, dir.path().join(RECORDER_LOCK_NAME)).unwrap();
        let refused = DirLock::acquire(dir.path(), DirLockKind::Recorder).unwrap_err();
        assert!(matches!(refused, LockError::Open { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious\n");
    }

    #[test]
    fn a_lock_that_a_file_system_refuses_is_no_matter_of_rights() {
        for errno in [Errno::IO, Errno::STALE] {
            let dir = tempfile::tempdir().unwrap();
            let refused =
                disk::injected_fault::without_operation(DiskOperation::Lock, errno, || {
                    DirLock::acquire(dir.path(), DirLockKind::Recorder).unwrap_err()
                });
            assert!(matches!(refused, LockError::Lock { .. }), "{refused}");
            assert!(!refused.to_string().contains("user"), "{refused}");
            assert!(refused.to_string().contains("mount"), "{refused}");
        }
        let missing = DirLock::acquire(Path::new("/nonexistent"), DirLockKind::Recorder);
        assert!(!missing.unwrap_err().to_string().contains("user"));
    }

    #[test]
    fn the_last_run_survives_further_locks_and_a_garbled_one_counts_as_1970() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ARCHIVE_LOCK_NAME);
        assert_eq!(read_last_run(dir.path()).unwrap(), None);
        let run = LastRun { at: UnixNanos::new(17), removals_deferred: true };
        let mut lock = DirLock::acquire(dir.path(), DirLockKind::ArchiveJob).unwrap();
        lock.record_run(run).unwrap();
        drop(lock);
        drop(DirLock::acquire(dir.path(), DirLockKind::ArchiveJob).unwrap());
        assert_eq!(read_last_run(dir.path()).unwrap(), Some(run));
        std::fs::write(&path, "123\ngarbled\n").unwrap();
        drop(DirLock::acquire(dir.path(), DirLockKind::ArchiveJob).unwrap());
        let garbled = read_last_run(dir.path()).unwrap().unwrap();
        assert_eq!(garbled, LastRun { at: UnixNanos::new(0), removals_deferred: false });
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read_last_run(dir.path()).is_err(), "what cannot be read is not `never`");
    }
}
