//! A stage that lets only JSON pass.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::metrics::Counter;
use crate::plugin::batch::{Batch, MessageVerdict};
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// Checks that every message is valid JSON (RFC 8259).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValidateConfig {
    /// Treatment of a message that is no JSON.
    pub invalid: InvalidAction,
}

/// The treatment of a message that is no JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Invalid")]
pub enum InvalidAction {
    /// The message goes to the `.rejects` file of the hour, with the reason.
    #[default]
    Reject,
    /// The message is dropped and counted.
    Drop,
}

impl StageConfig for ValidateConfig {
    const TYPE: &'static str = "validate";

    fn example() -> Value {
        json!({ "invalid": "reject" })
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        let counter = context.counter("invalid");
        Ok(Box::new(Validate { invalid: self.invalid, counter }))
    }
}

/// A validator with its counter of invalid messages.
struct Validate {
    invalid: InvalidAction,
    counter: Arc<Counter>,
}

impl Stage for Validate {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        batch.apply_verdicts(|record| {
            let Err(error) = serde_json::from_slice::<IgnoredAny>(record.payload) else {
                return MessageVerdict::Keep;
            };
            self.counter.add(1);
            match self.invalid {
                InvalidAction::Reject => MessageVerdict::Reject(error.into()),
                InvalidAction::Drop => MessageVerdict::Drop,
            }
        });
        Ok(())
    }

    fn needs_ticks(&self) -> bool {
        false
    }

    fn can_reject(&self) -> bool {
        self.invalid == InvalidAction::Reject
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::stage_harness::{StageHarness, StageOutcome};

    #[test]
    fn invalid_json_is_dropped_or_rejected_with_the_reason() {
        let messages = ["{\"a\":[1,\"\u{e9}\"]}", "pong", "{} {}", "1e5", ""];
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let mut bench = StageHarness::new::<ValidateConfig>(json!({ "invalid": "drop" })).unwrap();
        assert_eq!(bench.run(&messages).passed, [messages[0], messages[3]]);
        assert_eq!(bench.run(&[&deep]).passed.len(), 1, "depth is not limited");
        assert_eq!(bench.counters().counters["invalid"], 3);
        let mut bench = StageHarness::new::<ValidateConfig>(json!({})).unwrap();
        let StageOutcome { passed, failures } = bench.run(&messages);
        assert_eq!((passed.len(), failures.len()), (5, 3), "the engine removes rejected messages");
        assert!(failures[1].contains("trailing"), "{failures:?}");
    }
}
