//! Events that cannot be written yet.

use std::collections::VecDeque;

use super::Event;
use crate::clock::UnixNanos;

/// So many events wait.
pub(super) const MAX_WAITING: usize = 256;

/// Events that wait, in order. Those that are too many are counted instead.
#[derive(Debug, Default)]
pub struct Waiting {
    events: VecDeque<(UnixNanos, Event)>,
    missing: Option<Missing>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    events: u64,
    since: UnixNanos,
    last: UnixNanos,
}

impl Waiting {
    /// Puts an event behind the others.
    pub fn push(&mut self, t: UnixNanos, event: Event) {
        // The next mark says all that one says which could not be written.
        self.events.retain(|(_, waiting)| !matches!(waiting, Event::Mark(_)));
        if self.events.len() < MAX_WAITING {
            self.events.push_back((t, event));
        } else if !matches!(event, Event::Mark(_)) {
            let missing = self.missing.get_or_insert(Missing { events: 0, since: t, last: t });
            missing.events += 1;
            missing.last = t;
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// All of them, in order; one for those that are missing comes last.
    pub fn all(&self) -> impl Iterator<Item = (UnixNanos, Event)> {
        let missing = self.missing.map(|Missing { events, since, last }| {
            (last, Event::Missing { events, since: since.nanos() })
        });
        self.events.iter().cloned().chain(missing)
    }

    /// Forgets them: they are written.
    pub fn clear(&mut self) {
        self.events.clear();
        self.missing = None;
    }
}
