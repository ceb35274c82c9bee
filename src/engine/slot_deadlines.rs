//! The times at which a slot acts.

use tokio::time::Instant;

/// The times at which a slot acts.
#[derive(Debug, Default)]
pub(super) struct SlotDeadlines {
    /// Time at which a connection is to be made.
    pub(super) connect: Option<Instant>,
    /// Time at which a replacement of the current connection is to be scheduled.
    pub(super) replace: Option<Instant>,
    /// Time at which the current connection, which is replaced, is to be closed.
    pub(super) retire: Option<Instant>,
}

impl SlotDeadlines {
    /// Returns the earliest of them.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.connect, self.replace, self.retire].into_iter().flatten().min()
    }
}
