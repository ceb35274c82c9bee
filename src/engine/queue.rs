//! The queue of a pipeline: items from the network tasks to the pipeline thread.
//!
//! The queue is bounded by messages and by memory. A batch counts until its consumer releases it,
//! so the bound holds for everything that is on its way to disk. Buffers are reused: a released
//! batch is handed out again by [`Producer::take_spare`].

mod popped;
mod queue_item;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::popped::Popped;
pub(crate) use self::queue_item::QueueItem;
use super::plugin_change::PluginChange;
use crate::base::time::UnixNanos;
use crate::metrics::QueueUsage;
use crate::plugin::batch::Batch;
use crate::plugin::{SourceEvent, Tick};

/// Maximum number of empty batches that are kept for reuse.
const MAX_SPARE_BATCHES: usize = 16;
/// Maximum size, in bytes, of an empty batch that is kept for reuse.
const MAX_SPARE_BATCH_BYTES: usize = 512 << 10;
/// Number of empty batches that stay while the queue is idle. Every tick frees one of the others.
const IDLE_SPARE_BATCHES: usize = 2;
/// Factor by which an empty batch may be larger than the batches of the last second. Every tick
/// frees those that are larger, which a burst left.
const SPARE_BATCH_SLACK: usize = 4;
/// Size, in bytes, up to which an empty batch is not too large.
const SMALL_BATCH_BYTES: usize = 16 << 10;
/// Interval at which the consumer polls while messages flow, which is cheaper than to be woken for
/// every batch.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time without items after which a consumer gives its thread up.
const MAX_PARK_TIME: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 5_000 });
/// Amount of queued data, in bytes, from which a dozing consumer is woken.
const WAKE_BYTES: u64 = 128 << 10;
/// Divisor of the memory limit. Beyond this share, a batch that uses less than half of its buffer
/// is moved to a smaller one.
const SHRINK_DIVISOR: u64 = 16;
/// Number of newest items among which a drop event may be merged with an earlier one.
const MERGE_DEPTH: usize = 4;

/// The limits of a queue. A single batch is accepted whatever its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// Creates a queue and returns its two ends.
pub(crate) fn batch_queue(limits: QueueLimits) -> (Producer, Consumer) {
    let shared = Arc::new(QueueShared {
        limits: QueueUsage { messages: limits.messages as u64, bytes: limits.bytes as u64 },
        state: Mutex::default(),
        item_ready: Condvar::new(),
        space_freed: Notify::new(),
        consumer_wanted: Notify::new(),
        intake_stop: CancellationToken::new(),
    });
    let producer = Producer { shared: Arc::clone(&shared) };
    (producer, Consumer { shared, is_flowing: false, held: QueueUsage::default() })
}

struct QueueShared {
    limits: QueueUsage,
    state: Mutex<QueueState>,
    /// Signals the consumer that there is an item, or that the queue is closed.
    item_ready: Condvar,
    /// Signals producers that there may be room.
    space_freed: Notify,
    /// Signals that a consumer that has given its thread up is to run again.
    consumer_wanted: Notify,
    /// Canceled when the queue is to accept no more batches.
    intake_stop: CancellationToken,
}

#[derive(Default)]
struct QueueState {
    items: VecDeque<QueueItem>,
    /// Batches in the queue and with the consumer.
    usage: QueueUsage,
    /// Bytes of the lines in the queue.
    waiting_bytes: u64,
    /// Bytes of the lines of the largest batch since the last tick.
    largest_batch: usize,
    is_closed: bool,
    consumer: ConsumerState,
    /// Time before which no tick wakes the consumer.
    idle_until: UnixNanos,
    /// The last tick that did not wake the consumer. It is the next item.
    deferred_tick: Option<Tick>,
    spare_batches: Vec<Batch>,
}

impl QueueState {
    fn pop_item(&mut self) -> Option<QueueItem> {
        let item = self.items.pop_front();
        if let Some(QueueItem::Batch(batch)) = &item {
            self.waiting_bytes -= batch.as_lines().len() as u64;
        }
        item
    }

    fn recycle(&mut self, batch: Batch) {
        if self.spare_batches.len() < MAX_SPARE_BATCHES && batch.capacity() <= MAX_SPARE_BATCH_BYTES
        {
            self.spare_batches.push(batch);
        }
    }

