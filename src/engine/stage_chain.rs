//! The stages of a pipeline, in order, with their failures.

use std::sync::Arc;

use tracing::{error, warn};

use super::batch_number::BatchNumber;
use super::named_plugin::NamedPlugin;
use super::shared_labeler::SharedLabeler;
use super::sink_gone::SinkGone;
use super::sink_output::SinkOutput;
use super::stage_backlog::StageBacklog;
use crate::base::error_chain::error_chain;
use crate::base::time::{Receipt, UnixNanos};
use crate::metrics::PipelineStats;
use crate::plugin::batch::{Batch, FailureKind, MessageFailure};
use crate::plugin::{BoxError, DrainStatus, OnError, RejectedMessage, Stage};

/// The stages of a pipeline, in order.
pub(super) struct StageChain {
    stages: Vec<NamedPlugin<dyn Stage>>,
    labeler: SharedLabeler,
    stats: Arc<PipelineStats>,
    /// The batch that stages fill with messages that they held back. It has the receive time of the
    /// last batch.
    held_back: Batch,
    backlog: StageBacklog,
}

impl StageChain {
    pub(super) fn new(
        stages: Vec<NamedPlugin<dyn Stage>>,
        labeler: SharedLabeler,
        stats: Arc<PipelineStats>,
    ) -> Self {
        Self { stages, labeler, stats, held_back: Batch::new(), backlog: StageBacklog::default() }
    }

    /// Goes on with other stages, after [`Self::close`].
    pub(super) fn replace(&mut self, stages: Vec<NamedPlugin<dyn Stage>>) {
        self.stages = stages;
        self.backlog.clear();
    }

    /// Takes the batch through all stages and writes it to the sinks.
    pub(super) fn process(
        &mut self,
        batch: &mut Batch,
        output: &mut SinkOutput,
    ) -> Result<(), SinkGone> {
        let receipt = batch.receipt();
        self.held_back.set_received(receipt.received);
        if self.needs_ticks() {
            // What a mark vouches for must have left the stages.
            let limit = self.complete_until().unwrap_or(receipt.complete_until);
            let complete_until = receipt.complete_until.min(limit);
            batch.set_receipt(Receipt { complete_until, ..receipt });
            self.backlog.push(receipt);
        } else {
            self.backlog.count();
        }
        run_stages(&mut self.stages, batch, output, &self.labeler, &self.stats)
    }

    /// Writes the messages that stages held back and that are ready.
    pub(super) fn drain_ready(&mut self, output: &mut SinkOutput) -> Result<(), SinkGone> {
        if let Some(complete_until) = self.complete_until() {
            let received = self.held_back.received();
            self.held_back.set_receipt(Receipt { received, complete_until });
        }
        // A failure is logged and counted; the stage is called again.
        self.drain_each("collect", Stage::drain_ready, output).map(drop)
    }

    /// Writes all messages that stages held back. Returns the first failure of a stage.
    pub(super) fn close(&mut self, output: &mut SinkOutput) -> Result<Option<BoxError>, SinkGone> {
        self.drain_each("close", Stage::close, output)
    }

    /// Returns the time until which everything that was sent has left the stages; `None` if they hold
    /// nothing back.
    pub(super) fn complete_until(&mut self) -> Option<UnixNanos> {
        let Self { stages, backlog, .. } = self;
        backlog.complete_until(stages.iter().filter_map(|stage| stage.plugin.held_since()))
    }

    /// Returns the number of the last batch.
    pub(super) fn last_number(&self) -> BatchNumber {
        self.backlog.last_number()
    }

    /// Returns whether the stages may hold messages of this batch back, or of one before it.
    pub(super) fn holds_until(&self, number: BatchNumber) -> bool {
        let held = self.stages.iter().filter_map(|stage| stage.plugin.held_since());
        self.backlog.first_held(held).is_some_and(|first| first <= number)
    }

    /// Takes note that the clock shows `to` instead of `from`.
    pub(super) fn on_clock_step(&mut self, from: UnixNanos, to: UnixNanos) {
        self.backlog.on_clock_step(from, to);
    }

    /// Returns whether a stage may have something to return at a tick.
    pub(super) fn needs_ticks(&self) -> bool {
        self.stages.iter().any(|stage| stage.plugin.needs_ticks())
    }

    /// Returns the receive time of the last batch.
    pub(super) fn last_received(&self) -> UnixNanos {
        self.held_back.received()
    }

