//! The progress of messages through stages that hold messages back.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::time::{Receipt, UnixNanos};

/// Longest time from the moment at which a message of the first batch was sent to its receipt.
const MAX_FIRST_AGE: Duration = Duration::from_secs(10);
/// Least time between two receipts that are kept.
const RECEIPT_SPACING: Duration = Duration::from_millis(10);

/// The receipts of the batches of which stages may still hold messages back, and of the last one
/// before these.
#[derive(Debug, Default)]
pub(super) struct StageBacklog {
    receipts: VecDeque<Receipt>,
}

impl StageBacklog {
    /// Adds the receipt of a batch that goes into the stages.
    pub(super) fn push(&mut self, receipt: Receipt) {
        let is_dense = |last: &Receipt| {
            last.received <= receipt.received
                && receipt.received.saturating_since(last.received) < RECEIPT_SPACING
        };
        // Without it, a later one stands for both. The first two are needed.
        if self.receipts.len() > 2 && self.receipts.back().is_some_and(is_dense) {
            return;
        }
        self.receipts.push_back(receipt);
    }

    /// Returns the time until which everything that was sent has left the stages, if they hold
    /// messages back that were received since `held_since`; `None` if they hold none.
    pub(super) fn complete_until(&mut self, held_since: Option<UnixNanos>) -> Option<UnixNanos> {
        let Some(held_since) = held_since else {
            let last = self.receipts.pop_back();
            self.receipts.clear();
            self.receipts.extend(last);
            return None;
        };
        while self.receipts.get(1).is_some_and(|next| next.received < held_since) {
            self.receipts.pop_front();
        }
        let before = self.receipts.front().filter(|receipt| receipt.received < held_since);
        let first = held_since.saturating_sub(MAX_FIRST_AGE);
        Some(before.map_or(first, |receipt| receipt.complete_until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> UnixNanos {
        UnixNanos::from_seconds(seconds)
    }

    #[test]
    fn what_is_held_back_and_what_came_after_it_is_not_complete() {
        let mut backlog = StageBacklog::default();
        assert_eq!(backlog.complete_until(None), None);
        backlog.push(at(101).into());
        assert_eq!(backlog.complete_until(Some(at(101))), Some(at(91)), "there is none before");
        backlog.push(at(102).into());
        backlog.push(at(103).into());
        assert_eq!(backlog.complete_until(Some(at(102))), Some(at(101)));
        assert_eq!(backlog.complete_until(Some(at(103))), Some(at(102)));
        assert_eq!(backlog.complete_until(None), None);
        backlog.push(at(104).into());
        assert_eq!(backlog.complete_until(Some(at(104))), Some(at(103)), "of the last one before");
    }

    #[test]
    fn receipts_that_follow_each_other_closely_are_not_all_kept() {
        let mut backlog = StageBacklog::default();
        for nanos in 0..100_000 {
            backlog.push(UnixNanos::new(nanos * 100_000).into());
        }
        assert!(backlog.receipts.len() < 1_100, "{}", backlog.receipts.len());
        let held_since = UnixNanos::new(5_000_000_000);
        let complete_until = backlog.complete_until(Some(held_since)).unwrap();
        assert!(complete_until < held_since);
        assert!(held_since.saturating_since(complete_until) < 2 * RECEIPT_SPACING);
    }
}
