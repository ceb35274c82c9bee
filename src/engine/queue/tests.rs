//! The bound, the order, and the end of the queue.

use super::*;
use crate::plugin::DropCause;

fn batch(messages: usize) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..messages {
        batch.push(b"x");
    }
    batch
}

fn pop_batch(consumer: &mut Consumer) -> (Batch, QueueUsage) {
    match consumer.try_pop() {
        Some(QueueItem::Batch(batch)) => {
            let taken = batch_usage(&batch);
            (batch, taken)
        }
        other => panic!("not a batch: {other:?}"),
    }
}

#[test]
fn a_batch_counts_until_it_is_released() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 3, bytes: 1 << 20 });
    producer.try_push(batch(2)).unwrap();
    let (first, taken) = pop_batch(&mut consumer);
    assert!(producer.try_push(batch(2)).is_err(), "with the consumer");
    consumer.recycle(first, taken);
    consumer.release_held();
    producer.try_push(batch(2)).unwrap();
    producer.try_push(batch(1)).unwrap();
    assert!(producer.try_push(batch(1)).is_err());
}

#[test]
fn the_byte_limit_holds_apart_from_the_message_limit() {
    let (producer, _consumer) = batch_queue(QueueLimits { messages: 1_000, bytes: 100 });
    producer.try_push(batch(10)).unwrap();
    assert!(producer.try_push(batch(50)).is_err());
}

#[test]
fn one_batch_always_fits_however_large() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 1, bytes: 1 });
    producer.try_push(batch(500)).unwrap();
    let (big, taken) = pop_batch(&mut consumer);
    consumer.recycle(big, taken);
    consumer.release_held();
    assert_eq!(producer.usage(), QueueUsage::default());
}

#[test]
fn a_queued_batch_is_shrunk_when_the_queue_is_crowded() {
    let (producer, _consumer) = batch_queue(QueueLimits { messages: 1_000, bytes: 4 << 20 });
    producer.try_push(batch(1)).unwrap();
    for _ in 0..100 {
        let mut roomy = Batch::new();
        roomy.swap_in_lines(&mut Vec::with_capacity(256 << 10), &mut Vec::new());
        roomy.push(b"x");
        producer.try_push(roomy).unwrap();
    }
    assert!(producer.usage().bytes < 600 << 10, "{:?}", producer.usage());
}

/// Returns a batch of one line of `length` bytes in a buffer of `capacity` bytes.
fn roomy_batch(length: usize, capacity: usize) -> Batch {
    let mut batch = Batch::new();
    batch.swap_in_lines(&mut Vec::with_capacity(capacity), &mut Vec::new());
    batch.push(&vec![b'x'; length - 1]);
    batch
}

#[test]
fn the_lines_that_wait_wake_the_consumer_and_not_the_memory_of_a_burst() {
    let limits = QueueLimits { messages: 10_000, bytes: 64 << 20 };
    let (producer, mut consumer) = batch_queue(limits);
    let doze = |producer: &Producer| {
        producer.shared.lock_state().consumer = ConsumerState::Dozing;
    };
    let is_dozing =
        |producer: &Producer| producer.shared.lock_state().consumer == ConsumerState::Dozing;
    doze(&producer);
    for _ in 0..90 {
        producer.try_push(roomy_batch(1_300, 512 << 10)).unwrap();
    }
    assert!(is_dozing(&producer), "117 kB wait, in 45 MB of memory");
    producer.try_push(roomy_batch(20_000, 20_000)).unwrap();
    assert!(!is_dozing(&producer), "137 kB wait");
    while let Some(QueueItem::Batch(batch)) = consumer.try_pop() {
        let taken = batch_usage(&batch);
        consumer.recycle(batch, taken);
    }
    consumer.release_held();
    doze(&producer);
    producer.try_push(roomy_batch(100_000, 100_000)).unwrap();
    assert!(is_dozing(&producer), "what was taken does not wait");
}

#[test]
fn a_consumer_is_woken_before_there_is_no_room() {
    for limits in [
        QueueLimits { messages: 10, bytes: 1 << 20 },
        QueueLimits { messages: 100, bytes: 100_000 },
    ] {
        let (producer, _consumer) = batch_queue(limits);
        producer.shared.lock_state().consumer = ConsumerState::Dozing;
        for _ in 0..6 {
            producer.try_push(roomy_batch(10_000, 10_000)).unwrap();
        }
        assert_eq!(producer.shared.lock_state().consumer, ConsumerState::Busy, "{limits:?}");
    }
}

#[test]
fn the_memory_of_a_burst_is_freed_when_it_is_over() {
    let limits = QueueLimits { messages: 10_000, bytes: 64 << 20 };
    let (producer, mut consumer) = batch_queue(limits);
    let mut pass = |batches: usize, length: usize| {
        for _ in 0..batches {
            let mut batch = producer.take_spare();
            batch.push(&vec![b'x'; length]);
            producer.try_push(batch).unwrap();
        }
        while let Some(item) = consumer.try_pop() {
            if let QueueItem::Batch(batch) = item {
                let taken = batch_usage(&batch);
                consumer.recycle(batch, taken);
                consumer.release_held();
            }
        }
        producer.push_tick(UnixNanos::new(1).into());
        let state = producer.shared.lock_state();
        state.spare_batches.iter().map(Batch::capacity).collect::<Vec<_>>()
    };
    let burst = pass(8, 100_000);
    assert!(burst.iter().all(|capacity| *capacity >= 100_000) && burst.len() >= 7, "{burst:?}");
    pass(4, 1_300);
    let quiet = pass(4, 1_300);
    assert!(quiet.iter().all(|capacity| *capacity < 16 << 10), "{quiet:?}");
}

