//! All sinks of a thread, and what is done when one of them cannot do its part.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::error;

use super::named_plugin::NamedPlugin;
use super::optional_sink::OptionalSink;
use super::retry_policy::{RetryPolicy, retry_until};
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, DropCause, RejectedMessage, Sink, SourceEvent};

/// For how long the end of the recording waits for sinks that are not required.
const OPTIONAL_SINK_TIMEOUT: Duration = Duration::from_secs(3);

/// A sink whose destination is gone for good, or that was given up.
#[derive(Debug, thiserror::Error)]
#[error("{sink}")]
pub(crate) struct SinkGone {
    pub(super) sink: String,
    pub(super) source: BoxError,
}

/// The sinks of a thread.
pub(super) struct Sinks {
    /// Those that are required: messages wait for them.
    pub(super) inline: Vec<NamedPlugin<dyn Sink>>,
    /// Those that are not.
    pub(super) optional: Vec<OptionalSink>,
    abandoned: Vec<AbandonedSink>,
    /// When the last messages were received, and the first since all was flushed.
    last_received: UnixNanos,
    unflushed_since: Option<UnixNanos>,
    retry_policy: RetryPolicy,
    stats: Arc<PipelineStats>,
}

/// A sink that is gone. It is closed last, lest the others wait for that.
struct AbandonedSink {
    sink: NamedPlugin<dyn Sink>,
    /// What it did not get, and of what time.
    missed_messages: u64,
    missed_since: UnixNanos,
    missed_until: UnixNanos,
}

impl AbandonedSink {
    /// Tells it what it did not get, for its account, and closes it.
    fn report_missed_and_close(&mut self) {
        let plugin = &mut self.sink.plugin;
        // It has said why it fails.
        drop(plugin.flush());
        let (messages, since, cause) =
            (self.missed_messages + plugin.buffered(), self.missed_since, DropCause::GivenUp);
        if messages > 0 {
            drop(
                plugin
                    .on_event(self.missed_until, &SourceEvent::Dropped { since, messages, cause }),
            );
        }
        drop(plugin.close());
    }
}

impl Sinks {
    pub(super) fn new(
        all: Vec<NamedPlugin<dyn Sink>>,
        patience: RetryPolicy,
        stats: Arc<PipelineStats>,
    ) -> Self {
        let (asides, gone, last) = (Vec::new(), Vec::new(), UnixNanos::default());
        Self {
            inline: all,
            optional: asides,
            abandoned: gone,
            last_received: last,
            unflushed_since: None,
            retry_policy: patience,
            stats,
        }
    }

    /// Every sink opens what it needs, however long it takes.
    pub(super) fn open(&mut self) -> Result<(), SinkGone> {
        let (stats, patience) = (&self.stats, &mut self.retry_policy);
        let mut all = self.inline.iter_mut();
        all.try_for_each(|sink| retry_until(sink, stats, patience, false, "open", Sink::open))
    }

    /// Every sink takes the batch, however long it takes: meanwhile the queue fills and `overflow`
    /// decides. One that is gone is closed and left out from then on.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkGone> {
        for aside in &mut self.optional {
            aside.try_push(batch);
        }
        let messages = batch.len() as u64;
        self.retry_policy.observe_stop();
        self.last_received = batch.received();
        self.unflushed_since.get_or_insert(self.last_received);
        let written = self.retry_each(|sink| sink.write(batch), messages);
        for left in &mut self.abandoned {
            (left.missed_messages, left.missed_until) =
                (left.missed_messages + messages, self.last_received);
        }
        written
    }

    /// Those sinks that keep what stages set aside take it.
    pub(super) fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), SinkGone> {
        if rejected.is_empty() {
            return Ok(());
        }
        self.retry_each(
            |sink| if sink.wants_rejected() { sink.write_rejected(rejected) } else { Ok(()) },
            0,
        )
    }

    /// Every sink hands to the operating system what it has.
    pub(super) fn flush(&mut self) -> Result<(), SinkGone> {
        let flushed = self.retry_each(Sink::flush, 0);
        self.unflushed_since = None;
        flushed
    }

    fn retry_each(
        &mut self,
        mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
        messages: u64,
    ) -> Result<(), SinkGone> {
        let mut first = Ok(());
        let mut index = 0;
        while index < self.inline.len() {
            let others = self.inline.len() + self.optional.len() > 1;
            let Some(sink) = self.inline.get_mut(index) else { break };
            let (stats, patience) = (&self.stats, &mut self.retry_policy);
            match retry_until(sink, stats, patience, others, "write", &mut attempt) {
                Ok(()) => {
                    sink.stats.taken.add(messages);
                    record_given(sink);
                    index += 1;
                }
                Err(gone) => {
                    let (sink, until) = (self.inline.remove(index), self.last_received);
                    let since = self.unflushed_since.unwrap_or(until);
                    self.abandoned.push(AbandonedSink {
                        sink,
                        missed_messages: 0,
                        missed_since: since,
                        missed_until: until,
                    });
                    first = first.and(Err(gone));
                }
            }
        }
        first
    }

    /// Whether no sink is left.
    pub(super) fn is_empty(&self) -> bool {
        self.inline.is_empty() && self.optional.is_empty()
    }

    pub(super) fn tick(&mut self, now: UnixNanos) {
        self.retry_policy.observe_stop();
        for aside in &mut self.optional {
            aside.push_tick(now);
        }
        self.call_each("tick", |sink| sink.tick(now));
    }

    pub(super) fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) {
        self.retry_policy.observe_stop();
        for left in &mut self.abandoned {
            // What it can note for its account it does.
            drop(left.sink.plugin.on_event(at, event));
        }
        for aside in &mut self.optional {
            aside.push_event(at, event);
        }
        self.call_each("event", |sink| sink.on_event(at, event));
    }

    /// The most messages that one of them has and that are not with the operating system.
    pub(super) fn buffered(&self) -> u64 {
        self.inline.iter().map(|sink| sink.plugin.buffered()).max().unwrap_or(0)
    }

    /// Closes all of them and gives the first failure.
    pub(super) fn close(&mut self) -> Result<(), BoxError> {
        // They end while the others do.
        self.optional.iter_mut().for_each(OptionalSink::close_queue);
        let mut first = Ok(());
        for sink in &mut self.inline {
            if let Err(error) = sink.plugin.close() {
                error!(sink = sink.name, error = %error_chain(&*error), "close failed");
                first = first.and(Err(error));
            }
            record_given(sink);
        }
        self.abandoned.iter_mut().for_each(AbandonedSink::report_missed_and_close);
        let deadline = Instant::now() + OPTIONAL_SINK_TIMEOUT;
        for aside in &mut self.optional {
            aside.wait_finished(deadline);
        }
        first
    }

    fn call_each(
        &mut self,
        what: &str,
        mut call: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
    ) {
        for sink in &mut self.inline {
            if let Err(error) = call(&mut *sink.plugin) {
                self.stats.sink_errors.add(1);
                sink.stats.errors.add(1);
                let words = error_chain(&*error);
                // What fails every second is told once a minute.
                if sink.record_failure(&words) {
                    error!(sink = sink.name, error = %words, "{what} failed");
                }
            }
        }
    }
}

/// What the sink has taken and not kept in memory.
fn record_given(sink: &NamedPlugin<dyn Sink>) {
    let given = sink.stats.taken.get().saturating_sub(sink.plugin.buffered());
    sink.stats.given.add(given.saturating_sub(sink.stats.given.get()));
}
