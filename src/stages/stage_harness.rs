//! A harness for tests of stages.

use std::sync::Arc;

use serde_json::Value;

use crate::base::time::UnixNanos;
use crate::metrics::{PipelineStats, PluginSnapshot, StageLoss};
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// A stage that was built from its keys, as the loader of the configuration does.
pub(super) struct StageHarness {
    pub(super) stage: Box<dyn Stage>,
    context: BuildContext,
}

/// The outcome of a batch.
#[derive(Debug)]
pub(super) struct StageOutcome {
    /// The messages that passed the stage.
    pub(super) passed: Vec<String>,
    /// The reasons of the messages that failed.
    pub(super) failures: Vec<String>,
}

impl StageHarness {
    /// Builds the stage.
    ///
    /// # Errors
    /// The keys make no stage.
    pub(super) fn new<C: StageConfig>(keys: Value) -> Result<Self, BoxError> {
        let config: C = serde_json::from_value(keys)?;
        let context = BuildContext::new(Vec::new(), Arc::new(PipelineStats::new()), 100);
        Ok(Self { stage: config.build(&context)?, context })
    }

    pub(super) fn run_at(&mut self, seconds: u64, messages: &[&str]) -> StageOutcome {
        let mut batch = Batch::new();
        for message in messages {
            batch.push(message.as_bytes());
        }
        batch.set_received(UnixNanos::from_seconds(seconds));
        self.stage.process(&mut batch).unwrap();
        let payloads = batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
        let passed = payloads.collect();
        let failures = batch.take_failures().into_iter().map(|failure| failure.reason).collect();
        StageOutcome { passed, failures }
    }

    pub(super) fn run(&mut self, messages: &[&str]) -> StageOutcome {
        self.run_at(1, messages)
    }

    pub(super) fn lost_messages(&self) -> u64 {
        self.context.stats.stage_lost.get()
    }

    pub(super) fn drain_lost(&self) -> Option<StageLoss> {
        self.context.stats.drain_stage_loss()
    }

    pub(super) fn counters(&self) -> PluginSnapshot {
        self.context.plugin_stats.snapshot()
    }
}
