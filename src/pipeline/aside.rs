//! A sink that is not required: it works on a thread of its own, behind a buffer of its own. When it
//! fails or hangs, what does not fit into that buffer is lost to it, and nobody else waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use tracing::{Span, error, warn};

use super::Named;
use super::persist::Patience;
use super::queue::{Consumer, Item, Limits, Producer, queue, weight};
use super::sinks::Sinks;
use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::plugin::{DropCause, FeedEvent, Sink};
use crate::stats::{Counter, Stats};

/// The end of the buffer at which the other sinks stand.
pub(super) struct Aside {
    name: String,
    producer: Producer,
    ended: Receiver<()>,
    /// Messages that did not fit.
    dropped: Arc<Counter>,
}

/// Gives the sink a thread of its own.
pub(super) fn aside(
    sink: Named<dyn Sink>,
    limits: Limits,
    stats: &Arc<Stats>,
) -> std::io::Result<Aside> {
    let (producer, consumer) = queue(limits);
    let (tell, ended) = channel();
    let dropped = sink.stats.counter("dropped");
    let aside = Aside { name: sink.name.clone(), producer, ended, dropped };
    let sinks = Sinks::new(vec![sink], Patience::default(), Arc::clone(stats));
    let span = Span::current();
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        let _within = span.enter();
        run(sinks, consumer);
        // Whoever waited may have given up.
        let _gone = tell.send(());
    })?;
    Ok(aside)
}

fn run(mut sinks: Sinks, mut consumer: Consumer) {
    let done = sinks.open().and_then(|()| {
        loop {
            let mut item = consumer.try_pop();
            if item.is_none() {
                sinks.flush()?;
                item = consumer.pop();
            }
            match item {
                None => return Ok(()),
                Some(Item::Batch(batch)) => {
                    let taken = weight(&batch);
                    sinks.write(&batch)?;
                    consumer.give_back(batch, taken);
                }
                Some(Item::Tick(now)) => sinks.tick(now),
                Some(Item::Event(at, event)) => sinks.event(at, &event),
            }
        }
    });
    if let Err(gone) = done {
        error!(error = %gone, "a sink that is not required gets no more messages");
    }
    // Told by it.
    drop(sinks.close());
}

impl Aside {
    /// Takes the batch if there is room. What is lost is in the journal, if the sink keeps one.
    pub(super) fn write(&mut self, batch: &Batch) {
        if self.producer.is_refused() {
            self.dropped.add(batch.len() as u64);
        } else if self.producer.try_push(batch.copy()).is_err() {
            let (messages, since) = (batch.len() as u64, batch.received());
            self.dropped.add(messages);
            let cause = DropCause::Overflow;
            self.producer.event(since, FeedEvent::Dropped { since, messages, cause });
        }
    }

    pub(super) fn event(&mut self, at: UnixNanos, event: &FeedEvent) {
        if !self.producer.is_refused() {
            self.producer.event(at, event.clone());
        }
    }

    pub(super) fn tick(&mut self, now: UnixNanos) {
        if !self.producer.is_refused() {
            self.producer.tick(now);
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.producer.close();
    }

    /// Waits until it is done with what it has.
    pub(super) fn wait(&mut self, deadline: Instant) {
        let patience = deadline.saturating_duration_since(Instant::now());
        if self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let messages = self.producer.used().messages;
            let sink = &self.name;
            warn!(sink, messages, "it is not done, not required, and left behind");
        }
    }
}
