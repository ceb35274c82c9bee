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

/// Adds a drop to the one before it, if both have the same reason. Returns whether that was so.
fn join_drops(last: &mut JournalEntry, t: UnixNanos, event: &JournalEvent) -> bool {
    match (&mut last.event, event) {
        (
            JournalEvent::Drop { since, messages, cause, shared, detail },
            JournalEvent::Drop {
                since: next_since,
                messages: next_messages,
                cause: next_cause,
                shared: next_shared,
                detail: next_detail,
            },
        ) if (&*cause, &*shared, &*detail) == (next_cause, next_shared, next_detail) => {
            *since = (*since).min(*next_since);
            *messages += next_messages;
            last.t = last.t.max(t);
            true
        }
        _ => false,
    }
}

impl DiscardedEvents {
    fn count(discarded: &mut Option<Self>, events: u64, t: UnixNanos) {
        let discarded = discarded.get_or_insert(Self { count: 0, first: t, last: t });
        discarded.count += events;
        discarded.first = discarded.first.min(t);
        discarded.last = discarded.last.max(t);
    }
}

impl PendingEvents {
    /// Appends an event to the queue, or counts it as discarded when the queue is full.
    ///
    /// A queued mark is replaced, because each mark repeats all that an earlier mark says. Drops in
    /// a row for one reason become one, so that their number is not lost with the queue's end.
    pub fn push(&mut self, t: UnixNanos, event: JournalEvent) {
        self.entries.retain(|entry| !matches!(entry.event, JournalEvent::Mark(_)));
        if self.entries.back_mut().is_some_and(|last| join_drops(last, t, &event)) {
            return;
        }
        if self.entries.len() < MAX_PENDING {
            self.entries.push_back(JournalEntry { t, event });
        } else if !matches!(event, JournalEvent::Mark(_)) {
            DiscardedEvents::count(&mut self.discarded, 1, t);
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

    /// Returns what the next journal says of these events, which never got into theirs: the drops as
    /// they are, since each has all that a reader needs, and one `missing` event for the others,
    /// whose meaning depends on the hour.
    #[must_use]
    pub fn into_carried_over(self) -> Self {
        let mut carried = Self::default();
        let mut missing = self.discarded;
        for entry in self.entries {
            match entry.event {
                JournalEvent::Drop { .. } => carried.entries.push_back(entry),
                JournalEvent::Mark(_) => {}
                JournalEvent::Missing { events, since } => {
                    DiscardedEvents::count(&mut missing, events, since);
                }
                _ => DiscardedEvents::count(&mut missing, 1, entry.t),
            }
        }
        if let Some(DiscardedEvents { count: events, first: since, .. }) = missing {
            // A time before the next `open` event, which says how things stand since then.
            let event = JournalEvent::Missing { events, since };
            carried.entries.push_front(JournalEntry { t: since, event });
        }
        carried
    }

    /// Appends the events of another queue.
    pub fn append(&mut self, other: &Self) {
        for entry in other.iter() {
            self.push(entry.t, entry.event);
        }
    }

    /// Removes all events, which are written now.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.discarded = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(t: u64) -> UnixNanos {
        UnixNanos::new(t)
    }

    fn drop_event(since: u64, messages: u64, cause: &str) -> JournalEvent {
        let (cause, detail) = (cause.to_owned(), String::new());
        JournalEvent::Drop { since: at(since), messages, cause, shared: false, detail }
    }

    #[test]
    fn drops_in_a_row_are_one_and_their_number_is_never_discarded() {
        let mut pending = PendingEvents::default();
        for t in 10..400 {
            pending.push(at(t), drop_event(t - 1, 2, "unwritable"));
        }
        pending.push(at(400), drop_event(399, 1, "overflow"));
        pending.push(at(401), JournalEvent::Resume);
        let entries: Vec<_> = pending.iter().collect();
        let merged = JournalEntry { t: at(399), event: drop_event(9, 780, "unwritable") };
        assert_eq!((entries.len(), &entries[0]), (3, &merged));
    }

    #[test]
    fn the_next_journal_gets_the_drops_and_one_event_for_all_others() {
        let mut pending = PendingEvents::default();
        pending.push(at(5), JournalEvent::Stopping { since: None });
        pending.push(at(6), drop_event(4, 2, "unwritable"));
        pending.push(at(7), JournalEvent::Resume);
        let carried = pending.into_carried_over();
        let missing = JournalEvent::Missing { events: 2, since: at(5) };
        let expected = [
            JournalEntry { t: at(5), event: missing },
            JournalEntry { t: at(6), event: drop_event(4, 2, "unwritable") },
        ];
        assert_eq!(carried.iter().collect::<Vec<_>>(), expected);
        // The next journal could not be written, either.
        let again: Vec<_> = carried.into_carried_over().iter().collect();
        assert_eq!(again, expected);
    }
}
