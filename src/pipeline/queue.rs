//! The one queue of a pipeline: batches from the network task to the pipeline thread.
//!
//! Bounded by messages and by memory. A batch counts until its consumer gives it back, so the
//! bound holds for everything that is on its way to disk. Buffers go round: a batch that comes
//! back is handed out again by [`Producer::spare`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::plugin::FeedEvent;
use crate::stats::QueueUse;

/// At most this many empty batches are kept for reuse, and none larger than this.
const SPARE_BATCHES: usize = 16;
const SPARE_BYTES: usize = 512 << 10;
/// How many of them stay when nothing happens: every tick frees one of the others.
const IDLE_SPARES: usize = 2;
/// While messages flow the consumer looks for more by itself this often, which is cheaper than to
/// be woken for every batch.
const DOZE: Duration = Duration::from_millis(20);
/// From this much on a dozing consumer is woken.
const WAKE_BYTES: usize = 128 << 10;
/// Once this share of the memory limit is taken, a batch that uses less than half of its buffer is
/// moved to a smaller one.
const SHRINK_SHARE: usize = 16;

/// What goes through the queue.
#[derive(Debug)]
pub(crate) enum Item {
    /// Messages.
    Batch(Batch),
    /// The time, about once a second.
    Tick(UnixNanos),
    /// Something happened to the source, then.
    Event(UnixNanos, FeedEvent),
}

impl Item {
    /// Adds what was dropped to what was dropped before for the same cause.
    fn absorbs(&mut self, now: UnixNanos, event: &FeedEvent) -> bool {
        match (self, event) {
            (
                Self::Event(at, FeedEvent::Dropped { since: first, messages: sum, cause: before }),
                FeedEvent::Dropped { since, messages, cause },
            ) if before == cause => {
                (*at, *first) = (now, *since.min(first));
                *sum += messages;
                true
            }
            _ => false,
        }
    }
}

/// How much may be in the queue at once. One batch is always let in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// Makes a queue and its two ends.
pub(crate) fn queue(limits: Limits) -> (Producer, Consumer) {
    let shared = Arc::new(Shared {
        limits,
        state: Mutex::default(),
        filled: Condvar::new(),
        room: Notify::new(),
        refused: CancellationToken::new(),
    });
    (Producer { shared: Arc::clone(&shared) }, Consumer { shared, flowing: false })
}

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    /// Signals the consumer that there is an item, or that the queue is closed.
    filled: Condvar,
    /// Signals producers that there may be room.
    room: Notify,
    /// Cancelled when nothing more is to come.
    refused: CancellationToken,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    messages: usize,
    bytes: usize,
    closed: bool,
    consumer: Wait,
    /// Whether the consumer has died: there is no room for which to wait.
    abandoned: bool,
    spares: Vec<Batch>,
}

impl State {
    fn keep(&mut self, batch: Batch) {
        if self.spares.len() < SPARE_BATCHES && batch.capacity() <= SPARE_BYTES {
            self.spares.push(batch);
        }
    }
}

/// What the consumer waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Wait {
    /// It is at work.
    #[default]
    No,
    /// It looks again soon.
    Dozing,
    /// It must be woken.
    Asleep,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut state: MutexGuard<'_, State>, item: Item) {
        state.items.push_back(item);
        let crowded = state.bytes >= WAKE_BYTES.min(self.limits.bytes / 2)
            || state.messages > self.limits.messages / 2;
        let wake = match state.consumer {
            Wait::No => false,
            Wait::Dozing => crowded,
            Wait::Asleep => true,
        };
        if wake {
            // Once: until it is up, further items need not wake it.
            state.consumer = Wait::No;
        }
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }
}

/// The network end. Every clone is the same end.
#[derive(Clone)]
pub(crate) struct Producer {
    shared: Arc<Shared>,
}

impl Producer {
    /// Puts a batch into the queue, or gives it back when there is no room.
    pub(crate) fn try_push(&self, mut batch: Batch) -> Result<(), Batch> {
        let mut state = self.shared.state();
        if state.abandoned {
            return Ok(());
        }
        let busy = state.messages > 0;
        let crowded = state.bytes > self.shared.limits.bytes / SHRINK_SHARE;
        if crowded && batch.as_lines().len() * 2 < batch.capacity() {
            // The consumer is behind: what waits should take no more memory than it needs.
            batch.shrink();
        }
        let (messages, bytes) = (batch.len(), batch.capacity());
        let limits = self.shared.limits;
        let fits = state.messages + messages <= limits.messages
            && state.bytes.saturating_add(bytes) <= limits.bytes;
        if busy && !fits {
            return Err(batch);
        }
        state.messages += messages;
        state.bytes = state.bytes.saturating_add(bytes);
        self.shared.push(state, Item::Batch(batch));
        Ok(())
    }

    /// Waits for room, then puts the batch into the queue.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a batch that waits is lost with the future.
    pub(crate) async fn push(&self, mut batch: Batch) {
        loop {
            // Made before the attempt, so that room that appears in between is not missed.
            let room = self.shared.room.notified();
            match self.try_push(batch) {
                Ok(()) => return,
                Err(back) => batch = back,
            }
            room.await;
        }
    }

