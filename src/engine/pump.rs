//! The pipeline thread: takes batches from the queue through the stages into the sinks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::NamedPlugin;
use super::queue::{Consumer, QueueItem, batch_usage};
use super::shared_labeler::SharedLabeler;
use super::sinks::{SinkGone, Sinks};
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;
use crate::metrics::PipelineStats;
use crate::plugin::batch::{Batch, MessageFailure};
use crate::plugin::{BoxError, DropCause, RejectedMessage, SourceEvent, Stage};
use crate::registry::OnError;

/// For how long sinks may keep messages in memory while more come.
const MAX_FLUSH_DELAY: Duration = Duration::from_millis(200);

/// The disk half of a pipeline.
pub(crate) struct Pump {
    pub(super) stages: Vec<NamedPlugin<dyn Stage>>,
    pub(super) sinks: Sinks,
    pub(super) consumer: Consumer,
    pub(super) stats: Arc<PipelineStats>,
    pub(super) labeler: SharedLabeler,
    /// Messages and bytes that are with the sinks and not yet counted as written.
    pub(super) unwritten: (u64, u64),
    /// Since when sinks keep something in memory.
    pub(super) unflushed_since: Option<Instant>,
    /// Where stages put what they kept back.
    pub(super) stage_output: Batch,
    /// The required sink that is gone, while the others get what was received.
    pub(super) lost_sink: Option<SinkGone>,
}

