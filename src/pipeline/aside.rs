//! A sink that is not required: it works on a thread of its own, behind a buffer of its own. When it
//! fails or hangs, what does not fit into that buffer is lost to it, and nobody else waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tracing::{Span, error, warn};

use super::Named;
use super::queue::{Consumer, Item, Limits, Producer, queue, weight};
use super::sinks::Sinks;
use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::plugin::{BoxError, FeedEvent, Sink};
use crate::stats::{Counter, PluginStats, Stats};

/// For how long the end of the recording waits for such a sink.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of the buffer at which the other sinks stand.
pub(super) struct Aside {
    destination: String,
    topics: bool,
    producer: Producer,
    ended: Receiver<()>,
    /// Messages that did not fit.
    dropped: Arc<Counter>,
    stats: Arc<PluginStats>,
}

/// Gives the sink a thread of its own.
pub(super) fn aside(
    sink: Named<dyn Sink>,
    limits: Limits,
    stats: &Arc<Stats>,
) -> std::io::Result<Named<dyn Sink>> {
    let (producer, consumer) = queue(limits);
    let (tell, ended) = channel();
    let (common, counters) = (sink.common, Arc::clone(&sink.stats));
    let aside = Aside {
        destination: sink.plugin.destination(),
        topics: sink.plugin.wants_topics(),
        producer,
        ended,
        dropped: counters.counter("dropped"),
        stats: Arc::clone(&counters),
    };
    let sinks = Sinks { all: vec![sink], stats: Arc::clone(stats) };
    let span = Span::current();
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        let _within = span.enter();
        run(sinks, consumer);
        // Whoever waited may have given up.
        let _gone = tell.send(());
    })?;
    // What is seen of the thread here is not what the sink itself counts.
    let own = Arc::new(PluginStats::new(counters.name()));
    Ok(Named::new(Box::new(aside), common, own))
}

fn run(mut sinks: Sinks, mut consumer: Consumer) {
    let done = sinks.open().and_then(|()| {
        loop {
            let item = match consumer.try_pop() {
                Some(item) => Some(item),
                None => {
                    sinks.flush()?;
                    consumer.pop()
                }
            };
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

impl Sink for Aside {
    fn destination(&self) -> String {
        self.destination.clone()
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        let lost = self.producer.consumer_gone() || self.producer.try_push(batch.copy()).is_err();
        if lost {
            self.dropped.add(batch.len() as u64);
            self.stats.errors.add(1);
        }
        Ok(())
    }

    fn event(&mut self, at: UnixNanos, event: &FeedEvent) -> Result<(), BoxError> {
        if !self.producer.consumer_gone() {
            self.producer.event(at, event.clone());
        }
        Ok(())
    }

    fn tick(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        if !self.producer.consumer_gone() {
            self.producer.tick(now);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), BoxError> {
        self.producer.close();
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let sink = self.stats.name();
            let messages = self.producer.used().messages;
            warn!(
                sink,
                messages, "not done after {PATIENCE:?}; it is not required, and left behind"
            );
        }
        Ok(())
    }

    fn wants_topics(&self) -> bool {
        self.topics
    }
}
