//! How far a long piece of work is, and the wish that it stop.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Shared by who works, who watches and who may stop the work.
#[derive(Debug, Default)]
pub struct Progress {
    stop_requested: OnceLock<Instant>,
    bytes: AtomicU64,
}

/// The work was told to stop and stopped at a safe point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl Progress {
    /// Asks the work to stop at the next safe point.
    pub fn request_stop(&self) {
        self.stop_requested.get_or_init(Instant::now);
    }

    /// Since when it is asked to.
    pub fn stop_requested_at(&self) -> Option<Instant> {
        self.stop_requested.get().copied()
    }

    /// The raw bytes that were worked through.
    pub fn bytes(&self) -> u64 {
        // Relaxed: a number to look at.
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many more bytes are done; ends the work if it is to stop.
    pub(super) fn advance(&self, bytes: usize) -> Result<(), Stopped> {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.check_stopped()
    }

    /// Ends the work if it is to stop.
    pub(super) fn check_stopped(&self) -> Result<(), Stopped> {
        if self.stop_requested.get().is_some() { Err(Stopped) } else { Ok(()) }
    }
}
