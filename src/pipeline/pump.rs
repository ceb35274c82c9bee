//! The pipeline thread: takes batches from the queue through the stages into the sinks.

use std::sync::Arc;

use tracing::{error, warn};

use super::Named;
use super::queue::{Consumer, Item, weight};
use super::sinks::{SinkGone, Sinks};
use crate::batch::{Batch, Failed, Labeler};
use crate::clock::UnixNanos;
use crate::errors::error_chain;
use crate::plugin::{BoxError, Rejected, Stage};
use crate::registry::OnError;
use crate::stats::Stats;

/// The disk half of a pipeline.
pub(crate) struct Pump {
    pub(super) stages: Vec<Named<dyn Stage>>,
    pub(super) sinks: Sinks,
    pub(super) consumer: Consumer,
    pub(super) stats: Arc<Stats>,
    /// Finds the topics, where somebody asks for them.
    pub(super) labeler: Option<Labeler>,
    /// Messages and bytes that are with the sinks and not yet counted as written.
    pub(super) unwritten: (u64, u64),
    /// Where stages put what they kept back.
    pub(super) kept: Batch,
}

/// Why the pipeline thread did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpError {
    /// A required sink is gone.
    #[error(transparent)]
    Gone(#[from] SinkGone),
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
        let ended = self.work().map_err(PumpError::from);
        ended.and(self.close())
    }

    fn work(&mut self) -> Result<(), SinkGone> {
        loop {
            let item = if let Some(item) = self.consumer.try_pop() {
                item
            } else {
                self.collect()?;
                self.sinks.flush()?;
                self.count_written();
                let Some(item) = self.consumer.pop() else { return Ok(()) };
                item
            };
            match item {
                Item::Batch(batch) => self.batch(batch)?,
                Item::Tick(now) => {
                    self.collect()?;
                    self.sinks.tick(now);
                }
                Item::Event(at, event) => self.sinks.event(at, &event),
            }
        }
    }

    fn batch(&mut self, mut batch: Batch) -> Result<(), SinkGone> {
        let taken = weight(&batch);
        self.kept.set_received(batch.received());
        let through = self.through(0, &mut batch);
        self.consumer.give_back(batch, taken);
        through
    }

    /// Takes the batch through the stages from this one on, and into the sinks.
    fn through(&mut self, first: usize, batch: &mut Batch) -> Result<(), SinkGone> {
        for stage in self.stages.iter_mut().skip(first) {
            if batch.is_empty() {
                return Ok(());
            }
            label(&mut self.labeler, batch);
            stage.stats.taken.add(batch.len() as u64);
            let mut failed = match stage.plugin.process(batch) {
                Ok(()) => batch.take_failed(),
                Err(error) => all_failed(batch, &*error),
            };
            if !failed.is_empty() {
                let rejected = fail(stage, batch, &mut failed, &self.stats);
                self.sinks.reject(&rejected)?;
            }
            stage.stats.given.add(batch.len() as u64);
        }
        if !batch.is_empty() {
            label(&mut self.labeler, batch);
            self.sinks.write(batch)?;
            self.unwritten.0 += batch.len() as u64;
            self.unwritten.1 += batch.as_lines().len() as u64;
            self.count_written();
        }
        Ok(())
    }

    /// Takes what stages kept back and is ready through those behind them.
    fn collect(&mut self) -> Result<(), SinkGone> {
        self.kept_back("collect", |stage, kept| stage.collect(kept)).map(drop)
    }

    /// Gives the first failure.
    fn kept_back(
        &mut self,
        what: &str,
        mut call: impl FnMut(&mut (dyn Stage + 'static), &mut Batch) -> Result<(), BoxError>,
    ) -> Result<Option<BoxError>, SinkGone> {
        let mut first = None;
        for index in 0..self.stages.len() {
            let Some(stage) = self.stages.get_mut(index) else { break };
            let mut kept = std::mem::take(&mut self.kept);
            if let Err(error) = call(&mut *stage.plugin, &mut kept) {
                self.stats.stage_errors.add(1);
                stage.stats.errors.add(1);
                let words = error_chain(&*error);
                if stage.is_news(&words) {
                    error!(stage = stage.name, error = %words, "{what} failed");
                }
                first.get_or_insert(error);
            }
            stage.stats.given.add(kept.len() as u64);
            let through = self.through(index + 1, &mut kept);
            let received = kept.received();
            kept.clear();
            kept.set_received(received);
            self.kept = kept;
            through?;
        }
        Ok(first)
    }

    /// Counts what is with the operating system by now.
    fn count_written(&mut self) {
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
        let stages = self.kept_back("close", |stage, kept| stage.close(kept))?;
        let flushed = self.sinks.flush().map_err(PumpError::from);
        self.count_written();
        let sinks = self.sinks.close().map_err(PumpError::Close);
        flushed.and(stages.map_or(Ok(()), |error| Err(PumpError::Close(error)))).and(sinks)
    }
}

/// Labels messages that are new, from the source or from a stage.
fn label(labeler: &mut Option<Labeler>, batch: &mut Batch) {
    if let Some(labeler) = labeler.as_mut().filter(|_| batch.topics().is_none()) {
        let mut labels = batch.take_labels();
        labeler.label(batch, &mut labels);
        batch.set_topics(labels, Arc::clone(labeler.names()));
    }
}

fn all_failed(batch: &mut Batch, error: &(dyn std::error::Error + 'static)) -> Vec<Failed> {
    // What it had found by then is told by the failure of them all.
    drop(batch.take_failed());
    let reason = error_chain(error);
    (0..batch.len()).map(|index| Failed { index, reason: reason.clone(), reject: false }).collect()
}

/// Counts and tells of the failures; takes out of the batch what is to be set aside.
fn fail(
    stage: &mut Named<dyn Stage>,
    batch: &mut Batch,
    failed: &mut Vec<Failed>,
    stats: &Stats,
) -> Vec<Rejected> {
    let messages = failed.iter().filter(|failed| !failed.reject).count() as u64;
    stats.stage_errors.add(messages);
    stage.stats.errors.add(messages);
    let reject = stage.common.on_error == OnError::Reject;
    if let Some(error) = failed.iter().find(|failed| !failed.reject).map(|f| f.reason.clone())
        && stage.is_news("")
    {
        let then = if reject { "they are set aside" } else { "they go on unchanged" };
        warn!(stage = stage.name, messages, error, "a stage failed on messages; {then}");
    }
    failed.retain(|failed| failed.reject || reject);
    let mut rejected = Vec::with_capacity(failed.len());
    let t: UnixNanos = batch.received();
    batch.set_aside(failed.iter(), |record, failed| {
        rejected.push(Rejected {
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
    stage.stats.counter("rejected").add(rejected.len() as u64);
    rejected
}
