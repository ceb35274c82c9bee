//! The queue of journal events that are not in the file yet.

use std::collections::VecDeque;

use super::event::{JournalEntry, JournalEvent};
use crate::base::time::UnixNanos;

/// Maximum number of queued events. Later events are counted and discarded.
pub(super) const MAX_PENDING: usize = 256;

/// Events that could not be written yet, in order.
#[derive(Debug, Default)]
pub struct PendingEvents {
    entries: VecDeque<JournalEntry>,
    discarded: Option<DiscardedEvents>,
}

/// The number of discarded events and the times of the first and last one.
#[derive(Debug, Clone, Copy)]
struct DiscardedEvents {
    count: u64,
    first: UnixNanos,
    last: UnixNanos,
}

impl PendingEvents {
    /// Appends an event to the queue, or counts it as discarded when the queue is full.
    ///
    /// A queued mark is replaced, because each mark repeats all that an earlier mark says.
    pub fn push(&mut self, t: UnixNanos, event: JournalEvent) {
        self.entries.retain(|entry| !matches!(entry.event, JournalEvent::Mark(_)));
        if self.entries.len() < MAX_PENDING {
            self.entries.push_back(JournalEntry { t, event });
        } else if !matches!(event, JournalEvent::Mark(_)) {
            let discarded =
                self.discarded.get_or_insert(DiscardedEvents { count: 0, first: t, last: t });
            discarded.count += 1;
            discarded.last = t;
        }
    }

    /// Returns whether there is nothing to write: neither a queued event nor a count of discarded
    /// events.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.discarded.is_none()
    }

    /// Returns all queued events in order, followed by a `missing` event for the discarded ones.
    pub fn iter(&self) -> impl Iterator<Item = JournalEntry> {
        let missing = self.discarded.map(|discarded| JournalEntry {
            t: discarded.last,
            event: JournalEvent::Missing { events: discarded.count, since: discarded.first },
        });
        self.entries.iter().cloned().chain(missing)
    }

    /// Removes all events, which are written now.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.discarded = None;
    }
}
