//! The sinks that run on one thread and for which that thread waits.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Span, error};

use super::abandoned_sink::AbandonedSink;
use super::flush_scope::FlushScope;
use super::named_plugin::NamedPlugin;
use super::plugin_change::NewSink;
use super::retry_policy::{RetryLimit, RetryPolicy, retry_until};
use super::sink_call::SinkCall;
use super::sink_gone::SinkGone;
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, RejectedMessage, Sink, SourceEvent, Tick};

/// The sinks that run on one thread and for which that thread waits.
///
/// A failed call is retried. A sink that is gone for good is abandoned, and the others continue.
pub(super) struct InlineSinks {
    active: Vec<NamedPlugin<dyn Sink>>,
    abandoned: Vec<AbandonedSink>,
    /// Number of optional sinks that also wait when one of these fails.
    waiting_optional: usize,
    /// Receive time of the last messages.
    last_received: UnixNanos,
    /// Receive time of the first messages since the last flush.
    unflushed_since: Option<UnixNanos>,
    retry_policy: RetryPolicy,
    stats: Arc<PipelineStats>,
}

impl InlineSinks {
    /// Creates the sinks of a thread. `waiting_optional` is the number of optional sinks that also
    /// wait when one of these fails.
    pub(super) fn new(
        sinks: Vec<NamedPlugin<dyn Sink>>,
        waiting_optional: usize,
        retry_policy: RetryPolicy,
        stats: Arc<PipelineStats>,
    ) -> Self {
        Self {
            active: sinks,
            abandoned: Vec::new(),
            waiting_optional,
            last_received: UnixNanos::default(),
            unflushed_since: None,
            retry_policy,
            stats,
        }
    }

    /// Opens every sink, however long it takes.
    pub(super) fn open(&mut self) -> Result<(), SinkGone> {
        let Self { active, retry_policy, stats, .. } = self;
        active.iter_mut().try_for_each(|sink| {
            let limit = RetryLimit::Unlimited;
            retry_until(sink, stats, retry_policy, limit, SinkCall::Open, Sink::open)
        })
    }

    /// Closes the sink of a section, if it is one of these, and drops it, which frees its locks.
    pub(super) fn remove(&mut self, at: UnixNanos, path: &str) {
        for mut sink in self.active.extract_if(.., |sink| sink.is_of_section(path)) {
            let told = sink.plugin.on_event(at, &SourceEvent::Ended { since: None });
            if let Err(error) = told.and(sink.plugin.close()) {
                self.stats.sink_errors.add(1);
                error!(sink = sink.name, error = %error_chain(&*error), "close failed");
            }
        }
    }

    /// Opens a sink, however long that takes, and tells it `events`.
    pub(super) fn add(
        &mut self,
        at: UnixNanos,
        new: NewSink,
        events: &[SourceEvent],
    ) -> Result<(), SinkGone> {
        let NewSink { mut sink, is_open } = new;
        let Self { active, retry_policy, stats, .. } = self;
        if !is_open {
            let limit = RetryLimit::Unlimited;
            retry_until(&mut sink, stats, retry_policy, limit, SinkCall::Open, Sink::open)?;
        }
        for event in events {
            if let Err(error) = sink.plugin.on_event(at, event) {
                stats.sink_errors.add(1);
                error!(sink = sink.name, error = %error_chain(&*error), "{} failed", SinkCall::Event);
            }
        }
        active.push(sink);
        Ok(())
    }

    /// Sets the number of optional sinks that also wait when one of these fails.
    pub(super) fn set_waiting_optional(&mut self, waiting_optional: usize) {
        self.waiting_optional = waiting_optional;
    }

