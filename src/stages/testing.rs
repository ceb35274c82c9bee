//! A stage on its bench.

use std::sync::Arc;

use serde_json::Value;

use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};
use crate::stats::{PluginSnapshot, Stats};

/// A stage that was built from its keys, as the configuration's loader does it.
pub(super) struct Bench {
    pub(super) stage: Box<dyn Stage>,
    context: BuildContext,
}

/// What became of messages: those that went on, and the reasons of those that failed.
pub(super) type Outcome = (Vec<String>, Vec<String>);

impl Bench {
    pub(super) fn new<C: StageConfig>(keys: Value) -> Result<Self, BoxError> {
        let config: C = serde_json::from_value(keys)?;
        let context = BuildContext::new(Vec::new(), Arc::new(Stats::new()), 100);
        Ok(Self { stage: config.build(&context)?, context })
    }

    pub(super) fn run_at(&mut self, seconds: u64, messages: &[&str]) -> Outcome {
        let mut batch = Batch::new();
        for message in messages {
            batch.push(message.as_bytes());
        }
        batch.set_received(UnixNanos::from_seconds(seconds));
        self.stage.process(&mut batch).unwrap();
        let lines = batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap());
        let lines = lines.collect();
        (lines, batch.take_failed().into_iter().map(|failed| failed.reason).collect())
    }

    pub(super) fn run(&mut self, messages: &[&str]) -> Outcome {
        self.run_at(1, messages)
    }

    pub(super) fn lost(&self) -> u64 {
        self.context.stats.stage_lost.get()
    }

    pub(super) fn take_lost(&self) -> (u64, UnixNanos) {
        self.context.stats.take_lost_in_stages()
    }

    pub(super) fn counters(&self) -> PluginSnapshot {
        self.context.plugin.snapshot()
    }
}
