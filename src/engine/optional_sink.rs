//! A sink with `required: false`: it runs on a thread of its own, behind a queue of its own.
//!
//! While the sink fails or hangs, messages that do not fit into its queue are lost to it, and
//! nobody else waits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use tracing::{Span, error, warn};

use super::flush_scope::FlushScope;
use super::inline_sinks::InlineSinks;
use super::named_plugin::NamedPlugin;
use super::queue::{
    Consumer, Producer, PushError, QueueItem, QueueLimits, batch_queue, batch_usage,
};
use super::retry_policy::RetryPolicy;
use super::sink_gone::SinkGone;
use crate::base::time::UnixNanos;
use crate::metrics::{Counter, PipelineStats};
use crate::plugin::batch::Batch;
use crate::plugin::{DropCause, Sink, SourceEvent, Tick};

/// The pipeline's end of a sink that is not required.
pub(super) struct OptionalSink {
    name: String,
    producer: Producer,
    /// Receives a message when the thread is done, and is closed if the thread panics.
    finished: Receiver<()>,
    /// Messages that the sink did not get.
    dropped_messages: Arc<Counter>,
    stats: Arc<PipelineStats>,
}

/// Starts the thread of a sink.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn spawn_optional_sink(
    sink: NamedPlugin<dyn Sink>,
    limits: QueueLimits,
    stats: &Arc<PipelineStats>,
) -> std::io::Result<OptionalSink> {
    let (producer, consumer) = batch_queue(limits);
    let (finished_sender, finished) = channel();
    let optional = OptionalSink {
        name: sink.name.clone(),
        producer,
        finished,
        dropped_messages: sink.stats.register_counter("dropped"),
        stats: Arc::clone(stats),
    };
    let sinks = InlineSinks::new(vec![sink], 0, RetryPolicy::default(), Arc::clone(stats));
    let span = Span::current();
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        let _within = span.enter();
        run_sink_thread(sinks, consumer);
        // The receiver is gone if the pipeline has given the sink up.
        let _gone = finished_sender.send(());
    })?;
    Ok(optional)
}

fn run_sink_thread(mut sinks: InlineSinks, mut consumer: Consumer) {
    if let Err(gone) = sinks.open().and_then(|()| drain_queue(&mut sinks, &mut consumer)) {
        error!(error = %gone, "a sink that is not required gets no more messages");
    }
    // A failure is logged by `close`; the sink is not required, so nothing else depends on it.
    drop(sinks.close());
}

/// Writes everything that is in the queue, until it is closed and empty.
fn drain_queue(sinks: &mut InlineSinks, consumer: &mut Consumer) -> Result<(), SinkGone> {
    loop {
        let mut item = consumer.try_pop();
        if item.is_none() {
            sinks.flush(FlushScope::All)?;
            item = consumer.pop();
        }
        match item {
            None => return Ok(()),
            Some(QueueItem::Batch(batch)) => {
                let taken = batch_usage(&batch);
                sinks.write(&batch)?;
                consumer.recycle(batch, taken);
                consumer.release_held();
            }
            Some(QueueItem::Tick(tick)) => sinks.tick(tick),
            Some(QueueItem::Event(at, event)) => sinks.on_event(at, &event),
            // The pipeline replaces the sink as a whole, and its stages are before this queue.
            Some(QueueItem::Plugins(..)) => {}
        }
    }
}

impl OptionalSink {
    /// Queues a copy of the batch if there is room, and counts it as dropped if there is none.
    ///
    /// A sink that is there journals the drop. A sink that is gone cannot: its journal ends before.
    pub(super) fn try_push(&mut self, batch: &Batch) {
        let messages = batch.len() as u64;
        if self.producer.is_intake_stopped() {
            self.dropped_messages.add(messages);
            return;
        }
        match self.producer.try_push(batch.clone_messages()) {
            Ok(()) => {}
            Err(PushError::Closed(_)) => self.dropped_messages.add(messages),
            Err(PushError::Full(_)) => {
                self.dropped_messages.add(messages);
                let since = batch.receipt().sent_since();
                let dropped = SourceEvent::Dropped { since, messages, cause: DropCause::Overflow };
                self.producer.push_event(batch.received(), dropped);
            }
        }
    }

    /// Returns whether the sink is that of the section at `path`, such as `sinks[0]`.
    pub(super) fn is_of_section(&self, path: &str) -> bool {
        self.name.split(' ').next() == Some(path)
    }

    /// Queues an event, unless the sink is gone.
    pub(super) fn push_event(&mut self, at: UnixNanos, event: &SourceEvent) {
        if !self.producer.is_intake_stopped() {
            self.producer.push_event(at, event.clone());
        }
    }

    /// Queues the time, unless the sink is gone.
    pub(super) fn push_tick(&mut self, tick: Tick) {
        if !self.producer.is_intake_stopped() {
            self.producer.push_tick(tick);
        }
    }

    /// Closes the queue: the sink drains it and ends.
    pub(super) fn close_queue(&mut self) {
        self.producer.finish();
    }

    /// Waits until the sink has ended, at most until `deadline`.
    pub(super) fn wait_finished(&mut self, deadline: Instant) {
        let sink = &self.name;
        match self.finished.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                let messages = self.producer.usage().messages;
                warn!(sink, messages, "the sink is not done, not required, and left behind");
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.stats.sink_errors.add(1);
                error!(sink, "the thread of the sink died; what was in its buffer is lost");
            }
        }
    }
}
