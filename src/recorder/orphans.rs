//! The orphans that process 1 of a container is the parent of.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::base::child_process::reap_orphans;

/// Returns whether orphans become children of this process.
pub(super) fn adopts_orphans() -> bool {
    std::process::id() == 1
}

/// Reaps orphans whenever a child ends. Returns only when the operating system refuses the signal
/// handler.
///
/// # Errors
/// Orphans stay in the process table.
pub(super) async fn reap_orphans_as_they_end() -> io::Result<()> {
    let mut child_ended = signal(SignalKind::child())?;
    loop {
        reap_orphans();
        // One signal may stand for several children.
        child_ended.recv().await;
    }
}