    /// Takes out the empty batches that are to be freed.
    fn drain_surplus(&mut self) -> Vec<Batch> {
        let needed = std::mem::take(&mut self.largest_batch);
        let limit = SMALL_BATCH_BYTES.max(needed * SPARE_BATCH_SLACK);
        let too_large = |batch: &mut Batch| batch.capacity() > limit;
        let mut surplus: Vec<_> = self.spare_batches.extract_if(.., too_large).collect();
        if self.spare_batches.len() > IDLE_SPARE_BATCHES {
            surplus.extend(self.spare_batches.pop());
        }
        surplus
    }

    /// Returns whether a consumer that dozes is woken for what waits.
    ///
    /// The lines count, and not the memory of their batches, which may still have the size of a
    /// burst. Memory counts only where there may soon be no room.
    fn is_crowded(&self, limits: QueueUsage) -> bool {
        self.waiting_bytes >= WAKE_BYTES
            || self.usage.bytes > limits.bytes / 2
            || self.usage.messages > limits.messages / 2
    }
}

/// The state of the consumer's thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ConsumerState {
    /// The consumer works, and looks for items by itself.
    #[default]
    Busy,
    /// The consumer sleeps for a moment at most.
    Dozing,
    /// The consumer sleeps until it is woken.
    Parked,
    /// The consumer has given its thread up, and needs another one.
    Away,
    /// The consumer is dropped.
    Dropped,
}

impl QueueShared {
    fn lock_state(&self) -> MutexGuard<'_, QueueState> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_item(&self, mut state: MutexGuard<'_, QueueState>, item: QueueItem) {
        let deferred = state.deferred_tick.take();
        state.items.extend(deferred.map(QueueItem::Tick));
        state.items.push_back(item);
        let wake = match state.consumer {
            ConsumerState::Busy | ConsumerState::Dropped => false,
            ConsumerState::Dozing => state.is_crowded(self.limits),
            ConsumerState::Parked | ConsumerState::Away => true,
        };
        if wake {
            self.wake_consumer(state);
        }
    }

    fn wake_consumer(&self, mut state: MutexGuard<'_, QueueState>) {
        if state.consumer == ConsumerState::Dropped {
            return;
        }
        // Once: until the consumer is up, further items need not wake it.
        let was = std::mem::replace(&mut state.consumer, ConsumerState::Busy);
        drop(state);
        if was == ConsumerState::Away {
            self.consumer_wanted.notify_one();
        } else {
            self.item_ready.notify_one();
        }
    }
}

/// The reason why a batch is not in the queue, with the batch.
#[derive(Debug)]
pub(crate) enum PushError {
    /// The queue has no room.
    Full(Batch),
    /// The consumer is dropped: its thread has ended.
    Closed(Batch),
}

/// The network end of a queue. Clones are the same end.
#[derive(Clone)]
pub(crate) struct Producer {
    shared: Arc<QueueShared>,
}

impl Producer {
    /// Puts a batch into the queue without waiting.
    ///
    /// # Errors
    /// [`PushError`], with the batch.
    #[expect(clippy::result_large_err, reason = "the batch is that of the caller")]
    pub(crate) fn try_push(&self, mut batch: Batch) -> Result<(), PushError> {
        let limits = self.shared.limits;
        let mut state = self.shared.lock_state();
        if state.consumer == ConsumerState::Dropped {
            return Err(PushError::Closed(batch));
        }
        let is_crowded = state.usage.bytes > limits.bytes / SHRINK_DIVISOR;
        if is_crowded && batch.as_lines().len() * 2 < batch.capacity() {
            // The consumer is behind: batches that wait should take no more memory than they need.
            batch.shrink_to_fit();
        }
        let added = batch_usage(&batch);
        let messages = state.usage.messages + added.messages;
        let bytes = state.usage.bytes + added.bytes;
        let fits = messages <= limits.messages && bytes <= limits.bytes;
        if state.usage.messages > 0 && !fits {
            return Err(PushError::Full(batch));
        }
        state.usage = QueueUsage { messages, bytes };
        let line_bytes = batch.as_lines().len();
        state.waiting_bytes += line_bytes as u64;
        state.largest_batch = state.largest_batch.max(line_bytes);
        self.shared.push_item(state, QueueItem::Batch(batch));
        Ok(())
    }