    /// Calls each stage until it holds nothing back, and takes what it returns through the stages
    /// behind it. Returns the first failure of a stage.
    fn drain_each(
        &mut self,
        call_name: &str,
        mut call: impl FnMut(&mut (dyn Stage + 'static), &mut Batch) -> Result<DrainStatus, BoxError>,
        output: &mut SinkOutput,
    ) -> Result<Option<BoxError>, SinkGone> {
        let Self { stages, labeler, stats, held_back, .. } = self;
        let mut first_error = None;
        let mut gone = Ok(());
        let mut remaining = stages.as_mut_slice();
        while let Some((stage, behind)) = remaining.split_first_mut() {
            let mut status = DrainStatus::More;
            while status == DrainStatus::More {
                status = call(&mut *stage.plugin, held_back).unwrap_or_else(|error| {
                    stats.stage_errors.add(1);
                    stage.stats.errors.add(1);
                    let message = error_chain(&*error);
                    if stage.record_failure(&message) {
                        error!(stage = stage.name, error = %message, "{call_name} failed");
                    }
                    first_error.get_or_insert(error);
                    DrainStatus::Done
                });
                if !held_back.is_empty() {
                    labeler.attach_topics(held_back);
                    let failures = held_back.take_failures();
                    gone = gone.and(finish_stage(stage, held_back, failures, output, stats));
                    gone = gone.and(run_stages(behind, held_back, output, labeler, stats));
                }
                held_back.clear();
            }
            remaining = behind;
        }
        gone.map(|()| first_error)
    }
}

/// Takes the batch through these stages and writes it to the sinks.
fn run_stages(
    stages: &mut [NamedPlugin<dyn Stage>],
    batch: &mut Batch,
    output: &mut SinkOutput,
    labeler: &SharedLabeler,
    stats: &PipelineStats,
) -> Result<(), SinkGone> {
    let mut gone = Ok(());
    for stage in stages {
        if batch.is_empty() {
            return gone;
        }
        labeler.attach_topics(batch);
        stage.stats.taken.add(batch.len() as u64);
        let failures = match stage.plugin.process(batch) {
            Ok(()) => batch.take_failures(),
            Err(error) => fail_all_messages(batch, &*error),
        };
        gone = gone.and(finish_stage(stage, batch, failures, output, stats));
    }
    if !batch.is_empty() {
        labeler.attach_topics(batch);
        gone = gone.and(output.write(batch));
    }
    gone
}

/// Handles the messages on which the stage failed, and counts the others.
fn finish_stage(
    stage: &mut NamedPlugin<dyn Stage>,
    batch: &mut Batch,
    failures: Vec<MessageFailure>,
    output: &mut SinkOutput,
    stats: &PipelineStats,
) -> Result<(), SinkGone> {
    let mut gone = Ok(());
    if !failures.is_empty() {
        let rejected = handle_failures(stage, batch, failures, stats);
        gone = output.write_rejected(&rejected);
    }
    stage.stats.given.add(batch.len() as u64);
    gone
}

/// Returns a failure of each message.
fn fail_all_messages(
    batch: &mut Batch,
    error: &(dyn std::error::Error + 'static),
) -> Vec<MessageFailure> {
    // Failures that the stage found before its error are among the failures of all.
    drop(batch.take_failures());
    let reason = error_chain(error);
    (0..batch.len())
        .map(|index| MessageFailure { index, reason: reason.clone(), kind: FailureKind::Failed })
        .collect()
}

/// Counts and logs the failures, and removes the messages from the batch that are to be set aside.
fn handle_failures(
    stage: &mut NamedPlugin<dyn Stage>,
    batch: &mut Batch,
    mut failures: Vec<MessageFailure>,
    stats: &PipelineStats,
) -> Vec<RejectedMessage> {
    let is_failed = |failure: &&MessageFailure| failure.kind == FailureKind::Failed;
    let messages = failures.iter().filter(is_failed).count() as u64;
    stats.stage_errors.add(messages);
    stage.stats.errors.add(messages);
    let on_error = stage.common.on_error;
    if let Some(error) = failures.iter().find(is_failed).map(|failure| failure.reason.clone())
        && stage.record_failure("")
    {
        let consequence = match on_error {
            OnError::Reject => "they are set aside",
            OnError::Pass => "they continue unchanged",
        };
        warn!(stage = stage.name, messages, error, "a stage failed on messages; {consequence}");
    }
    failures.retain(|failure| failure.kind == FailureKind::Rejected || on_error == OnError::Reject);
    let mut rejected = Vec::with_capacity(failures.len());
    let received = batch.received();
    batch.extract_failed(&failures, |record, failure| {
        rejected.push(RejectedMessage {
            t: received,
            stage: stage.name.clone(),
            error: failure.reason.clone(),
            topic: record.topic.map(str::to_owned),
            data: match std::str::from_utf8(record.payload) {
                Ok(text) => text.to_owned(),
                Err(_) => record.payload.escape_ascii().to_string(),
            },
        });
    });
    stage.stats.register_counter("rejected").add(rejected.len() as u64);
    if rejected.len() < failures.len() && stage.record_contract_breach() {
        let lost = failures.len() - rejected.len();
        error!(stage = stage.name, lost, "a stage rejects messages that are not in its batch");
    }
    rejected
}
