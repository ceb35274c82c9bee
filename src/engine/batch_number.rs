//! The number of a batch, in the order in which batches leave the queue.

/// The number of a batch; the lowest stands before the first one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchNumber(u64);

impl BatchNumber {
    /// Returns the number of the batch that follows.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
