//! Events that cannot be written yet.

use std::collections::VecDeque;

use super::JournalEvent;
use crate::base::time::UnixNanos;

/// So many events wait.
pub(super) const MAX_PENDING: usize = 256;

/// Events that wait, in order. Those that are too many are counted instead.
#[derive(Debug, Default)]
pub struct PendingEvents {
    events: VecDeque<(UnixNanos, JournalEvent)>,
    dropped: Option<DroppedEvents>,
}

#[derive(Debug, Clone, Copy)]
struct DroppedEvents {
    count: u64,
    since: UnixNanos,
    until: UnixNanos,
}

impl PendingEvents {
    /// Puts an event behind the others.
    pub fn push(&mut self, t: UnixNanos, event: JournalEvent) {
        // The next mark says all that one says which could not be written.
        self.events.retain(|(_, waiting)| !matches!(waiting, JournalEvent::Mark(_)));
        if self.events.len() < MAX_PENDING {
            self.events.push_back((t, event));
        } else if !matches!(event, JournalEvent::Mark(_)) {
            let missing =
                self.dropped.get_or_insert(DroppedEvents { count: 0, since: t, until: t });
            missing.count += 1;
            missing.until = t;
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// All of them, in order; one for those that are missing comes last.
    pub fn iter(&self) -> impl Iterator<Item = (UnixNanos, JournalEvent)> {
        let missing = self.dropped.map(|DroppedEvents { count: events, since, until: last }| {
            (last, JournalEvent::Missing { events, since: since.nanos() })
        });
        self.events.iter().cloned().chain(missing)
    }

    /// Forgets them: they are written.
    pub fn clear(&mut self) {
        self.events.clear();
        self.dropped = None;
    }
}
