//! What comes over several connections is handed on once.
//!
//! The k-th copy of a message on one connection pairs with the k-th on another, so that what the
//! server itself sends twice stays twice. Kept is only what one connection has brought and another
//! still owes: of links that keep up with each other next to nothing.
//!
//! For any interleaving: of each message as many copies are handed on as the link brought that
//! brought the most of them since it joined. That holds within [`WINDOW`]; a copy that comes later,
//! or after more than [`MOST_OWED`] others that are owed, is taken for a new message. So is one of a
//! message that another brought before this connection was known to be subscribed to all, when that
//! other is cut off; or one that the server repeats when [`LINGER`] ends: rather twice than not at all.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::connection_slot::{ASSUME_DELIVERING_AFTER, OVERLAP_DURATION};
use crate::plugin::batch::Batch;

/// For how long a copy is waited for: at least half of it, at most all.
pub(super) const COPY_WINDOW: Duration = Duration::from_secs(60);
/// At most so many different messages are remembered of each connection: 9 MiB, when it has stopped
/// and others go on; and as many again of the time before it was settled, for [`LINGER`].
pub(super) const MAX_EXPECTED: usize = 1 << 17;

/// The connections that bring the same messages.
#[derive(Debug)]
pub(super) struct LineArbiter {
    hash_seed: u64,
    /// By their numbers.
    connections: Vec<Option<ExpectedCopies>>,
}

/// What a filtered batch has told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ArbiterCounts {
    /// Copies that were taken out.
    pub(super) duplicates: u64,
    /// Messages of which no second copy came in time.
    pub(super) unpaired: u64,
}

/// Messages by their hashes, with the number of copies.
type CopyCounts = HashMap<u128, u32, RandomState>;

/// What others have brought, and one connection has not.
///
/// What it owes from before it was settled it may never have been subscribed to. That counts only while
/// whoever brought it is there, and for [`LINGER`]: later it would swallow what the server repeats.
#[derive(Debug)]
struct ExpectedCopies {
    current: CopyCounts,
    previous: CopyCounts,
    rotated_at: Instant,
    is_connected: bool,
    /// From when on it is known, or trusted, to bring all; `None` before it is subscribed to all.
    delivering_at: Option<Instant>,
    is_delivering: bool,
    /// From before it was settled: how many copies are owed, and how many were paid since.
    unconfirmed: HashMap<u128, (u32, u32), RandomState>,
    /// Whether it was settled during all of what is old.
    previous_is_countable: bool,
}

impl ExpectedCopies {
    fn new(now: Instant) -> Self {
        Self {
            current: CopyCounts::default(),
            previous: CopyCounts::default(),
            rotated_at: now,
            is_connected: false,
            delivering_at: None,
            is_delivering: false,
            unconfirmed: HashMap::default(),
            previous_is_countable: false,
        }
    }

    /// Forgets what is too old; says of how many messages no copy came.
    fn rotate(&mut self, now: Instant) -> u64 {
        if self.delivering_at.is_some_and(|at| at <= now) && !self.is_delivering {
            self.is_delivering = true;
            for (message, copies) in self.previous.drain().chain(self.current.drain()) {
                self.unconfirmed.entry(message).or_default().0 += copies;
            }
            self.rotated_at = now;
        }
        if self.delivering_at.is_some_and(|at| at + OVERLAP_DURATION <= now) {
            self.expire_unconfirmed();
        }
        if now < self.rotated_at + COPY_WINDOW / 2 && self.current.len() < MAX_EXPECTED / 2 {
            return 0;
        }
        let forgotten = std::mem::replace(&mut self.previous, std::mem::take(&mut self.current));
        let counted = std::mem::replace(&mut self.previous_is_countable, self.is_delivering);
        self.rotated_at = now;
        if counted { forgotten.values().map(|copies| u64::from(*copies)).sum() } else { 0 }
    }

    fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty() && self.previous.is_empty() && self.current.is_empty()
    }

    /// Whether a copy of the message was owed.
    fn match_copy(&mut self, message: u128) -> bool {
        if let Some((owed, paid)) = self.unconfirmed.get_mut(&message)
            && *owed > 0
        {
            (*owed, *paid) = (*owed - 1, *paid + 1);
            return true;
        }
        take_copy(&mut self.previous, message) || take_copy(&mut self.current, message)
    }

    /// What may never have been on its way is not waited for any longer. What was paid on such a debt
    /// may have been the copy of a later message.
    fn expire_unconfirmed(&mut self) {
        for (message, (_, paid)) in std::mem::take(&mut self.unconfirmed) {
            for _ in 0..paid {
                if !(take_copy(&mut self.current, message)
                    || take_copy(&mut self.previous, message))
                {
                    break;
                }
            }
        }
        if !self.is_delivering {
            (self.current, self.previous) = (CopyCounts::default(), CopyCounts::default());
        }
    }
}

fn take_copy(owed: &mut CopyCounts, message: u128) -> bool {
    let Some(copies) = owed.get_mut(&message) else { return false };
    *copies -= 1;
    if *copies == 0 {
        owed.remove(&message);
    }
    true
}

impl Default for LineArbiter {
    fn default() -> Self {
        Self { hash_seed: fastrand::u64(..), connections: Vec::new() }
    }
}

impl LineArbiter {
    /// A connection is about to be made; gives its number. It is to be said before the connect: what
    /// others bring from here on it may bring too.
    pub(super) fn add_connection(&mut self, now: Instant) -> usize {
        let free =
            self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
        if free == self.connections.len() {
            self.connections.push(None);
        }
        if let Some(slot) = self.connections.get_mut(free) {
            *slot = Some(ExpectedCopies::new(now));
        }
        free
    }

    /// It stands.
    pub(super) fn mark_connected(&mut self, link: usize) {
        if let Some(Some(owed)) = self.connections.get_mut(link) {
            owed.is_connected = true;
        }
    }

    /// It has subscribed to all, and is trusted to bring it after a while.
    pub(super) fn mark_subscribed(&mut self, link: usize, now: Instant) {
        if let Some(Some(owed)) = self.connections.get_mut(link) {
            owed.delivering_at.get_or_insert(now + ASSUME_DELIVERING_AFTER);
        }
    }

    /// It is known to bring all.
    pub(super) fn mark_delivering(&mut self, link: usize, now: Instant) {
        if let Some(Some(owed)) = self.connections.get_mut(link)
            && !owed.is_delivering
        {
            owed.delivering_at = Some(now);
            owed.rotate(now);
        }
    }

    /// It is gone, or could not be made.
    pub(super) fn remove_connection(&mut self, link: usize) {
        let left = self.connections.get_mut(link).and_then(Option::take);
        // One that never stood has brought nothing.
        if left.is_some_and(|left| left.is_connected) {
            self.connections.iter_mut().flatten().for_each(ExpectedCopies::expire_unconfirmed);
        }
    }

    /// Takes out of a link's batch what another has brought already.
    pub(super) fn remove_duplicates(
        &mut self,
        link: usize,
        batch: &mut Batch,
        now: Instant,
    ) -> ArbiterCounts {
        let mut paired = ArbiterCounts::default();
        let (mut alone, mut even) = (true, true);
        for (number, owed) in self.connections.iter_mut().enumerate() {
            let Some(owed) = owed else { continue };
            paired.unpaired += owed.rotate(now);
            alone &= number == link;
            even &= number != link || owed.is_empty();
        }
        if alone && even {
            return paired;
        }
        let (seed, links) = (self.hash_seed, &mut self.connections);
        batch.retain(|record| {
            let message = xxh3_128_with_seed(record.payload, seed);
            if let Some(Some(owed)) = links.get_mut(link)
                && owed.match_copy(message)
            {
                paired.duplicates += 1;
                return false;
            }
            for (number, owed) in links.iter_mut().enumerate() {
                if let Some(owed) = owed.as_mut().filter(|_| number != link) {
                    *owed.current.entry(message).or_default() += 1;
                }
            }
            true
        });
        paired
    }
}

#[cfg(test)]
mod tests;
