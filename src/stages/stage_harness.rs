//! A stage on its bench.

use std::sync::Arc;

use serde_json::Value;

use crate::base::time::UnixNanos;
use crate::metrics::{PipelineStats, PluginSnapshot};
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// A stage that was built from its keys, as the configuration's loader does it.
pub(super) struct StageHarness {
    pub(super) stage: Box<dyn Stage>,
    context: BuildContext,
}

/// What became of messages: those that went on, and the reasons of those that failed.
pub(super) type StageOutcome = (Vec<String>, Vec<String>);

impl StageHarness {
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
        let lines = batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
        let lines = lines.collect();
        (lines, batch.take_failures().into_iter().map(|failed| failed.reason).collect())
    }

    pub(super) fn run(&mut self, messages: &[&str]) -> StageOutcome {
        self.run_at(1, messages)
    }

    pub(super) fn lost_messages(&self) -> u64 {
        self.context.stats.stage_lost.get()
    }

    pub(super) fn drain_lost(&self) -> (u64, UnixNanos) {
        self.context.stats.drain_stage_loss()
    }

    pub(super) fn counters(&self) -> PluginSnapshot {
        self.context.plugin_stats.snapshot()
    }
}
