//! All sinks of a pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::error;

use super::flush_scope::FlushScope;
use super::inline_sinks::InlineSinks;
use super::optional_sink::{OptionalSink, spawn_optional_sink};
use super::plugin_change::SinkChange;
use super::queue::QueueLimits;
use super::sink_gone::SinkGone;
use crate::base::time::UnixNanos;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, RejectedMessage, SourceEvent, Tick};

/// Time for which the end of the recording waits for sinks that are not required.
const OPTIONAL_SINK_TIMEOUT: Duration = Duration::from_secs(3);

/// All sinks of a pipeline: those that are required, for which messages wait, and the others.
pub(super) struct Sinks {
    required: InlineSinks,
    optional: Vec<OptionalSink>,
    /// Limits of the queue of each optional sink.
    limits: QueueLimits,
    stats: Arc<PipelineStats>,
}

impl Sinks {
    pub(super) fn new(
        required: InlineSinks,
        optional: Vec<OptionalSink>,
        limits: QueueLimits,
        stats: Arc<PipelineStats>,
    ) -> Self {
        Self { required, optional, limits, stats }
    }

    /// Closes sinks, and then opens those that take their place. These get `events` first.
    pub(super) fn replace(
        &mut self,
        at: UnixNanos,
        changes: Vec<SinkChange>,
        events: &[SourceEvent],
    ) -> Result<(), SinkGone> {
        let paths = changes.iter().map(|change| format!("sinks[{}]", change.index));
        for path in paths.collect::<Vec<_>>() {
            self.required.remove(at, &path);
            for mut sink in self.optional.extract_if(.., |sink| sink.is_of_section(&path)) {
                sink.push_event(at, &SourceEvent::Ended { since: None });
                sink.close_queue();
                sink.wait_finished(Instant::now() + OPTIONAL_SINK_TIMEOUT);
            }
        }
        let mut result = Ok(());
        for new in changes.into_iter().filter_map(|change| change.sink) {
            if new.sink.common.required {
                result = result.and(self.required.add(at, new, events));
                continue;
            }
            let name = new.sink.name.clone();
            match spawn_optional_sink(new.sink, self.limits, &self.stats) {
                Ok(mut sink) => {
                    for event in events {
                        sink.push_event(at, event);
                    }
                    self.optional.push(sink);
                }
                Err(error) => error!(sink = name, %error, "the system has no thread for the sink"),
            }
        }
        self.required.set_waiting_optional(self.optional.len());
        result
    }

    /// Writes the batch to every required sink, however long it takes: meanwhile the queue fills
    /// and `overflow` decides. The other sinks take it if they have room.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkGone> {
        for sink in &mut self.optional {
            sink.try_push(batch);
        }
        self.required.write(batch)
    }

    /// Writes messages that stages set aside to the required sinks that store them.
    pub(super) fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), SinkGone> {
        self.required.write_rejected(rejected)
    }

    /// Makes the required sinks hand their messages to the operating system.
    pub(super) fn flush(&mut self, scope: FlushScope) -> Result<(), SinkGone> {
        self.required.flush(scope)
    }

    /// Returns whether a required sink that wants no delayed flush has messages that the operating
    /// system has not.
    pub(super) fn holds_joined(&self) -> bool {
        self.required.holds_joined()
    }

    /// Returns whether no sink is left.
    pub(super) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.optional.is_empty()
    }

    /// Sends every sink the time.
    pub(super) fn tick(&mut self, tick: Tick) {
        for sink in &mut self.optional {
            sink.push_tick(tick);
        }
        self.required.tick(tick);
    }

    /// Sends every sink an event of the source.
    pub(super) fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) {
        for sink in &mut self.optional {
            sink.push_event(at, event);
        }
        self.required.on_event(at, event);
    }

    /// Returns the largest number of messages that a required sink has and the operating system has
    /// not.
    pub(super) fn buffered(&self) -> u64 {
        self.required.buffered()
    }

    /// Returns the largest number of messages that a required sink has taken and given up.
    pub(super) fn discarded(&self) -> u64 {
        self.required.discarded()
    }

    /// Returns the time before which no sink needs a tick, if there is one. The threads of optional
    /// sinks get every tick.
    pub(super) fn idle_until(&self) -> Option<UnixNanos> {
        self.required.idle_until().filter(|_| self.optional.is_empty())
    }

    /// Closes every sink and returns the first failure of a required one.
    pub(super) fn close(&mut self) -> Result<(), BoxError> {
        // The optional sinks end while the required ones do.
        self.optional.iter_mut().for_each(OptionalSink::close_queue);
        let closed = self.required.close();
        let deadline = Instant::now() + OPTIONAL_SINK_TIMEOUT;
        for sink in &mut self.optional {
            sink.wait_finished(deadline);
        }
        closed
    }
}
