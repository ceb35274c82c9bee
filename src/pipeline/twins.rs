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

use super::feed::{LINGER, SETTLE_LIMIT};
use crate::batch::Batch;

/// For how long a copy is waited for: at least half of it, at most all.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// At most so many different messages are remembered of each connection: 9 MiB, when it has stopped
/// and others go on; and as many again of the time before it was settled, for [`LINGER`].
pub(super) const MOST_OWED: usize = 1 << 17;

/// The connections that bring the same messages.
#[derive(Debug)]
pub(super) struct Twins {
    seed: u64,
    /// By their numbers.
    links: Vec<Option<Owed>>,
}

/// What a filtered batch has told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Paired {
    /// Copies that were taken out.
    pub(super) duplicates: u64,
    /// Messages of which no second copy came in time.
    pub(super) unpaired: u64,
}

/// Messages by their hashes, with the number of copies.
type Copies = HashMap<u128, u32, RandomState>;

/// What others have brought, and one connection has not.
///
/// What it owes from before it was settled it may never have been subscribed to. That counts only while
/// whoever brought it is there, and for [`LINGER`]: later it would swallow what the server repeats.
#[derive(Debug)]
struct Owed {
    young: Copies,
    old: Copies,
    turned: Instant,
    stands: bool,
    /// From when on it is known, or trusted, to bring all; `None` before it is subscribed to all.
    settles: Option<Instant>,
    settled: bool,
    /// From before it was settled: how many copies are owed, and how many were paid since.
    early: HashMap<u128, (u32, u32), RandomState>,
    /// Whether it was settled during all of what is old.
    old_counts: bool,
}

impl Owed {
    fn new(now: Instant) -> Self {
        Self {
            young: Copies::default(),
            old: Copies::default(),
            turned: now,
            stands: false,
            settles: None,
            settled: false,
            early: HashMap::default(),
            old_counts: false,
        }
    }

    /// Forgets what is too old; says of how many messages no copy came.
    fn turn(&mut self, now: Instant) -> u64 {
        if self.settles.is_some_and(|at| at <= now) && !self.settled {
            self.settled = true;
            for (message, copies) in self.old.drain().chain(self.young.drain()) {
                self.early.entry(message).or_default().0 += copies;
            }
            self.turned = now;
        }
        if self.settles.is_some_and(|at| at + LINGER <= now) {
            self.forget_early();
        }
        if now < self.turned + WINDOW / 2 && self.young.len() < MOST_OWED / 2 {
            return 0;
        }
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        let counted = std::mem::replace(&mut self.old_counts, self.settled);
        self.turned = now;
        if counted { forgotten.values().map(|copies| u64::from(*copies)).sum() } else { 0 }
    }

    fn is_even(&self) -> bool {
        self.early.is_empty() && self.old.is_empty() && self.young.is_empty()
    }

    /// Whether a copy of the message was owed.
    fn pay(&mut self, message: u128) -> bool {
        if let Some((owed, paid)) = self.early.get_mut(&message)
            && *owed > 0
        {
            (*owed, *paid) = (*owed - 1, *paid + 1);
            return true;
        }
        pay(&mut self.old, message) || pay(&mut self.young, message)
    }

    /// What may never have been on its way is not waited for any longer. What was paid on such a debt
    /// may have been the copy of a later message.
    fn forget_early(&mut self) {
        for (message, (_, paid)) in std::mem::take(&mut self.early) {
            for _ in 0..paid {
                if !(pay(&mut self.young, message) || pay(&mut self.old, message)) {
                    break;
                }
            }
        }
        if !self.settled {
            (self.young, self.old) = (Copies::default(), Copies::default());
        }
    }
}

fn pay(owed: &mut Copies, message: u128) -> bool {
    let Some(copies) = owed.get_mut(&message) else { return false };
    *copies -= 1;
    if *copies == 0 {
        owed.remove(&message);
    }
    true
}

impl Default for Twins {
    fn default() -> Self {
        Self { seed: fastrand::u64(..), links: Vec::new() }
    }
}

impl Twins {
    /// A connection is about to be made; gives its number. It is to be said before the connect: what
    /// others bring from here on it may bring too.
    pub(super) fn join(&mut self, now: Instant) -> usize {
        let free = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        if free == self.links.len() {
            self.links.push(None);
        }
        if let Some(slot) = self.links.get_mut(free) {
            *slot = Some(Owed::new(now));
        }
        free
    }

    /// It stands.
    pub(super) fn up(&mut self, link: usize) {
        if let Some(Some(owed)) = self.links.get_mut(link) {
            owed.stands = true;
        }
    }

    /// It has subscribed to all, and is trusted to bring it after a while.
    pub(super) fn subscribed(&mut self, link: usize, now: Instant) {
        if let Some(Some(owed)) = self.links.get_mut(link) {
            owed.settles.get_or_insert(now + SETTLE_LIMIT);
        }
    }

    /// It is known to bring all.
    pub(super) fn settled(&mut self, link: usize, now: Instant) {
        if let Some(Some(owed)) = self.links.get_mut(link)
            && !owed.settled
        {
            owed.settles = Some(now);
            owed.turn(now);
        }
    }

    /// It is gone, or could not be made.
    pub(super) fn leave(&mut self, link: usize) {
        let left = self.links.get_mut(link).and_then(Option::take);
        // One that never stood has brought nothing.
        if left.is_some_and(|left| left.stands) {
            self.links.iter_mut().flatten().for_each(Owed::forget_early);
        }
    }

    /// Takes out of a link's batch what another has brought already.
    pub(super) fn filter(&mut self, link: usize, batch: &mut Batch, now: Instant) -> Paired {
        let mut paired = Paired::default();
        let (mut alone, mut even) = (true, true);
        for (number, owed) in self.links.iter_mut().enumerate() {
            let Some(owed) = owed else { continue };
            paired.unpaired += owed.turn(now);
            alone &= number == link;
            even &= number != link || owed.is_even();
        }
        if alone && even {
            return paired;
        }
        let (seed, links) = (self.seed, &mut self.links);
        batch.retain(|record| {
            let message = xxh3_128_with_seed(record.payload, seed);
            if let Some(Some(owed)) = links.get_mut(link)
                && owed.pay(message)
            {
                paired.duplicates += 1;
                return false;
            }
            for (number, owed) in links.iter_mut().enumerate() {
                if let Some(owed) = owed.as_mut().filter(|_| number != link) {
                    *owed.young.entry(message).or_default() += 1;
                }
            }
            true
        });
        paired
    }
}

#[cfg(test)]
mod tests;