    /// Writes the batch to every sink, however long it takes.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkGone> {
        let messages = batch.len() as u64;
        self.retry_policy.observe_stop();
        self.last_received = batch.received();
        self.unflushed_since.get_or_insert(batch.receipt().sent_since());
        let written = self.retry_each(|sink| sink.write(batch), messages);
        for sink in &mut self.abandoned {
            sink.record_missed(messages, self.last_received);
        }
        written
    }

    /// Writes messages that stages set aside to the sinks that store them.
    pub(super) fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), SinkGone> {
        if rejected.is_empty() {
            return Ok(());
        }
        self.retry_each(
            |sink| if sink.wants_rejected() { sink.write_rejected(rejected) } else { Ok(()) },
            0,
        )
    }

    /// Makes the sinks hand their messages to the operating system.
    pub(super) fn flush(&mut self, scope: FlushScope) -> Result<(), SinkGone> {
        match scope {
            FlushScope::Prompt => self.retry_each(
                |sink| if sink.wants_delayed_flush() { Ok(()) } else { sink.flush() },
                0,
            ),
            FlushScope::All => {
                let flushed = self.retry_each(Sink::flush, 0);
                self.unflushed_since = None;
                flushed
            }
        }
    }

    /// Repeats a call of each sink until it succeeds, and abandons the sinks that are gone. Returns
    /// the first of these.
    fn retry_each(
        &mut self,
        mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
        messages: u64,
    ) -> Result<(), SinkGone> {
        let Self { active, abandoned, retry_policy, stats, .. } = self;
        let mut first_gone = Ok(());
        let mut waiting = active.len() + self.waiting_optional;
        let gone = active.extract_if(.., |sink| {
            let limit =
                if waiting > 1 { RetryLimit::WhileOthersWait } else { RetryLimit::Unlimited };
            match retry_until(sink, stats, retry_policy, limit, SinkCall::Write, &mut attempt) {
                Ok(()) => {
                    sink.stats.taken.add(messages);
                    record_given(sink);
                    false
                }
                Err(gone) => {
                    waiting -= 1;
                    if first_gone.is_ok() {
                        first_gone = Err(gone);
                    }
                    true
                }
            }
        });
        let until = self.last_received;
        let since = self.unflushed_since.unwrap_or(until);
        abandoned.extend(gone.map(|sink| AbandonedSink::new(sink, since, until)));
        first_gone
    }

    /// Returns whether every sink is abandoned.
    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Sends every sink the time.
    pub(super) fn tick(&mut self, tick: Tick) {
        self.retry_policy.observe_stop();
        self.call_each(SinkCall::Tick, |sink| sink.tick(tick));
    }

    /// Sends every sink an event, also those that are abandoned.
    pub(super) fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) {
        self.retry_policy.observe_stop();
        for sink in &mut self.abandoned {
            sink.on_event(at, event);
        }
        self.call_each(SinkCall::Event, |sink| sink.on_event(at, event));
    }

    /// Returns the largest number of messages that a sink has and the operating system has not.
    pub(super) fn buffered(&self) -> u64 {
        self.active.iter().map(|sink| sink.plugin.buffered()).max().unwrap_or(0)
    }

    /// Returns whether a sink that wants no delayed flush has messages that the operating system has
    /// not.
    pub(super) fn holds_joined(&self) -> bool {
        let mut plugins = self.active.iter().map(|sink| &sink.plugin);
        plugins.any(|sink| sink.buffered() > 0 && !sink.wants_delayed_flush())
    }

    /// Returns the largest number of messages that a sink has taken and given up.
    pub(super) fn discarded(&self) -> u64 {
        self.active.iter().map(|sink| sink.plugin.discarded()).max().unwrap_or(0)
    }

    /// Returns the time before which no sink needs a tick, if there is one.
    pub(super) fn idle_until(&self) -> Option<UnixNanos> {
        // An absent time is the lowest.
        self.active.iter().map(|sink| sink.plugin.idle_until()).min().flatten()
    }

    /// Closes every sink and returns a failure, if there is one.
    ///
    /// The sinks are closed side by side: files must not stay open because a program takes its time
    /// to end.
    pub(super) fn close(&mut self) -> Result<(), BoxError> {
        let count = self.active.len();
        let open_sinks = Mutex::new(self.active.iter_mut());
        // An iterator of a slice stays intact whatever happens to the holder of the lock.
        let next_sink = || open_sinks.lock().unwrap_or_else(PoisonError::into_inner).next();
        let close_next = || {
            let mut first = Ok(());
            while let Some(sink) = next_sink() {
                if let Err(error) = sink.plugin.close() {
                    error!(sink = sink.name, error = %error_chain(&*error), "close failed");
                    first = first.and(Err(error));
                }
                record_given(sink);
            }
            first
        };
        let closed = std::thread::scope(|scope| {
            let span = Span::current();
            let helpers = (1..count).map(|_| {
                let span = span.clone();
                // Without a further thread this one closes all sinks.
                std::thread::Builder::new()
                    .name("close".to_owned())
                    .spawn_scoped(scope, move || span.in_scope(close_next))
                    .ok()
            });
            let helpers: Vec<_> = helpers.collect();
            let closed = close_next();
            helpers.into_iter().flatten().fold(closed, |closed, helper| {
                let panicked = |_| Err("a sink panicked while it was closed".into());
                closed.and(helper.join().unwrap_or_else(panicked))
            })
        });
        self.abandoned.iter_mut().for_each(AbandonedSink::report_missed_and_close);
        closed
    }

    fn call_each(
        &mut self,
        call: SinkCall,
        mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
    ) {
        for sink in &mut self.active {
            if let Err(error) = attempt(&mut *sink.plugin) {
                self.stats.sink_errors.add(1);
                sink.stats.errors.add(1);
                let message = error_chain(&*error);
                if sink.record_failure(&message) {
                    error!(sink = sink.name, error = %message, "{call} failed");
                }
            }
        }
    }
}

/// Counts the messages that the sink has handed to the operating system.
fn record_given(sink: &NamedPlugin<dyn Sink>) {
    let kept = sink.plugin.buffered() + sink.plugin.discarded();
    let given = sink.stats.taken.get().saturating_sub(kept);
    sink.stats.given.add(given.saturating_sub(sink.stats.given.get()));
}