    /// Tells the consumer the time. Needs no room; ticks that would stand next to each other in
    /// the queue become one.
    pub(crate) fn tick(&self, now: UnixNanos) {
        let mut state = self.shared.state();
        if state.spares.len() > IDLE_SPARES {
            state.spares.pop();
        }
        if let Some(Item::Tick(last)) = state.items.back_mut() {
            *last = now;
        } else {
            self.shared.push(state, Item::Tick(now));
        }
    }

    /// Tells the consumer of something that happened to the source. Needs no room. What is dropped
    /// while nothing is taken out becomes one event.
    pub(crate) fn event(&self, at: UnixNanos, event: FeedEvent) {
        let mut state = self.shared.state();
        let waiting = state.items.iter_mut().rev().take(4);
        if !waiting
            .take_while(|item| !matches!(item, Item::Batch(_)))
            .any(|item| item.absorbs(at, &event))
        {
            self.shared.push(state, Item::Event(at, event));
        }
    }

    /// An empty batch, with a buffer that has been round before if there is one.
    pub(crate) fn spare(&self) -> Batch {
        self.shared.state().spares.pop().unwrap_or_default()
    }

    /// Takes back a batch of [`Producer::spare`] that was not needed.
    pub(crate) fn put_back(&self, mut batch: Batch) {
        batch.clear();
        self.shared.state().keep(batch);
    }

    /// How full the queue is.
    pub(crate) fn used(&self) -> QueueUse {
        let state = self.shared.state();
        QueueUse { messages: state.messages as u64, bytes: state.bytes as u64 }
    }

    /// No batch will follow: the consumer drains the queue and then gets `None`.
    pub(crate) fn close(&self) {
        self.shared.state().closed = true;
        self.shared.filled.notify_one();
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_refused(&self) -> bool {
        self.shared.refused.is_cancelled()
    }

    /// Waits until nothing more is to come.
    pub(crate) async fn until_refused(&self) {
        self.shared.refused.cancelled().await;
    }
}

/// The disk end.
pub(crate) struct Consumer {
    shared: Arc<Shared>,
    /// Whether the last item was a batch, so that another is likely to come soon.
    flowing: bool,
}

impl Consumer {
    /// Takes the next item, if there is one now.
    pub(crate) fn try_pop(&mut self) -> Option<Item> {
        let item = self.shared.state().items.pop_front();
        self.note(item)
    }

    /// Waits a moment for the next item, if one is likely to come soon.
    pub(crate) fn doze(&mut self) -> Option<Item> {
        let mut state = self.shared.state();
        if self.flowing && state.items.is_empty() && !state.closed {
            state.consumer = Wait::Dozing;
            (state, _) = self
                .shared
                .filled
                .wait_timeout(state, DOZE)
                .unwrap_or_else(PoisonError::into_inner);
            state.consumer = Wait::No;
        }
        let item = state.items.pop_front();
        drop(state);
        self.note(item)
    }

    /// Waits for the next item; `None` when the queue is empty and closed.
    pub(crate) fn pop(&mut self) -> Option<Item> {
        let mut doze = self.flowing;
        let mut state = self.shared.state();
        while state.items.is_empty() && !state.closed {
            if doze {
                state.consumer = Wait::Dozing;
                (state, _) = self
                    .shared
                    .filled
                    .wait_timeout(state, DOZE)
                    .unwrap_or_else(PoisonError::into_inner);
                doze = false;
            } else {
                state.consumer = Wait::Asleep;
                state = self.shared.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.consumer = Wait::No;
        let item = state.items.pop_front();
        drop(state);
        self.note(item)
    }

    fn note(&mut self, item: Option<Item>) -> Option<Item> {
        if let Some(item) = &item {
            self.flowing = matches!(item, Item::Batch(_));
        }
        item
    }

    /// Nothing more is to come; what is there is still taken.
    pub(crate) fn refuse(&self) {
        self.shared.refused.cancel();
        self.shared.room.notify_waiters();
    }

    /// Gives a batch back after use. `taken` is its use when it was popped, since stages may have
    /// changed it.
    pub(crate) fn give_back(&self, mut batch: Batch, taken: QueueUse) {
        batch.clear();
        let mut state = self.shared.state();
        state.messages =
            state.messages.saturating_sub(usize::try_from(taken.messages).unwrap_or(0));
        state.bytes = state.bytes.saturating_sub(usize::try_from(taken.bytes).unwrap_or(0));
        state.keep(batch);
        drop(state);
        self.shared.room.notify_waiters();
    }
}

/// What a batch counts for.
pub(crate) fn weight(batch: &Batch) -> QueueUse {
    QueueUse { messages: batch.len() as u64, bytes: batch.capacity() as u64 }
}

/// When the consumer dies, producers must not wait for room that never comes.
impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.abandoned = true;
        state.items.clear();
        state.messages = 0;
        state.bytes = 0;
        drop(state);
        self.refuse();
    }
}

#[cfg(test)]
mod tests;
