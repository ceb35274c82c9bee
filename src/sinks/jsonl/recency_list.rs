//! Writers in the order of their last use.

use super::writer_index::WriterIndex;

/// A list of writers in the order of their last use, in which each operation takes the same time,
/// however many writers there are.
///
/// It is a ring of links, by the position of the writer and one, that begins and ends at
/// [`RecencyList::ENDS`]. A writer that is not in the list is linked with itself.
#[derive(Debug)]
pub(super) struct RecencyList {
    links: Vec<Links>,
    len: usize,
    /// Number of links that were looked at, which tests bound.
    #[cfg(test)]
    visits: std::cell::Cell<usize>,
}

/// The neighbors of a writer.
#[derive(Debug, Clone, Copy)]
struct Links {
    older: usize,
    newer: usize,
}

impl RecencyList {
    /// The place in the ring between the newest and the oldest writer.
    const ENDS: usize = 0;

    /// Returns an empty list.
    pub(super) fn new() -> Self {
        Self {
            links: vec![Links { older: Self::ENDS, newer: Self::ENDS }],
            len: 0,
            #[cfg(test)]
            visits: std::cell::Cell::default(),
        }
    }

    /// Returns the number of writers in the list.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the writer is in the list.
    pub(super) fn contains(&self, writer: WriterIndex) -> bool {
        let slot = slot_of(writer);
        self.links.get(slot).is_some_and(|links| links.older != slot)
    }

    /// Makes the writer the one that was used last. Returns whether it was in the list.
    pub(super) fn touch(&mut self, writer: WriterIndex) -> bool {
        let slot = slot_of(writer);
        let first_new = self.links.len();
        self.links.extend((first_new..=slot).map(|slot| Links { older: slot, newer: slot }));
        let was_listed = self.contains(writer);
        if was_listed {
            self.unlink(slot);
        }
        let newest = self.links(Self::ENDS).older;
        *self.links_mut(slot) = Links { older: newest, newer: Self::ENDS };
        self.links_mut(newest).newer = slot;
        self.links_mut(Self::ENDS).older = slot;
        self.len += 1;
        was_listed
    }

    /// Removes the writer that was not used for the longest time.
    pub(super) fn pop_oldest(&mut self) -> Option<WriterIndex> {
        let oldest = self.links(Self::ENDS).newer;
        if oldest == Self::ENDS {
            return None;
        }
        self.unlink(oldest);
        Some(WriterIndex::from_position(oldest - 1))
    }

    fn unlink(&mut self, slot: usize) {
        let Links { older, newer } = *self.links(slot);
        self.links_mut(older).newer = newer;
        self.links_mut(newer).older = older;
        *self.links_mut(slot) = Links { older: slot, newer: slot };
        self.len -= 1;
    }

    fn links(&self, slot: usize) -> &Links {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
        self.links.get(slot).expect("the list was extended to this slot")
    }

    fn links_mut(&mut self, slot: usize) -> &mut Links {
        #[cfg(test)]
        self.visits.set(self.visits.get() + 1);
        self.links.get_mut(slot).expect("the list was extended to this slot")
    }
}

/// Returns the place of the writer in the ring.
fn slot_of(writer: WriterIndex) -> usize {
    writer.position() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(position: usize) -> WriterIndex {
        WriterIndex::from_position(position)
    }

    #[test]
    fn the_oldest_comes_first() {
        let mut list = RecencyList::new();
        assert_eq!(list.pop_oldest(), None);
        for position in [5, 0, 2, 0, 0, 5] {
            list.touch(index(position));
        }
        assert_eq!(list.len(), 3);
        assert!(list.contains(index(5)) && !list.contains(index(1)) && !list.contains(index(9)));
        assert_eq!(list.pop_oldest(), Some(index(2)));
        assert!(!list.contains(index(2)));
        assert!(!list.touch(index(2)) && list.touch(index(0)));
        let rest: Vec<_> = std::iter::from_fn(|| list.pop_oldest()).collect();
        assert_eq!(rest, [5, 2, 0].map(index));
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn a_use_costs_the_same_with_any_number_of_writers() {
        let visits_per_use = |writers: usize| {
            let mut list = RecencyList::new();
            for round in 0..2 {
                for position in 0..writers {
                    list.touch(index(position));
                    if list.len() > 8 {
                        list.pop_oldest();
                    }
                }
                assert_eq!(list.len(), 8, "round {round}");
            }
            list.visits.get() / (2 * writers)
        };
        assert!(visits_per_use(80_000) <= visits_per_use(100) + 1);
        assert!(visits_per_use(80_000) <= 12);
    }
}
