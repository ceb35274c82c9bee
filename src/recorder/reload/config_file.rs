//! The configuration file, compared with what runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::archive::sha256_hash::Sha256Hash;

/// Time for which the file is waited for. It may be on a file system that does not answer.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// The configuration file, and the text of it that runs.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    /// SHA-256 of the text that runs; `None` if only a part of a text does.
    running: Mutex<Option<Sha256Hash>>,
}

impl ConfigFile {
    pub(crate) fn new(path: &Path, running: Sha256Hash) -> Self {
        Self { path: path.to_owned(), running: Mutex::new(Some(running)) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the text that runs; `None` if only a part of the file does.
    pub(super) fn set_running(&self, running: Option<Sha256Hash>) {
        *self.lock_running() = running;
    }

    /// Returns whether the file has another text than the one that runs; `None` if it cannot be
    /// read in time.
    pub(crate) async fn differs(self: &Arc<Self>) -> Option<bool> {
        let file = Arc::clone(self);
        let read = spawn_blocking(move || std::fs::read(&file.path));
        let text = timeout(READ_TIMEOUT, read).await.ok()?.ok()?.ok()?;
        Some(*self.lock_running() != Some(Sha256Hash::digest(&text)))
    }

    fn lock_running(&self) -> MutexGuard<'_, Option<Sha256Hash>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
