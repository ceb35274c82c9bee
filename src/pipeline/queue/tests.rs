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

fn pop_batch(consumer: &mut Consumer) -> (Batch, QueueUse) {
    match consumer.try_pop() {
        Some(Item::Batch(batch)) => {
            let taken = weight(&batch);
            (batch, taken)
        }
        other => panic!("no batch: {other:?}"),
    }
}

#[test]
fn a_batch_counts_until_it_is_given_back() {
    let (producer, mut consumer) = queue(Limits { messages: 3, bytes: 1 << 20 });
    producer.try_push(batch(2)).unwrap();
    let (first, taken) = pop_batch(&mut consumer);
    assert!(producer.try_push(batch(2)).is_err(), "still being written");
    consumer.give_back(first, taken);
    producer.try_push(batch(2)).unwrap();
    producer.try_push(batch(1)).unwrap();
    assert!(producer.try_push(batch(1)).is_err());
}

#[test]
fn memory_is_a_limit_of_its_own() {
    let (producer, _consumer) = queue(Limits { messages: 1_000, bytes: 100 });
    producer.try_push(batch(10)).unwrap();
    assert!(producer.try_push(batch(50)).is_err());
}

#[test]
fn one_batch_always_fits_however_large() {
    let (producer, mut consumer) = queue(Limits { messages: 1, bytes: 1 });
    producer.try_push(batch(500)).unwrap();
    let (big, taken) = pop_batch(&mut consumer);
    consumer.give_back(big, taken);
    assert_eq!(producer.used(), QueueUse::default());
}

#[test]
fn a_waiting_batch_takes_no_more_memory_than_it_needs() {
    let (producer, _consumer) = queue(Limits { messages: 1_000, bytes: 4 << 20 });
    producer.try_push(batch(1)).unwrap();
    for _ in 0..100 {
        let mut roomy = Batch::new();
        roomy.take_lines(&mut Vec::with_capacity(256 << 10), &mut Vec::new());
        roomy.push(b"x");
        producer.try_push(roomy).unwrap();
    }
    assert!(producer.used().bytes < 600 << 10, "{:?}", producer.used());
}

#[test]
fn buffers_go_round() {
    let (producer, mut consumer) = queue(Limits { messages: 10, bytes: 1 << 20 });
    producer.try_push(batch(5)).unwrap();
    let (used, taken) = pop_batch(&mut consumer);
    consumer.give_back(used, taken);
    let spare = producer.spare();
    assert!(spare.is_empty() && spare.capacity() > 0);
}

#[test]
fn ticks_next_to_each_other_become_one() {
    let (producer, mut consumer) = queue(Limits { messages: 10, bytes: 1 << 20 });
    producer.tick(UnixNanos::new(1));
    producer.tick(UnixNanos::new(2));
    producer.try_push(batch(1)).unwrap();
    producer.tick(UnixNanos::new(3));
    assert!(matches!(consumer.pop(), Some(Item::Tick(t)) if t.nanos() == 2));
    assert!(matches!(consumer.pop(), Some(Item::Batch(_))));
    assert!(matches!(consumer.pop(), Some(Item::Tick(t)) if t.nanos() == 3));
}

#[test]
fn a_closed_queue_is_drained_first() {
    let (producer, mut consumer) = queue(Limits { messages: 10, bytes: 1 << 20 });
    producer.try_push(batch(1)).unwrap();
    producer.close();
    assert!(matches!(consumer.pop(), Some(Item::Batch(_))));
    assert!(consumer.pop().is_none());
}

#[tokio::test]
async fn a_producer_waits_for_room_and_loses_nothing() {
    let (producer, mut consumer) = queue(Limits { messages: 4, bytes: 1 << 20 });
    let thread = std::thread::spawn(move || {
        let mut seen = 0;
        while let Some(item) = consumer.pop() {
            if let Item::Batch(batch) = item {
                let taken = weight(&batch);
                seen += batch.len();
                consumer.give_back(batch, taken);
            }
        }
        seen
    });
    for _ in 0..10_000 {
        producer.push(batch(3)).await;
    }
    producer.close();
    assert_eq!(thread.join().unwrap(), 30_000);
}

#[tokio::test]
async fn a_dead_consumer_does_not_hold_up_the_producer() {
    let (producer, consumer) = queue(Limits { messages: 1, bytes: 1 << 20 });
    producer.push(batch(1)).await;
    let waiting = producer.push(batch(1));
    drop(consumer);
    waiting.await;
    assert!(producer.is_refused());
}

#[test]
fn what_is_dropped_while_nothing_is_taken_out_is_one_event() {
    let (producer, mut consumer) = queue(Limits { messages: 10, bytes: 1 << 20 });
    let dropped = |cause| FeedEvent::Dropped { since: UnixNanos::new(1), messages: 5, cause };
    for second in 0..1_000 {
        producer.event(UnixNanos::new(second), dropped(DropCause::Overflow));
        producer.event(UnixNanos::new(second), dropped(DropCause::Undecodable));
        producer.tick(UnixNanos::new(second));
    }
    let mut events = Vec::new();
    while let Some(item) = consumer.try_pop() {
        if let Item::Event(at, event) = item {
            events.push((at.nanos(), event));
        }
    }
    let sum = |cause| FeedEvent::Dropped { since: UnixNanos::new(1), messages: 5_000, cause };
    assert_eq!(events, [(999, sum(DropCause::Overflow)), (999, sum(DropCause::Undecodable))]);
}