#[test]
fn released_buffers_are_reused() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    producer.try_push(batch(5)).unwrap();
    let (used, taken) = pop_batch(&mut consumer);
    consumer.recycle(used, taken);
    consumer.release_held();
    let spare = producer.take_spare();
    assert!(spare.is_empty() && spare.capacity() > 0);
}

#[test]
fn adjacent_ticks_are_merged() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    producer.push_tick(UnixNanos::new(1).into());
    producer.push_tick(UnixNanos::new(2).into());
    producer.try_push(batch(1)).unwrap();
    producer.push_tick(UnixNanos::new(3).into());
    assert!(matches!(consumer.pop(), Some(QueueItem::Tick(t)) if t.now.nanos() == 2));
    assert!(matches!(consumer.pop(), Some(QueueItem::Batch(_))));
    assert!(matches!(consumer.pop(), Some(QueueItem::Tick(t)) if t.now.nanos() == 3));
}

#[test]
fn a_closed_queue_is_drained_first() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    producer.try_push(batch(1)).unwrap();
    producer.finish();
    assert!(matches!(consumer.pop(), Some(QueueItem::Batch(_))));
    assert!(consumer.pop().is_none());
}

#[tokio::test]
async fn a_producer_waits_for_room_and_loses_nothing() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 4, bytes: 1 << 20 });
    let thread = std::thread::spawn(move || {
        let mut seen = 0;
        while let Some(item) = consumer.pop() {
            if let QueueItem::Batch(batch) = item {
                let taken = batch_usage(&batch);
                seen += batch.len();
                consumer.recycle(batch, taken);
                consumer.release_held();
            }
        }
        seen
    });
    for _ in 0..10_000 {
        producer.push(batch(3)).await.unwrap();
    }
    producer.finish();
    assert_eq!(thread.join().unwrap(), 30_000);
}

#[tokio::test]
async fn a_dropped_consumer_unblocks_the_producer_and_rejects_its_batch() {
    let (producer, consumer) = batch_queue(QueueLimits { messages: 1, bytes: 1 << 20 });
    producer.push(batch(1)).await.unwrap();
    let waiting = producer.push(batch(1));
    drop(consumer);
    assert_eq!(waiting.await.unwrap_err().len(), 1, "it was not written");
    assert!(matches!(producer.try_push(batch(2)), Err(PushError::Closed(lost)) if lost.len() == 2));
    assert!(producer.is_intake_stopped());
}

#[test]
fn drops_are_merged_into_one_event_per_cause() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    let dropped = |cause| SourceEvent::Dropped { since: UnixNanos::new(1), messages: 5, cause };
    for second in 0..1_000 {
        producer.push_event(UnixNanos::new(second), dropped(DropCause::Overflow));
        producer.push_event(UnixNanos::new(second), dropped(DropCause::Undecodable));
        producer.push_tick(UnixNanos::new(second).into());
    }
    let mut events = Vec::new();
    while let Some(item) = consumer.try_pop() {
        if let QueueItem::Event(at, event) = item {
            events.push((at.nanos(), event));
        }
    }
    let sum = |cause| SourceEvent::Dropped { since: UnixNanos::new(1), messages: 5_000, cause };
    assert_eq!(events, [(999, sum(DropCause::Overflow)), (999, sum(DropCause::Undecodable))]);
}

#[test]
fn a_tick_that_is_not_needed_wakes_nobody_and_comes_before_the_next_item() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    let state_of = |producer: &Producer| producer.shared.lock_state().consumer;
    for asleep in [ConsumerState::Parked, ConsumerState::Away] {
        {
            let mut state = producer.shared.lock_state();
            state.consumer = asleep;
            state.idle_until = UnixNanos::new(100);
        }
        producer.push_tick(UnixNanos::new(98).into());
        producer.push_tick(UnixNanos::new(99).into());
        assert_eq!(state_of(&producer), asleep);
        producer.try_push(batch(1)).unwrap();
        assert_eq!(state_of(&producer), ConsumerState::Busy);
        assert!(matches!(consumer.pop(), Some(QueueItem::Tick(t)) if t.now.nanos() == 99));
        assert!(matches!(consumer.pop(), Some(QueueItem::Batch(_))));
        producer.shared.lock_state().consumer = asleep;
        producer.push_tick(UnixNanos::new(99).into());
        producer.push_tick(UnixNanos::new(100).into());
        assert_eq!(state_of(&producer), ConsumerState::Busy, "the time has come");
        assert!(matches!(consumer.pop(), Some(QueueItem::Tick(t)) if t.now.nanos() == 100));
        assert!(consumer.try_pop().is_none());
    }
}

#[tokio::test]
async fn a_consumer_without_items_gives_its_thread_up_and_is_called_back() {
    let (producer, mut consumer) = batch_queue(QueueLimits { messages: 10, bytes: 1 << 20 });
    let far = Some(UnixNanos::from_seconds(1_000));
    assert!(matches!(consumer.pop_or_leave(far), Popped::Away));
    producer.push_tick(UnixNanos::new(1).into());
    producer.try_push(batch(1)).unwrap();
    producer.consumer_wanted().await;
    assert!(matches!(consumer.pop_or_leave(far), Popped::Item(QueueItem::Tick(_))));
    assert!(matches!(consumer.pop_or_leave(far), Popped::Item(QueueItem::Batch(_))));
    assert!(matches!(consumer.pop_or_leave(far), Popped::Away));
    producer.finish();
    producer.consumer_wanted().await;
    assert!(matches!(consumer.pop_or_leave(far), Popped::Closed));
}
