//! What comes over several connections is handed on once.
//!
//! The k-th copy of a message on one connection pairs with the k-th on another, so that what the
//! server itself sends twice stays twice. Kept is only what one connection has brought and another
//! still owes: of links that keep up with each other next to nothing.
//!
//! For any interleaving: of each message as many copies are handed on as the link brought that
//! brought the most of them since it joined. That holds within [`WINDOW`]; a copy that comes later,
//! or after more than [`MOST_OWED`] others that are owed, is taken for a new message.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::batch::Batch;

/// For how long a copy is waited for: at least half of it, at most all.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// At most so many different messages are remembered of each connection: 9 MiB, when it has stopped
/// and others go on.
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
#[derive(Debug)]
struct Owed {
    young: Copies,
    old: Copies,
    turned: Instant,
    /// Since when it owes: what was sent before it was subscribed it cannot bring.
    up: Option<Instant>,
    /// Whether it was up during all of what is old.
    old_counts: bool,
}

impl Owed {
    fn new(now: Instant) -> Self {
        let (young, old) = (Copies::default(), Copies::default());
        Self { young, old, turned: now, up: None, old_counts: false }
    }

    /// Forgets what is too old; says of how many messages no copy came.
    fn turn(&mut self, now: Instant) -> u64 {
        if now < self.turned + WINDOW / 2 && self.young.len() < MOST_OWED / 2 {
            return 0;
        }
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        let counted = self.old_counts;
        self.old_counts = self.up.is_some_and(|up| up <= self.turned);
        self.turned = now;
        if counted { forgotten.values().map(|copies| u64::from(*copies)).sum() } else { 0 }
    }

    /// Whether a copy of the message was owed.
    fn pay(&mut self, message: u128) -> bool {
        pay(&mut self.old, message) || pay(&mut self.young, message)
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

    /// It is subscribed.
    pub(super) fn up(&mut self, link: usize, now: Instant) {
        if let Some(Some(owed)) = self.links.get_mut(link) {
            owed.up = Some(now);
        }
    }

    /// It is gone, or could not be made.
    pub(super) fn leave(&mut self, link: usize) {
        if let Some(slot) = self.links.get_mut(link) {
            *slot = None;
        }
    }

    /// Takes out of a link's batch what another has brought already.
    pub(super) fn filter(&mut self, link: usize, batch: &mut Batch, now: Instant) -> Paired {
        let mut paired = Paired::default();
        let owes = |owed: &Owed| !(owed.young.is_empty() && owed.old.is_empty());
        let (mut alone, mut even) = (true, true);
        for (number, owed) in self.links.iter_mut().enumerate() {
            let Some(owed) = owed else { continue };
            paired.unpaired += owed.turn(now);
            alone &= number == link;
            even &= number != link || !owes(owed);
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
