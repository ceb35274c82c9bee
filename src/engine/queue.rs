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

use crate::base::time::UnixNanos;
use crate::metrics::QueueUsage;
use crate::plugin::SourceEvent;
use crate::plugin::batch::Batch;

/// At most this many empty batches are kept for reuse, and none larger than this.
const MAX_SPARE_BATCHES: usize = 16;
const MAX_SPARE_BATCH_BYTES: usize = 512 << 10;
/// How many of them stay when nothing happens: every tick frees one of the others.
const IDLE_SPARE_BATCHES: usize = 2;
/// While messages flow the consumer looks for more by itself this often, which is cheaper than to
/// be woken for every batch.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// From this much on a dozing consumer is woken.
const WAKE_BYTES: usize = 128 << 10;
/// Once this share of the memory limit is taken, a batch that uses less than half of its buffer is
/// moved to a smaller one.
const SHRINK_DIVISOR: usize = 16;

/// What goes through the queue.
#[derive(Debug)]
pub(crate) enum QueueItem {
    /// Messages.
    Batch(Batch),
    /// The time, about once a second.
    Tick(UnixNanos),
    /// Something happened to the source, then.
    Event(UnixNanos, SourceEvent),
}

impl QueueItem {
    /// Adds what was dropped to what was dropped before for the same cause.
    fn try_merge(&mut self, now: UnixNanos, event: &SourceEvent) -> bool {
        match (self, event) {
            (
                Self::Event(
                    at,
                    SourceEvent::Dropped { since: first, messages: sum, cause: before },
                ),
                SourceEvent::Dropped { since, messages, cause },
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
pub(crate) struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// Makes a queue and its two ends.
pub(crate) fn batch_queue(limits: QueueLimits) -> (Producer, Consumer) {
    let shared = Arc::new(QueueShared {
        limits,
        state: Mutex::default(),
        item_ready: Condvar::new(),
        space_freed: Notify::new(),
        intake_stop: CancellationToken::new(),
    });
    (Producer { shared: Arc::clone(&shared) }, Consumer { shared, flowing: false })
}

struct QueueShared {
    limits: QueueLimits,
    state: Mutex<QueueState>,
    /// Signals the consumer that there is an item, or that the queue is closed.
    item_ready: Condvar,
    /// Signals producers that there may be room.
    space_freed: Notify,
    /// Cancelled when nothing more is to come.
    intake_stop: CancellationToken,
}

#[derive(Default)]
struct QueueState {
    items: VecDeque<QueueItem>,
    messages: usize,
    bytes: usize,
    closed: bool,
    consumer_state: ConsumerState,
    /// Whether the consumer has died: there is no room for which to wait.
    consumer_dropped: bool,
    spare_batches: Vec<Batch>,
}

impl QueueState {
    fn recycle(&mut self, batch: Batch) {
        if self.spare_batches.len() < MAX_SPARE_BATCHES && batch.capacity() <= MAX_SPARE_BATCH_BYTES
        {
            self.spare_batches.push(batch);
        }
    }
}

/// What the consumer waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ConsumerState {
    /// It is at work.
    #[default]
    Busy,
    /// It looks again soon.
    Dozing,
    /// It must be woken.
    Parked,
}

impl QueueShared {
    fn lock_state(&self) -> MutexGuard<'_, QueueState> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_item(&self, mut state: MutexGuard<'_, QueueState>, item: QueueItem) {
        state.items.push_back(item);
        let crowded = state.bytes >= WAKE_BYTES.min(self.limits.bytes / 2)
            || state.messages > self.limits.messages / 2;
        let wake = match state.consumer_state {
            ConsumerState::Busy => false,
            ConsumerState::Dozing => crowded,
            ConsumerState::Parked => true,
        };
        if wake {
            // Once: until it is up, further items need not wake it.
            state.consumer_state = ConsumerState::Busy;
        }
        drop(state);
        if wake {
            self.item_ready.notify_one();
        }
    }
}

/// The network end. Every clone is the same end.
#[derive(Clone)]
pub(crate) struct Producer {
    shared: Arc<QueueShared>,
}

impl Producer {
    /// Puts a batch into the queue, or gives it back when there is no room.
    pub(crate) fn try_push(&self, mut batch: Batch) -> Result<(), Batch> {
        let mut state = self.shared.lock_state();
        if state.consumer_dropped {
            return Ok(());
        }
        let busy = state.messages > 0;
        let crowded = state.bytes > self.shared.limits.bytes / SHRINK_DIVISOR;
        if crowded && batch.as_lines().len() * 2 < batch.capacity() {
            // The consumer is behind: what waits should take no more memory than it needs.
            batch.shrink_to_fit();
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
        self.shared.push_item(state, QueueItem::Batch(batch));
        Ok(())
    }

    /// Waits for room, then puts the batch into the queue.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a batch that waits is lost with the future.
    pub(crate) async fn push(&self, mut batch: Batch) {
        loop {
            // Made before the attempt, so that room that appears in between is not missed.
            let room = self.shared.space_freed.notified();
            match self.try_push(batch) {
                Ok(()) => return,
                Err(back) => batch = back,
            }
            room.await;
        }
    }

    /// Tells the consumer the time. Needs no room; ticks that would stand next to each other in
    /// the queue become one.
    pub(crate) fn push_tick(&self, now: UnixNanos) {
        let mut state = self.shared.lock_state();
        if state.spare_batches.len() > IDLE_SPARE_BATCHES {
            state.spare_batches.pop();
        }
        if let Some(QueueItem::Tick(last)) = state.items.back_mut() {
            *last = now;
        } else {
            self.shared.push_item(state, QueueItem::Tick(now));
        }
    }

    /// Tells the consumer of something that happened to the source. Needs no room. What is dropped
    /// while nothing is taken out becomes one event.
    pub(crate) fn push_event(&self, at: UnixNanos, event: SourceEvent) {
        let mut state = self.shared.lock_state();
        let waiting = state.items.iter_mut().rev().take(4);
        if !waiting
            .take_while(|item| !matches!(item, QueueItem::Batch(_)))
            .any(|item| item.try_merge(at, &event))
        {
            self.shared.push_item(state, QueueItem::Event(at, event));
        }
    }

    /// An empty batch, with a buffer that has been round before if there is one.
    pub(crate) fn take_spare(&self) -> Batch {
        self.shared.lock_state().spare_batches.pop().unwrap_or_default()
    }

    /// Takes back a batch of [`Producer::spare`] that was not needed.
    pub(crate) fn recycle(&self, mut batch: Batch) {
        batch.clear();
        self.shared.lock_state().recycle(batch);
    }

    /// How full the queue is.
    pub(crate) fn usage(&self) -> QueueUsage {
        let state = self.shared.lock_state();
        QueueUsage { messages: state.messages as u64, bytes: state.bytes as u64 }
    }

    /// No batch will follow: the consumer drains the queue and then gets `None`.
    pub(crate) fn finish(&self) {
        self.shared.lock_state().closed = true;
        self.shared.item_ready.notify_one();
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_intake_stopped(&self) -> bool {
        self.shared.intake_stop.is_cancelled()
    }

    /// Waits until nothing more is to come.
    pub(crate) async fn intake_stopped(&self) {
        self.shared.intake_stop.cancelled().await;
    }
}

/// The disk end.
pub(crate) struct Consumer {
    shared: Arc<QueueShared>,
    /// Whether the last item was a batch, so that another is likely to come soon.
    flowing: bool,
}

impl Consumer {
    /// Takes the next item, if there is one now.
    pub(crate) fn try_pop(&mut self) -> Option<QueueItem> {
        let item = self.shared.lock_state().items.pop_front();
        self.track_flow(item)
    }

    /// Waits a moment for the next item, if one is likely to come soon.
    pub(crate) fn pop_timeout(&mut self) -> Option<QueueItem> {
        let mut state = self.shared.lock_state();
        if self.flowing && state.items.is_empty() && !state.closed {
            state.consumer_state = ConsumerState::Dozing;
            (state, _) = self
                .shared
                .item_ready
                .wait_timeout(state, POLL_INTERVAL)
                .unwrap_or_else(PoisonError::into_inner);
            state.consumer_state = ConsumerState::Busy;
        }
        let item = state.items.pop_front();
        drop(state);
        self.track_flow(item)
    }

    /// Waits for the next item; `None` when the queue is empty and closed.
    pub(crate) fn pop(&mut self) -> Option<QueueItem> {
        let mut doze = self.flowing;
        let mut state = self.shared.lock_state();
        while state.items.is_empty() && !state.closed {
            if doze {
                state.consumer_state = ConsumerState::Dozing;
                (state, _) = self
                    .shared
                    .item_ready
                    .wait_timeout(state, POLL_INTERVAL)
                    .unwrap_or_else(PoisonError::into_inner);
                doze = false;
            } else {
                state.consumer_state = ConsumerState::Parked;
                state = self.shared.item_ready.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.consumer_state = ConsumerState::Busy;
        let item = state.items.pop_front();
        drop(state);
        self.track_flow(item)
    }

    fn track_flow(&mut self, item: Option<QueueItem>) -> Option<QueueItem> {
        if let Some(item) = &item {
            self.flowing = matches!(item, QueueItem::Batch(_));
        }
        item
    }

    /// Nothing more is to come; what is there is still taken.
    pub(crate) fn stop_intake(&self) {
        self.shared.intake_stop.cancel();
        self.shared.space_freed.notify_waiters();
    }

    /// Gives a batch back after use. `taken` is its use when it was popped, since stages may have
    /// changed it.
    pub(crate) fn release(&self, mut batch: Batch, taken: QueueUsage) {
        batch.clear();
        let mut state = self.shared.lock_state();
        state.messages =
            state.messages.saturating_sub(usize::try_from(taken.messages).unwrap_or(0));
        state.bytes = state.bytes.saturating_sub(usize::try_from(taken.bytes).unwrap_or(0));
        state.recycle(batch);
        drop(state);
        self.shared.space_freed.notify_waiters();
    }
}

/// What a batch counts for.
pub(crate) fn batch_usage(batch: &Batch) -> QueueUsage {
    QueueUsage { messages: batch.len() as u64, bytes: batch.capacity() as u64 }
}

/// When the consumer dies, producers must not wait for room that never comes.
impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock_state();
        state.consumer_dropped = true;
        state.items.clear();
        state.messages = 0;
        state.bytes = 0;
        drop(state);
        self.stop_intake();
    }
}

#[cfg(test)]
mod tests;
