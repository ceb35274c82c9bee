//! The sinks of a pipeline, with the account of what they have written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flush_scope::FlushScope;
use super::plugin_change::SinkChange;
use super::sink_gone::SinkGone;
use super::sinks::Sinks;
use super::source_state::SourceState;
use crate::base::time::UnixNanos;
use crate::metrics::{PipelineStats, QueueUsage};
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, RejectedMessage, SourceEvent, Tick};

/// Time for which sinks that want a delayed flush may keep messages in memory while more arrive.
const MAX_FLUSH_DELAY: Duration = Duration::from_millis(200);
/// Time for which the other sinks may join batches while more wait.
const MAX_JOIN_TIME: Duration = Duration::from_millis(20);

/// The sinks of a pipeline, with the account of what they have written.
pub(super) struct SinkOutput {
    sinks: Sinks,
    stats: Arc<PipelineStats>,
    /// Messages and bytes that are with the sinks and not yet counted as written.
    unwritten: QueueUsage,
    /// Messages that sinks have given up, as far as they are counted.
    discarded: u64,
    /// Time since when sinks keep messages in memory.
    unflushed_since: Option<Instant>,
    /// Time since when sinks that want no delayed flush join batches in memory.
    joined_since: Option<Instant>,
    /// What the sinks know of the source, for those that come later.
    source_state: SourceState,
}

impl SinkOutput {
    pub(super) fn new(sinks: Sinks, stats: Arc<PipelineStats>) -> Self {
        Self {
            sinks,
            stats,
            unwritten: QueueUsage::default(),
            discarded: 0,
            unflushed_since: None,
            joined_since: None,
            source_state: SourceState::default(),
        }
    }

    /// Replaces sinks, after a flush. The new ones are told what the others know of the source.
    pub(super) fn replace_sinks(
        &mut self,
        at: UnixNanos,
        changes: Vec<SinkChange>,
    ) -> Result<(), SinkGone> {
        let replaced = self.sinks.replace(at, changes, &self.source_state.to_events());
        self.discarded = self.sinks.discarded();
        self.record_written();
        replaced
    }

    /// Writes the batch to every sink.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkGone> {
        let written = self.sinks.write(batch);
        self.unwritten.messages += batch.len() as u64;
        self.unwritten.bytes += batch.as_lines().len() as u64;
        self.record_written();
        if self.unwritten.messages > 0 {
            self.unflushed_since.get_or_insert_with(Instant::now);
        }
        if self.unwritten.messages == 0 || !self.sinks.holds_joined() {
            self.joined_since = None;
        } else if self.joined_since.is_none() {
            self.joined_since = Some(Instant::now());
        }
        written
    }

    /// Writes messages that stages set aside.
    pub(super) fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), SinkGone> {
        self.sinks.write_rejected(rejected)
    }

    /// Makes the sinks hand their messages to the operating system.
    pub(super) fn flush(&mut self, scope: FlushScope) -> Result<(), SinkGone> {
        self.joined_since = None;
        let flushed = self.sinks.flush(scope);
        self.record_written();
        if scope == FlushScope::All || self.unwritten.messages == 0 {
            self.unflushed_since = None;
        }
        flushed
    }

    /// Returns whether sinks keep messages in memory.
    pub(super) fn is_unflushed(&self) -> bool {
        self.unflushed_since.is_some()
    }

    /// Returns whether sinks that want no delayed flush keep messages in memory.
    pub(super) fn holds_joined(&self) -> bool {
        self.joined_since.is_some()
    }

    /// Returns the time before which no sink needs a tick, if there is one.
    pub(super) fn idle_until(&self) -> Option<UnixNanos> {
        self.sinks.idle_until().filter(|_| !self.is_unflushed())
    }

    /// Returns the sinks that have kept messages in memory for too long, if there are any.
    pub(super) fn flush_due(&self) -> Option<FlushScope> {
        let is_over =
            |since: Option<Instant>, limit| since.is_some_and(|since| since.elapsed() >= limit);
        if is_over(self.unflushed_since, MAX_FLUSH_DELAY) {
            Some(FlushScope::All)
        } else if is_over(self.joined_since, MAX_JOIN_TIME) {
            Some(FlushScope::Prompt)
        } else {
            None
        }
    }

    /// Returns whether no sink is left.
    pub(super) fn is_empty(&self) -> bool {
        self.sinks.is_empty()
    }

    /// Sends every sink the time.
    pub(super) fn tick(&mut self, tick: Tick) {
        self.sinks.tick(tick);
        self.record_written();
    }

    /// Sends every sink an event of the source.
    pub(super) fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) {
        self.source_state.observe(event);
        self.sinks.on_event(at, event);
    }

    /// Closes every sink and returns the first failure.
    pub(super) fn close(&mut self) -> Result<(), BoxError> {
        self.sinks.close()
    }

    /// Counts the messages that every required sink has handed to the operating system, and those
    /// that one has given up.
    fn record_written(&mut self) {
        let discarded = self.sinks.discarded();
        if discarded > self.discarded {
            let newly_discarded = discarded - self.discarded;
            self.discarded = discarded;
            self.stats.unwritable.add(newly_discarded);
            self.take_unwritten(newly_discarded);
        }
        let written = self.unwritten.messages.saturating_sub(self.sinks.buffered());
        if written == 0 {
            return;
        }
        let QueueUsage { messages, bytes } = self.take_unwritten(written);
        self.stats.written.add(messages);
        self.stats.written_bytes.add(bytes);
    }

    /// Takes this number of messages out of those that are not counted, with their share of the
    /// bytes, which is exact as soon as nothing is kept in memory.
    fn take_unwritten(&mut self, taken: u64) -> QueueUsage {
        let QueueUsage { messages, bytes } = self.unwritten;
        let taken = taken.min(messages);
        let share = if taken == messages {
            bytes
        } else {
            let share = u128::from(bytes) * u128::from(taken) / u128::from(messages);
            u64::try_from(share).expect("a share is not more than the whole")
        };
        self.unwritten = QueueUsage { messages: messages - taken, bytes: bytes - share };
        QueueUsage { messages: taken, bytes: share }
    }
}
