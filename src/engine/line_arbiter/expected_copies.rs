//! The messages that one line has yet to deliver.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::engine::line_index::LineIndex;
use crate::engine::overlap::{ASSUME_DELIVERING_AFTER, OVERLAP_DURATION};

/// Longest time for which a copy is expected. A copy is expected for at least half of it.
pub(super) const COPY_WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of different messages that are remembered for each line.
///
/// They take 9 MiB when the line has stopped and others continue. As many again may be
/// [unconfirmed](ExpectedCopies::unconfirmed), for [`OVERLAP_DURATION`].
pub(super) const MAX_EXPECTED: usize = 1 << 17;

/// The hash by which copies of a message are recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MessageHash(u128);

impl MessageHash {
    /// Hashes a message. The seed keeps a server from constructing messages with equal hashes.
    pub(super) fn new(payload: &[u8], seed: u64) -> Self {
        Self(xxh3_128_with_seed(payload, seed))
    }
}

/// Numbers of copies by message.
type CopyCounts = HashMap<MessageHash, u32, RandomState>;

/// The messages that other lines have delivered and one line has not.
///
/// A copy that is expected from before the line was delivering is unconfirmed: the line may not
/// have been subscribed yet. It counts only while the line that delivered the message exists, and
/// for [`OVERLAP_DURATION`]; later it would swallow a message that the server repeats.
#[derive(Debug)]
pub(super) struct ExpectedCopies {
    pub(super) line: LineIndex,
    /// Set once the connection is established. A line without one has delivered nothing.
    pub(super) is_connected: bool,
    /// The newer generation.
    pub(super) current: CopyCounts,
    /// The older generation.
    pub(super) previous: CopyCounts,
    rotated_at: Instant,
    /// Time from which the line is known, or trusted, to deliver everything; `None` before all its
    /// subscriptions are answered.
    delivering_at: Option<Instant>,
    is_delivering: bool,
    unconfirmed: HashMap<MessageHash, UnconfirmedCopies, RandomState>,
    /// Set if the line was delivering during all of the older generation.
    previous_is_countable: bool,
}

/// Copies of a message that are expected from before the line was delivering.
#[derive(Debug, Clone, Copy, Default)]
struct UnconfirmedCopies {
    expected: u32,
    /// Copies that were expected and have arrived since.
    matched: u32,
}

impl ExpectedCopies {
    /// Creates a line that is expected to deliver nothing yet.
    pub(super) fn new(line: LineIndex, now: Instant) -> Self {
        Self {
            line,
            is_connected: false,
            current: CopyCounts::default(),
            previous: CopyCounts::default(),
            rotated_at: now,
            delivering_at: None,
            is_delivering: false,
            unconfirmed: HashMap::default(),
            previous_is_countable: false,
        }
    }

    /// Returns whether no copy is expected.
    pub(super) fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty() && self.previous.is_empty() && self.current.is_empty()
    }

    /// Marks all subscriptions answered: the line is trusted to deliver everything after a while.
    pub(super) fn mark_subscribed(&mut self, now: Instant) {
        self.delivering_at.get_or_insert(now + ASSUME_DELIVERING_AFTER);
    }

    /// Marks the line as known to deliver everything.
    pub(super) fn mark_delivering(&mut self, now: Instant) {
        if !self.is_delivering {
            self.delivering_at = Some(now);
            self.rotate(now);
        }
    }

    /// Expects a copy of a message that another line has delivered.
    pub(super) fn expect_copy(&mut self, message: MessageHash) {
        *self.current.entry(message).or_default() += 1;
    }

    /// Matches a delivered message with an expected copy. Returns whether there was one.
    pub(super) fn match_copy(&mut self, message: MessageHash) -> bool {
        if let Some(copies) = self.unconfirmed.get_mut(&message)
            && copies.expected > 0
        {
            copies.expected -= 1;
            copies.matched += 1;
            return true;
        }
        take_copy(&mut self.previous, message) || take_copy(&mut self.current, message)
    }

    /// Forgets copies that are too old. Returns the number of copies that never arrived.
    pub(super) fn rotate(&mut self, now: Instant) -> u64 {
        if self.delivering_at.is_some_and(|at| at <= now) && !self.is_delivering {
            self.is_delivering = true;
            for (message, copies) in self.previous.drain().chain(self.current.drain()) {
                self.unconfirmed.entry(message).or_default().expected += copies;
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
        let is_countable = std::mem::replace(&mut self.previous_is_countable, self.is_delivering);
        self.rotated_at = now;
        if is_countable { forgotten.values().map(|copies| u64::from(*copies)).sum() } else { 0 }
    }

    /// Forgets the unconfirmed copies, which may never have been sent to this line.
    ///
    /// A message that matched an unconfirmed copy may have been the copy of a later message, which
    /// is then no longer expected.
    pub(super) fn expire_unconfirmed(&mut self) {
        for (message, copies) in std::mem::take(&mut self.unconfirmed) {
            for _ in 0..copies.matched {
                if !(take_copy(&mut self.current, message)
                    || take_copy(&mut self.previous, message))
                {
                    break;
                }
            }
        }
        if !self.is_delivering {
            self.current = CopyCounts::default();
            self.previous = CopyCounts::default();
        }
    }
}

/// Removes one copy of a message. Returns whether there was one.
fn take_copy(counts: &mut CopyCounts, message: MessageHash) -> bool {
    let Some(copies) = counts.get_mut(&message) else { return false };
    *copies -= 1;
    if *copies == 0 {
        counts.remove(&message);
    }
    true
}
