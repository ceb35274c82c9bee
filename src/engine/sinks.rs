//! All sinks of a pipeline.

use std::time::{Duration, Instant};

use super::flush_scope::FlushScope;
use super::inline_sinks::InlineSinks;
use super::optional_sink::OptionalSink;
use super::sink_gone::SinkGone;
use crate::base::time::UnixNanos;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, RejectedMessage, SourceEvent, Tick};

/// Time for which the end of the recording waits for sinks that are not required.
const OPTIONAL_SINK_TIMEOUT: Duration = Duration::from_secs(3);

/// All sinks of a pipeline: those that are required, for which messages wait, and the others.
pub(super) struct Sinks {
    required: InlineSinks,
    optional: Vec<OptionalSink>,
}

impl Sinks {
    pub(super) fn new(required: InlineSinks, optional: Vec<OptionalSink>) -> Self {
        Self { required, optional }
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
