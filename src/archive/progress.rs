//! The progress of a long piece of work, and the request to stop it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Progress of work in the archive. It is shared by the threads that work, and by those that show
/// the progress or request a stop.
#[derive(Debug, Default)]
pub struct Progress {
    stop_requested: OnceLock<Instant>,
    bytes: AtomicU64,
}

/// The work stopped at a safe point, since a stop was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl Progress {
    /// Requests that the work stop at the next safe point. Returns the time of the first such
    /// request.
    pub fn request_stop(&self) -> Instant {
        *self.stop_requested.get_or_init(Instant::now)
    }

    /// Returns the number of raw bytes that were processed.
    pub fn bytes(&self) -> u64 {
        // Relaxed: the number is only shown, and no other memory depends on it.
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds bytes that were processed.
    ///
    /// # Errors
    /// [`Stopped`] if a stop was requested.
    pub(super) fn advance(&self, bytes: usize) -> Result<(), Stopped> {
        // Relaxed: see `bytes`.
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.check_stopped()
    }

    /// Checks that no stop was requested.
    ///
    /// # Errors
    /// [`Stopped`] if a stop was requested.
    pub(super) fn check_stopped(&self) -> Result<(), Stopped> {
        if self.stop_requested.get().is_some() { Err(Stopped) } else { Ok(()) }
    }
}
