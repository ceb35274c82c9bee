//! The directory of the files.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::archive::coverage::newest_run_number;
use crate::archive::dir_lock::{DirLock, DirLockKind};
use crate::archive::disk::FileError;
use crate::archive::frontier::Frontier;
use crate::archive::journal::PreviousRun;
use crate::base::error_chain::error_chain;
use crate::base::symlinks::check_foreign_links;
use crate::base::units::FileMode;
use crate::plugin::BoxError;

/// The directory to which a sink writes, locked against other recorders from
/// [`OutputDir::lock`] on.
#[derive(Debug)]
pub(super) struct OutputDir {
    path: PathBuf,
    /// The mode of files in it; the mode of the directory follows from it.
    file_mode: FileMode,
    lock: Option<DirLock>,
    /// The number of the run, from the first lock on.
    run_number: Option<u64>,
    /// The frontier that the lock file has.
    frontier: Option<Frontier>,
}

/// The place of a run among those of its directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunPlace {
    /// The number of the run: one more than that of the newest run in the directory.
    pub(super) run_number: u64,
    /// Completeness of the run before, if it recorded that.
    pub(super) previous: Option<PreviousRun>,
}

/// The directory cannot be created.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the directory `{}` (`output_dir`)", dir.display())]
struct CreateDirError {
    dir: PathBuf,
    source: std::io::Error,
}

impl OutputDir {
    /// Returns the directory without touching the disk.
    pub(super) fn new(path: PathBuf, file_mode: FileMode) -> Self {
        Self { path, file_mode, lock: None, run_number: None, frontier: None }
    }

    /// Returns the path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates the directory if it does not exist and locks it. Returns the place of the run.
    ///
    /// # Errors
    /// The path leads over another user's link, the directory cannot be created, or another
    /// recorder holds the lock.
    pub(super) fn lock(&mut self) -> Result<RunPlace, BoxError> {
        check_foreign_links(&self.path)?;
        create_dirs(&self.path, self.file_mode.directory_bits())
            .map_err(|source| CreateDirError { dir: self.path.clone(), source })?;
        let mut lock = DirLock::acquire(&self.path, DirLockKind::Recorder)?;
        let newest = match lock.run_number() {
            Some(newest) => newest,
            None => newest_run_number(&self.path),
        };
        // A lock that is taken anew, in the same directory, belongs to the same run.
        let run_number = match self.run_number {
            Some(own) if own >= newest => own,
            _ => newest + 1,
        };
        if let Err(error) = lock.record_run_number(run_number) {
            let dir = self.path.display();
            warn!(%dir, error = error_chain(&error), "cannot record the number of this run: the next start takes it from the journals");
        }
        let previous = lock.previous_run().filter(|previous| previous.run_number < run_number);
        self.lock = Some(lock);
        self.run_number = Some(run_number);
        self.frontier = None;
        Ok(RunPlace { run_number, previous })
    }

    /// Records in the lock file how far the run is complete.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub(super) fn record_frontier(&mut self, frontier: &Frontier) -> Result<(), FileError> {
        let Some(lock) = self.lock.as_mut() else { return Ok(()) };
        let is_recorded = |last: &Frontier| {
            (last.complete_until, last.durable) == (frontier.complete_until, frontier.durable)
        };
        if self.frontier.as_ref().is_some_and(is_recorded) {
            return Ok(());
        }
        lock.record_frontier(frontier)?;
        self.frontier = Some(frontier.clone());
        Ok(())
    }

    /// Returns whether the directory is locked and does not tell upper from lower case in names.
    pub(super) fn is_case_folded(&self) -> bool {
        self.lock.as_ref().is_some_and(DirLock::is_case_folded)
    }

    /// Returns whether the directory was locked and somebody removed or moved it, or its lock,
    /// since.
    pub(super) fn is_lock_lost(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| !lock.is_in_place())
    }
}

/// Creates the directory, and those above it, with exactly this mode, whatever the mask of the
/// process is (`umask`).
fn create_dirs(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dirs(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        // A file system without modes refuses to set them.
        Ok(()) => drop(fs::set_permissions(path, Permissions::from_mode(mode))),
        // Somebody else has created it.
        Err(_) if path.is_dir() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
