//! A stage that keeps every Nth message.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// Keeps the first of every `every` messages.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// Number of messages of which one is kept. At least 1.
    #[schemars(range(min = 1))]
    pub every: u64,
}

impl StageConfig for SampleConfig {
    const TYPE: &'static str = "sample";

    fn example() -> Value {
        json!({ "every": 100 })
    }

    fn build(self, _: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        if self.every == 0 {
            return Err("`every` is 0; it must be at least 1".into());
        }
        Ok(Box::new(Sample { every: self.every, seen: 0 }))
    }
}

/// A counter of messages.
struct Sample {
    every: u64,
    /// Number of messages since the last that was kept, modulo `every`.
    seen: u64,
}

impl Stage for Sample {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        batch.retain(|_| {
            let keep = self.seen == 0;
            self.seen = (self.seen + 1) % self.every;
            keep
        });
        Ok(())
    }

    fn needs_ticks(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::stage_harness::StageHarness;

    #[test]
    fn every_nth_message_is_kept_over_batches() {
        let mut bench = StageHarness::new::<SampleConfig>(json!({ "every": 3 })).unwrap();
        assert_eq!(bench.run(&["0", "1"]).passed, ["0"]);
        assert_eq!(bench.run(&["2", "3", "4", "5", "6"]).passed, ["3", "6"]);
        assert!(StageHarness::new::<SampleConfig>(json!({ "every": 0 })).is_err());
    }
}