    /// Waits for room, then puts the batch into the queue.
    ///
    /// # Errors
    /// The batch, if the consumer is dropped.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a batch that waits is lost with the future.
    pub(crate) async fn push(&self, mut batch: Batch) -> Result<(), Batch> {
        loop {
            // Made before the attempt, so that room that appears in between is not missed.
            let room = self.shared.space_freed.notified();
            match self.try_push(batch) {
                Ok(()) => return Ok(()),
                Err(PushError::Closed(rejected)) => return Err(rejected),
                Err(PushError::Full(rejected)) => batch = rejected,
            }
            room.await;
        }
    }

    /// Sends the consumer the time. Needs no room; adjacent ticks are merged. A consumer that sleeps
    /// and does not need the time is not woken: it gets the tick before the next item.
    pub(crate) fn push_tick(&self, tick: Tick) {
        let mut state = self.shared.lock_state();
        let surplus = state.drain_surplus();
        let sleeps = matches!(state.consumer, ConsumerState::Parked | ConsumerState::Away);
        if sleeps && tick.now < state.idle_until {
            state.deferred_tick = Some(tick);
            drop(state);
        } else if let Some(QueueItem::Tick(last)) = state.items.back_mut() {
            *last = tick;
            drop(state);
        } else {
            state.deferred_tick = None;
            self.shared.push_item(state, QueueItem::Tick(tick));
        }
        // Freed without the lock.
        drop(surplus);
    }

    /// Sends the consumer an event of the source. Needs no room; drops of the same cause are merged
    /// while the queue stands still.
    pub(crate) fn push_event(&self, at: UnixNanos, event: SourceEvent) {
        let mut state = self.shared.lock_state();
        let newest = state.items.iter_mut().rev().take(MERGE_DEPTH);
        if !newest
            .take_while(|item| !matches!(item, QueueItem::Batch(_)))
            .any(|item| item.try_merge(at, &event))
        {
            self.shared.push_item(state, QueueItem::Event(at, event));
        }
    }

    /// Sends the consumer stages and sinks that take the place of others, in their place behind the
    /// messages so far. Needs no room.
    pub(crate) fn push_plugins(&self, at: UnixNanos, change: PluginChange) {
        let state = self.shared.lock_state();
        self.shared.push_item(state, QueueItem::Plugins(at, change));
    }

    /// Returns an empty batch, with a buffer that was used before if there is one.
    pub(crate) fn take_spare(&self) -> Batch {
        self.shared.lock_state().spare_batches.pop().unwrap_or_default()
    }

    /// Takes back a batch that was not needed, for [`Producer::take_spare`].
    pub(crate) fn recycle(&self, mut batch: Batch) {
        batch.clear();
        self.shared.lock_state().recycle(batch);
    }

    /// Returns how full the queue is.
    pub(crate) fn usage(&self) -> QueueUsage {
        self.shared.lock_state().usage
    }

    /// Closes the queue: the consumer drains it and then gets `None`.
    pub(crate) fn finish(&self) {
        let mut state = self.shared.lock_state();
        state.is_closed = true;
        let deferred = state.deferred_tick.take();
        state.items.extend(deferred.map(QueueItem::Tick));
        self.shared.wake_consumer(state);
    }

    /// Waits until a consumer that has given its thread up is to run again.
    pub(crate) async fn consumer_wanted(&self) {
        self.shared.consumer_wanted.notified().await;
    }

    /// Returns whether the consumer wants no more batches.
    pub(crate) fn is_intake_stopped(&self) -> bool {
        self.shared.intake_stop.is_cancelled()
    }

    /// Waits until the consumer wants no more batches.
    pub(crate) async fn intake_stopped(&self) {
        self.shared.intake_stop.cancelled().await;
    }
}

/// The disk end of a queue.
pub(crate) struct Consumer {
    shared: Arc<QueueShared>,
    /// Set if the last item was a batch, so that another is likely to follow soon.
    is_flowing: bool,
    /// Usage of the batches that are recycled and not yet released.
    held: QueueUsage,
}

impl Consumer {
    /// Takes the next item, if there is one.
    pub(crate) fn try_pop(&mut self) -> Option<QueueItem> {
        let item = self.shared.lock_state().pop_item();
        self.track_flow(item)
    }

