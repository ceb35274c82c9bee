//! The configuration file, compared with what runs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Set while the file is read for the status. A read that does not end keeps its thread, and
    /// there are not as many as there may be questions.
    is_read: AtomicBool,
}

impl ConfigFile {
    pub(crate) fn new(path: &Path, running: Sha256Hash) -> Self {
        Self {
            path: path.to_owned(),
            running: Mutex::new(Some(running)),
            is_read: AtomicBool::new(false),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the text that runs; `None` if only a part of the file does.
    pub(super) fn set_running(&self, running: Option<Sha256Hash>) {
        *self.lock_running() = running;
    }

    /// Returns whether the file has another text than the one that runs; `None` if it cannot be
    /// read in time, or the last read has not ended.
    pub(crate) async fn differs(self: &Arc<Self>) -> Option<bool> {
        if self.is_read.swap(true, Ordering::Acquire) {
            return None;
        }
        let file = Arc::clone(self);
        let read = spawn_blocking(move || {
            let text = std::fs::read(&file.path);
            file.is_read.store(false, Ordering::Release);
            text
        });
        let text = timeout(READ_TIMEOUT, read).await.ok()?.ok()?.ok()?;
        Some(*self.lock_running() != Some(Sha256Hash::digest(&text)))
    }

    fn lock_running(&self) -> MutexGuard<'_, Option<Sha256Hash>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_does_not_answer_holds_one_thread() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let file = Arc::new(ConfigFile::new(&path, Sha256Hash::digest(b"text")));
        // The read waits for a writer.
        assert_eq!(file.differs().await, None);
        assert!(file.is_read.load(Ordering::Acquire));
        assert_eq!(file.differs().await, None);
        let write = spawn_blocking(move || std::fs::write(path, "text"));
        write.await.unwrap().unwrap();
        while file.is_read.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
    }
}