/// Why the pipeline thread did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpError {
    /// A required sink is gone.
    #[error(transparent)]
    SinkGone(#[from] SinkGone),
    /// A stage or a sink could not be closed.
    #[error("the end of the recording could not be made safe")]
    Close(#[source] BoxError),
}

impl Pump {
    /// Runs until the queue is closed and empty, then closes stages and sinks in this order.
    ///
    /// # Errors
    /// A required sink is gone, or the first stage or sink that could not be closed; all are tried.
    pub(crate) fn run(mut self) -> Result<(), PumpError> {
        let ended = self.run_loop().map_err(PumpError::from);
        ended.and(self.close())
    }

    fn run_loop(&mut self) -> Result<(), SinkGone> {
        loop {
            // Many small writes cost more than a moment of waiting for more.
            if self.unflushed_since.is_some_and(|since| since.elapsed() >= MAX_FLUSH_DELAY) {
                self.flush()?;
            }
            let mut next = self.consumer.try_pop();
            if next.is_none() && self.unflushed_since.is_some() {
                next = self.consumer.pop_timeout();
            }
            let item = if let Some(item) = next {
                item
            } else {
                self.flush()?;
                let Some(item) = self.consumer.pop() else { break };
                item
            };
            match item {
                QueueItem::Batch(batch) => {
                    self.defer_sink_loss(|pump| pump.process_batch(batch))?
                }
                QueueItem::Tick(now) => {
                    self.defer_sink_loss(Self::drain_stages)?;
                    self.sinks.tick(now);
                }
                QueueItem::Event(at, event) => self.sinks.on_event(at, &event),
            }
        }
        self.lost_sink.take().map_or(Ok(()), Err)
    }

    /// Every sink hands over what it keeps in memory.
    fn flush(&mut self) -> Result<(), SinkGone> {
        self.unflushed_since = None;
        let flushed = self.defer_sink_loss(|pump| pump.sinks.flush());
        self.record_written();
        flushed
    }

    /// A sink that is gone ends the pipeline, but not before the others have what was received.
    fn defer_sink_loss(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), SinkGone>,
    ) -> Result<(), SinkGone> {
        let Err(gone) = work(self) else { return Ok(()) };
        if self.sinks.is_empty() {
            return Err(gone);
        }
        error!(error = %error_chain(&gone), "a required sink is gone; the others get what was received, then the recording ends");
        self.lost_sink.get_or_insert(gone);
        self.consumer.stop_intake();
        Ok(())
    }

    fn process_batch(&mut self, mut batch: Batch) -> Result<(), SinkGone> {
        let taken = batch_usage(&batch);
        self.stage_output.set_received(batch.received());
        let through = self.run_stages(0, &mut batch);
        self.consumer.release(batch, taken);
        through?;
        self.drain_stages()
    }

    /// Takes the batch through the stages from this one on, and into the sinks.
    fn run_stages(&mut self, first: usize, batch: &mut Batch) -> Result<(), SinkGone> {
        let mut gone = Ok(());
        for index in first..self.stages.len() {
            if batch.is_empty() {
                return gone;
            }
            self.labeler.attach_topics(batch);
            let Some(stage) = self.stages.get_mut(index) else { break };
            stage.stats.taken.add(batch.len() as u64);
            let failed = match stage.plugin.process(batch) {
                Ok(()) => batch.take_failures(),
                Err(error) => fail_all_messages(batch, &*error),
            };
            gone = gone.and(self.finish_stage(index, batch, failed));
        }
        if !batch.is_empty() {
            self.labeler.attach_topics(batch);
            let written = self.sinks.write(batch);
            self.unwritten.0 += batch.len() as u64;
            self.unwritten.1 += batch.as_lines().len() as u64;
            self.record_written();
            if self.unwritten.0 > 0 {
                self.unflushed_since.get_or_insert_with(Instant::now);
            }
            gone = gone.and(written);
        }
        gone
    }

    /// Minds the messages on which the stage failed.
    fn finish_stage(
        &mut self,
        index: usize,
        batch: &mut Batch,
        mut failed: Vec<MessageFailure>,
    ) -> Result<(), SinkGone> {
        let Some(stage) = self.stages.get_mut(index) else { return Ok(()) };
        let mut kept = Ok(());
        if !failed.is_empty() {
            let rejected = handle_failures(stage, batch, &mut failed, &self.stats);
            kept = self.sinks.write_rejected(&rejected);
        }
        stage.stats.given.add(batch.len() as u64);
        kept
    }

    /// Takes what stages kept back and is ready through those behind them.
    fn drain_stages(&mut self) -> Result<(), SinkGone> {
        self.drain_each_stage("collect", Stage::drain_ready).map(drop)
    }

    /// Gives the first failure.
    fn drain_each_stage(
        &mut self,
        what: &str,
        mut call: impl FnMut(&mut (dyn Stage + 'static), &mut Batch) -> Result<bool, BoxError>,
    ) -> Result<Option<BoxError>, SinkGone> {
        let (mut first, mut gone) = (None, Ok(()));
        for index in 0..self.stages.len() {
            let mut more = true;
            while more {
                let Some(stage) = self.stages.get_mut(index) else { break };
                let mut kept = std::mem::take(&mut self.stage_output);
                more = call(&mut *stage.plugin, &mut kept).unwrap_or_else(|error| {
                    self.stats.stage_errors.add(1);
                    stage.stats.errors.add(1);
                    let words = error_chain(&*error);
                    if stage.record_failure(&words) {
                        error!(stage = stage.name, error = %words, "{what} failed");
                    }
                    first.get_or_insert(error);
                    false
                });
                if !kept.is_empty() {
                    self.labeler.attach_topics(&mut kept);
                    let failed = kept.take_failures();
                    gone = gone.and(self.finish_stage(index, &mut kept, failed));
                    gone = gone.and(self.run_stages(index + 1, &mut kept));
                }
                let received = kept.received();
                kept.clear();
                kept.set_received(received);
                self.stage_output = kept;
            }
        }
        gone.map(|()| first)
    }

    /// Counts what is with the operating system by now.
    fn record_written(&mut self) {
        let (messages, bytes) = self.unwritten;
        let written = messages.saturating_sub(self.sinks.buffered());
        if written == 0 {
            return;
        }
        // Exact as soon as nothing is kept back.
        let share = u128::from(bytes) * u128::from(written) / u128::from(messages);
        let share = u64::try_from(share).unwrap_or(bytes);
        self.stats.written.add(written);
        self.stats.written_bytes.add(share);
        self.unwritten = (messages - written, bytes - share);
    }

    fn close(&mut self) -> Result<(), PumpError> {
        let stages = self.drain_each_stage("close", Stage::close);
        // What a stage lost at its end: nobody ticks any more.
        let (messages, since) = self.stats.drain_stage_loss();
        if messages > 0 {
            let now = self.stage_output.received();
            let (since, cause) = (since.min(now), DropCause::Stage);
            self.sinks.on_event(now, &SourceEvent::Dropped { since, messages, cause });
        }
        let flushed = self.sinks.flush().map_err(PumpError::from);
        self.record_written();
        let sinks = self.sinks.close().map_err(PumpError::Close);
        flushed.and(stages?.map_or(Ok(()), |error| Err(PumpError::Close(error)))).and(sinks)
    }
}

fn fail_all_messages(
    batch: &mut Batch,
    error: &(dyn std::error::Error + 'static),
) -> Vec<MessageFailure> {
    // What it had found by then is told by the failure of them all.
    drop(batch.take_failures());
    let reason = error_chain(error);
    (0..batch.len())
        .map(|index| MessageFailure { index, reason: reason.clone(), must_reject: false })
        .collect()
}

/// Counts and tells of the failures; takes out of the batch what is to be set aside.
fn handle_failures(
    stage: &mut NamedPlugin<dyn Stage>,
    batch: &mut Batch,
    failed: &mut Vec<MessageFailure>,
    stats: &PipelineStats,
) -> Vec<RejectedMessage> {
    let messages = failed.iter().filter(|failed| !failed.must_reject).count() as u64;
    stats.stage_errors.add(messages);
    stage.stats.errors.add(messages);
    let reject = stage.common.on_error == OnError::Reject;
    if let Some(error) = failed.iter().find(|failed| !failed.must_reject).map(|f| f.reason.clone())
        && stage.record_failure("")
    {
        let then = if reject { "they are set aside" } else { "they go on unchanged" };
        warn!(stage = stage.name, messages, error, "a stage failed on messages; {then}");
    }
    failed.retain(|failed| failed.must_reject || reject);
    let mut rejected = Vec::with_capacity(failed.len());
    let t: UnixNanos = batch.received();
    batch.extract_failed(failed.iter(), |record, failed| {
        rejected.push(RejectedMessage {
            t,
            stage: stage.name.clone(),
            error: failed.reason.clone(),
            topic: record.topic.map(str::to_owned),
            data: match std::str::from_utf8(record.payload) {
                Ok(text) => text.to_owned(),
                Err(_) => record.payload.escape_ascii().to_string(),
            },
        });
    });
    stage.stats.register_counter("rejected").add(rejected.len() as u64);
    rejected
}
