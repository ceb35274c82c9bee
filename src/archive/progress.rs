//! How far a long piece of work is, and the wish that it stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by who works, who watches and who may stop the work.
#[derive(Debug, Default)]
pub struct Progress {
    stopped: AtomicBool,
    bytes: AtomicU64,
}

/// The work was told to stop and stopped at a safe point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl Progress {
    /// Asks the work to stop at the next safe point.
    pub fn stop(&self) {
        // Relaxed: nothing is handed over by it.
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The raw bytes that were worked through.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// So many more bytes are done; ends the work if it is to stop.
    pub(super) fn advance(&self, bytes: usize) -> Result<(), Stopped> {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.stopped.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }
}
