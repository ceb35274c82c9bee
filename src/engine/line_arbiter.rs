//! A/B line arbitration: forwards once what arrives over several connections.
//!
//! The k-th copy of a message on one line pairs with the k-th on another, so that a message that
//! the server itself sends twice stays twice. The arbiter remembers only messages that one line has
//! delivered and another is still expected to: next to nothing for lines that keep up with each
//! other.
//!
//! For any interleaving, as many copies of a message are forwarded as the line delivered that
//! delivered most of them since it joined. That holds within [`COPY_WINDOW`]. A copy counts as a
//! new message if it arrives later; if it arrives after more than [`MAX_EXPECTED`] others that are
//! expected; if another line delivered the message before this one had all its subscriptions
//! answered, and that other is cut off; or if the server repeats it when [`OVERLAP_DURATION`] ends.
//! A message is rather forwarded twice than not at all.
//!
//! [`COPY_WINDOW`]: expected_copies::COPY_WINDOW
//! [`MAX_EXPECTED`]: expected_copies::MAX_EXPECTED
//! [`OVERLAP_DURATION`]: super::overlap::OVERLAP_DURATION

mod expected_copies;

use tokio::time::Instant;
use tracing::error;

use self::expected_copies::{ExpectedCopies, MessageHash};
use super::line_index::LineIndex;
use crate::plugin::batch::Batch;

/// The lines that deliver the same messages.
#[derive(Debug)]
pub(super) struct LineArbiter {
    hash_seed: u64,
    /// One entry for each line, in no order.
    lines: Vec<ExpectedCopies>,
}

/// The counts of a batch from which duplicates were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ArbiterCounts {
    /// Copies that were removed.
    pub(super) duplicates: u64,
    /// Messages of which no second copy arrived in time.
    pub(super) unpaired: u64,
}

impl Default for LineArbiter {
    fn default() -> Self {
        Self { hash_seed: fastrand::u64(..), lines: Vec::new() }
    }
}

impl LineArbiter {
    /// Adds a line for a connection that is about to be made.
    ///
    /// To be called before the connect: from this moment on the new connection may deliver what
    /// others deliver.
    pub(super) fn add_line(&mut self, now: Instant) -> LineIndex {
        let line =
            LineIndex::lowest_free(|index| self.lines.iter().any(|other| other.line == index));
        self.lines.push(ExpectedCopies::new(line, now));
        line
    }

    /// Marks the connection of a line established.
    pub(super) fn mark_connected(&mut self, line: LineIndex) {
        if let Some(line) = self.line_mut(line) {
            line.is_connected = true;
        }
    }

    /// Marks all subscriptions of a line answered.
    pub(super) fn mark_subscribed(&mut self, line: LineIndex, now: Instant) {
        if let Some(line) = self.line_mut(line) {
            line.mark_subscribed(now);
        }
    }

    /// Marks a line as known to deliver everything.
    pub(super) fn mark_delivering(&mut self, line: LineIndex, now: Instant) {
        if let Some(line) = self.line_mut(line) {
            line.mark_delivering(now);
        }
    }

    /// Removes a line whose connection is lost or could not be made.
    pub(super) fn remove_line(&mut self, line: LineIndex) {
        let Some(position) = self.position(line) else { return };
        // A line that was never connected has delivered nothing that others would expect.
        if self.lines.swap_remove(position).is_connected {
            self.lines.iter_mut().for_each(ExpectedCopies::expire_unconfirmed);
        }
    }

    /// Removes the messages from a line's batch that another line has delivered already.
    pub(super) fn remove_duplicates(
        &mut self,
        line: LineIndex,
        batch: &mut Batch,
        now: Instant,
    ) -> ArbiterCounts {
        let mut counts = ArbiterCounts::default();
        for other in &mut self.lines {
            counts.unpaired += other.rotate(now);
        }
        let seed = self.hash_seed;
        // Without its line a batch is forwarded as it is.
        let Some(position) = self.position(line) else { return counts };
        let (before, rest) = self.lines.split_at_mut(position);
        let [own, after @ ..] = rest else { return counts };
        if before.is_empty() && after.is_empty() && own.is_empty() {
            return counts;
        }
        batch.retain(|record| {
            let message = MessageHash::new(record.payload, seed);
            if own.match_copy(message) {
                counts.duplicates += 1;
                return false;
            }
            for other in before.iter_mut().chain(after.iter_mut()) {
                other.expect_copy(message);
            }
            true
        });
        counts
    }

    fn line_mut(&mut self, line: LineIndex) -> Option<&mut ExpectedCopies> {
        let position = self.position(line)?;
        self.lines.get_mut(position)
    }

    /// Returns the position of a line. A line that is not there breaks the arbiter's contract; the
    /// messages of its connection are then forwarded without arbitration.
    fn position(&self, line: LineIndex) -> Option<usize> {
        let position = self.lines.iter().position(|other| other.line == line);
        if position.is_none() {
            error!(?line, "internal error: a connection is unknown to the line arbiter");
        }
        position
    }
}

#[cfg(test)]
mod tests;
