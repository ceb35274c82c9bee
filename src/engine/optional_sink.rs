//! A sink that is not required: it works on a thread of its own, behind a buffer of its own. When it
//! fails or hangs, what does not fit into that buffer is lost to it, and nobody else waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use tracing::{Span, error, warn};

use super::NamedPlugin;
use super::queue::{Consumer, Producer, QueueItem, QueueLimits, batch_queue, batch_usage};
use super::retry_policy::RetryPolicy;
use super::sinks::Sinks;
use crate::base::time::UnixNanos;
use crate::metrics::{Counter, PipelineStats};
use crate::plugin::batch::Batch;
use crate::plugin::{DropCause, Sink, SourceEvent};

/// The end of the buffer at which the other sinks stand.
pub(super) struct OptionalSink {
    name: String,
    producer: Producer,
    finished: Receiver<()>,
    /// Messages that did not fit.
    dropped_messages: Arc<Counter>,
}

/// Gives the sink a thread of its own.
pub(super) fn spawn_optional_sink(
    sink: NamedPlugin<dyn Sink>,
    limits: QueueLimits,
    stats: &Arc<PipelineStats>,
) -> std::io::Result<OptionalSink> {
    let (producer, consumer) = batch_queue(limits);
    let (tell, ended) = channel();
    let dropped = sink.stats.register_counter("dropped");
    let aside = OptionalSink {
        name: sink.name.clone(),
        producer,
        finished: ended,
        dropped_messages: dropped,
    };
    let sinks = Sinks::new(vec![sink], RetryPolicy::default(), Arc::clone(stats));
    let span = Span::current();
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        let _within = span.enter();
        run_sink_thread(sinks, consumer);
        // Whoever waited may have given up.
        let _gone = tell.send(());
    })?;
    Ok(aside)
}

fn run_sink_thread(mut sinks: Sinks, mut consumer: Consumer) {
    let done = sinks.open().and_then(|()| {
        loop {
            let mut item = consumer.try_pop();
            if item.is_none() {
                sinks.flush()?;
                item = consumer.pop();
            }
            match item {
                None => return Ok(()),
                Some(QueueItem::Batch(batch)) => {
                    let taken = batch_usage(&batch);
                    sinks.write(&batch)?;
                    consumer.release(batch, taken);
                }
                Some(QueueItem::Tick(now)) => sinks.tick(now),
                Some(QueueItem::Event(at, event)) => sinks.on_event(at, &event),
            }
        }
    });
    if let Err(gone) = done {
        error!(error = %gone, "a sink that is not required gets no more messages");
    }
    // Told by it.
    drop(sinks.close());
}

impl OptionalSink {
    /// Takes the batch if there is room. What is lost is in the journal, if the sink keeps one.
    pub(super) fn try_push(&mut self, batch: &Batch) {
        if self.producer.is_intake_stopped() {
            self.dropped_messages.add(batch.len() as u64);
        } else if self.producer.try_push(batch.clone_messages()).is_err() {
            let (messages, since) = (batch.len() as u64, batch.received());
            self.dropped_messages.add(messages);
            let cause = DropCause::Overflow;
            self.producer.push_event(since, SourceEvent::Dropped { since, messages, cause });
        }
    }

    pub(super) fn push_event(&mut self, at: UnixNanos, event: &SourceEvent) {
        if !self.producer.is_intake_stopped() {
            self.producer.push_event(at, event.clone());
        }
    }

    pub(super) fn push_tick(&mut self, now: UnixNanos) {
        if !self.producer.is_intake_stopped() {
            self.producer.push_tick(now);
        }
    }

    /// Nothing more comes.
    pub(super) fn close_queue(&mut self) {
        self.producer.finish();
    }

    /// Waits until it is done with what it has.
    pub(super) fn wait_finished(&mut self, deadline: Instant) {
        let patience = deadline.saturating_duration_since(Instant::now());
        if self.finished.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            let messages = self.producer.usage().messages;
            let sink = &self.name;
            warn!(sink, messages, "it is not done, not required, and left behind");
        }
    }
}