    /// Takes the next item, and waits for it for a moment if one is likely to follow soon.
    pub(crate) fn pop_timeout(&mut self) -> Option<QueueItem> {
        let mut state = self.shared.lock_state();
        if self.is_flowing && state.items.is_empty() && !state.is_closed {
            state.consumer = ConsumerState::Dozing;
            (state, _) = self
                .shared
                .item_ready
                .wait_timeout(state, POLL_INTERVAL)
                .unwrap_or_else(PoisonError::into_inner);
            state.consumer = ConsumerState::Busy;
        }
        let item = state.pop_item();
        drop(state);
        self.track_flow(item)
    }

    /// Waits for the next item; `None` when the queue is empty and closed.
    pub(crate) fn pop(&mut self) -> Option<QueueItem> {
        loop {
            match self.pop_or_leave(None) {
                Popped::Item(item) => return Some(item),
                Popped::Closed => return None,
                // This consumer keeps its thread.
                Popped::Away => {}
            }
        }
    }

    /// Waits for the next item. A tick before `idle_until` does not end the wait; without that time
    /// every tick does. When nothing comes for some seconds, the caller must give its thread up and
    /// run on when [`Producer::consumer_wanted`] says so.
    pub(crate) fn pop_or_leave(&mut self, idle_until: Option<UnixNanos>) -> Popped {
        let mut doze = self.is_flowing;
        let mut state = self.shared.lock_state();
        state.idle_until = idle_until.unwrap_or_default();
        while state.items.is_empty() && !state.is_closed {
            if doze {
                state.consumer = ConsumerState::Dozing;
                (state, _) = self
                    .shared
                    .item_ready
                    .wait_timeout(state, POLL_INTERVAL)
                    .unwrap_or_else(PoisonError::into_inner);
                doze = false;
            } else {
                state.consumer = ConsumerState::Parked;
                let waited = self.shared.item_ready.wait_timeout(state, MAX_PARK_TIME);
                let timeout;
                (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                if timeout.timed_out() && state.items.is_empty() && !state.is_closed {
                    state.consumer = ConsumerState::Away;
                    return Popped::Away;
                }
            }
        }
        state.consumer = ConsumerState::Busy;
        let item = state.pop_item();
        drop(state);
        self.track_flow(item).map_or(Popped::Closed, Popped::Item)
    }

    fn track_flow(&mut self, item: Option<QueueItem>) -> Option<QueueItem> {
        if let Some(item) = &item {
            self.is_flowing = matches!(item, QueueItem::Batch(_));
        }
        item
    }

    /// Asks producers for no more batches. Batches that arrive all the same are still taken.
    pub(crate) fn stop_intake(&self) {
        self.shared.intake_stop.cancel();
        self.shared.space_freed.notify_waiters();
    }

    /// Takes back a batch after use, for [`Producer::take_spare`]. Its usage, which is `taken`, is
    /// held until [`Consumer::release_held`].
    pub(crate) fn recycle(&mut self, mut batch: Batch, taken: QueueUsage) {
        batch.clear();
        self.held.messages += taken.messages;
        self.held.bytes += taken.bytes;
        self.shared.lock_state().recycle(batch);
    }

    /// Makes room in the queue: the messages of the recycled batches are written.
    pub(crate) fn release_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        if held == QueueUsage::default() {
            return;
        }
        let mut state = self.shared.lock_state();
        state.usage.messages = state.usage.messages.saturating_sub(held.messages);
        state.usage.bytes = state.usage.bytes.saturating_sub(held.bytes);
        drop(state);
        self.shared.space_freed.notify_waiters();
    }
}

/// Returns the share of a queue's limits that a batch takes.
pub(crate) fn batch_usage(batch: &Batch) -> QueueUsage {
    QueueUsage { messages: batch.len() as u64, bytes: batch.capacity() as u64 }
}

/// Frees producers that wait for room, which a dead consumer does not make.
impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock_state();
        state.consumer = ConsumerState::Dropped;
        state.items.clear();
        state.usage = QueueUsage::default();
        state.waiting_bytes = 0;
        drop(state);
        self.stop_intake();
    }
}

#[cfg(test)]
mod tests;
