//! The progress of messages through stages that hold messages back.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch_number::BatchNumber;
use crate::base::time::{Receipt, UnixNanos};

/// Longest time from the moment at which a message of the first batch was sent to its receipt.
const MAX_FIRST_AGE: Duration = Duration::from_secs(10);
/// Least time between two receipts that are kept.
const RECEIPT_SPACING: Duration = Duration::from_millis(10);

/// The batches of which stages may still hold messages back, and the last one before these.
///
/// Stages name a batch by the time of its receipt. The order of the batches is that of their
/// numbers, which a step of the clock does not change.
#[derive(Debug, Default)]
pub(super) struct StageBacklog {
    batches: VecDeque<BacklogBatch>,
    last: BatchNumber,
}

/// A batch that went into the stages. Those that follow it closely have no entry of their own.
#[derive(Debug, Clone, Copy)]
struct BacklogBatch {
    number: BatchNumber,
    received: UnixNanos,
    /// Time until which everything that was sent is in this batch and those before it, by the clock
    /// of now.
    complete_until: UnixNanos,
}

impl BacklogBatch {
    /// Returns whether this batch, or one that follows it closely, was received at `time`.
    fn includes(&self, time: UnixNanos) -> bool {
        self.received <= time && time.saturating_since(self.received) < RECEIPT_SPACING
    }
}

impl StageBacklog {
    /// Returns the number of the last batch that went into the stages.
    pub(super) fn last_number(&self) -> BatchNumber {
        self.last
    }

    /// Counts a batch of which no stage holds messages back.
    pub(super) fn count(&mut self) {
        self.last = self.last.next();
    }

    /// Adds a batch that goes into the stages.
    pub(super) fn push(&mut self, receipt: Receipt) {
        self.count();
        // Without it, an earlier one stands for both. The first two are needed.
        let is_dense = |last: &BacklogBatch| last.includes(receipt.received);
        if self.batches.len() > 2 && self.batches.back().is_some_and(is_dense) {
            return;
        }
        let Receipt { received, complete_until } = receipt;
        self.batches.push_back(BacklogBatch { number: self.last, received, complete_until });
    }

    /// Forgets the batches: nothing is held back any more.
    pub(super) fn clear(&mut self) {
        self.batches.clear();
    }

    /// Takes note that the clock shows `to` instead of `from`.
    pub(super) fn on_clock_step(&mut self, from: UnixNanos, to: UnixNanos) {
        for batch in &mut self.batches {
            let complete_until = batch.complete_until;
            batch.complete_until = if from < to {
                complete_until.saturating_add(to.saturating_since(from))
            } else {
                complete_until.saturating_sub(from.saturating_since(to))
            };
        }
    }

    /// Returns the time until which everything that was sent has left the stages, which hold messages
    /// back that were received at these times or later; `None` without a time.
    pub(super) fn complete_until(
        &mut self,
        held: impl Iterator<Item = UnixNanos>,
    ) -> Option<UnixNanos> {
        let Some((index, since)) = held.map(|since| (self.index_of(since), since)).min() else {
            let last = self.batches.pop_back();
            self.batches.clear();
            self.batches.extend(last);
            return None;
        };
        // An entry that was received before stands for one that has left.
        let is_whole = |batch: &BacklogBatch| batch.received < since && batch.includes(since);
        let is_first_out = self.batches.get(index).is_some_and(is_whole);
        let first_held = if is_first_out { index + 1 } else { index };
        self.batches.drain(..first_held.saturating_sub(1).min(self.batches.len()));
        let before = self.batches.front().filter(|_| first_held > 0);
        let first = since.saturating_sub(MAX_FIRST_AGE);
        Some(before.map_or(first, |batch| batch.complete_until))
    }

    /// Returns the number of the first batch of which messages are held back, if those were received
    /// at these times or later.
    pub(super) fn first_held(&self, held: impl Iterator<Item = UnixNanos>) -> Option<BatchNumber> {
        let index = held.map(|since| self.index_of(since)).min()?;
        Some(self.batches.get(index).map_or(self.last, |batch| batch.number))
    }

    /// Returns the index of the entry for a batch that was received at this time; their number if
    /// there is none.
    fn index_of(&self, received: UnixNanos) -> usize {
        let exact = self.batches.iter().position(|batch| batch.includes(received));
        // A stage may name a time between two receipts.
        exact
            .or_else(|| self.batches.iter().position(|batch| batch.received > received))
            .unwrap_or(self.batches.len())
    }
}

#[cfg(test)]
mod tests {
    use std::iter::{empty, once};

    use super::*;

    fn at(seconds: u64) -> UnixNanos {
        UnixNanos::from_seconds(seconds)
    }

    #[test]
    fn what_is_held_back_and_what_came_after_it_is_not_complete() {
        let mut backlog = StageBacklog::default();
        assert_eq!(backlog.complete_until(empty()), None);
        backlog.push(at(101).into());
        assert_eq!(backlog.complete_until(once(at(101))), Some(at(91)), "there is none before");
        backlog.push(at(102).into());
        backlog.push(at(103).into());
        assert_eq!(backlog.complete_until(once(at(102))), Some(at(101)));
        assert_eq!(backlog.complete_until([at(103), at(102)].into_iter()), Some(at(101)));
        assert_eq!(backlog.complete_until(once(at(103))), Some(at(102)));
        assert_eq!(backlog.complete_until(empty()), None);
        backlog.push(at(104).into());
        assert_eq!(backlog.complete_until(once(at(104))), Some(at(103)), "of the last one before");
    }

    #[test]
    fn receipts_that_follow_each_other_closely_are_not_all_kept() {
        let mut backlog = StageBacklog::default();
        for nanos in 0..100_000 {
            backlog.push(UnixNanos::new(nanos * 100_000).into());
        }
        assert!(backlog.batches.len() < 1_100, "{}", backlog.batches.len());
        let held_since = UnixNanos::new(5_000_000_000);
        let complete_until = backlog.complete_until(once(held_since)).unwrap();
        assert!(complete_until < held_since);
        assert!(held_since.saturating_since(complete_until) < 2 * RECEIPT_SPACING);
    }

    #[test]
    fn a_step_of_the_clock_does_not_change_the_order() {
        let mut backlog = StageBacklog::default();
        backlog.push(at(1_000).into());
        let before_step = backlog.last_number();
        backlog.push(at(1_001).into());
        backlog.on_clock_step(at(1_002), at(502));
        backlog.push(at(502).into());
        let after_step = backlog.last_number();
        backlog.push(at(503).into());
        // Of two stages, the one that is behind counts, although its clock is ahead.
        let held = [at(503), at(1_001)];
        assert!(backlog.first_held(held.into_iter()).unwrap() > before_step);
        assert!(backlog.first_held(held.into_iter()).unwrap() < after_step);
        assert_eq!(backlog.complete_until(held.into_iter()), Some(at(500)), "by the clock of now");
        assert!(backlog.first_held(once(at(503))).unwrap() > after_step);
        assert_eq!(backlog.complete_until(once(at(503))), Some(at(502)));
        assert_eq!(backlog.first_held(empty()), None);
    }
}
