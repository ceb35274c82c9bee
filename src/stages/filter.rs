//! A stage that keeps or drops messages by a value in them.

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::json::{Pointer, Scalar, scalar_text};
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// Keeps the messages in which the value at `pointer` meets a condition.
///
/// Exactly one of `exists`, `equals`, `in` and `matches` is the condition. A message without a value
/// there, or that is no JSON, does not meet it. Several filters in a row combine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterConfig {
    /// Place of the value in the message, as a JSON Pointer (RFC 6901).
    pub pointer: Pointer,
    /// Condition that there is a value, or with `false` that there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// Condition that the value is this text, number, `true` or `false`. Numbers are compared by
    /// their value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("type" = ["string", "number", "boolean"]))]
    pub equals: Option<Value>,
    /// Condition that the value is one of these texts, numbers, `true` or `false`.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("items" = {"type": ["string", "number", "boolean"]}))]
    pub one_of: Option<Vec<Value>>,
    /// Condition that this regular expression matches somewhere in the text of the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// `true` keeps the messages that meet the condition, `false` those that do not.
    #[serde(default = "FilterConfig::default_keep")]
    pub keep: bool,
}

/// A configuration that makes no filter.
#[derive(Debug, thiserror::Error)]
enum FilterError {
    #[error("write exactly one of `exists`, `equals`, `in` and `matches`; there are {0}")]
    ConditionCount(usize),
    #[error("`{key}` has `{value}`, which is neither a text, a number, true nor false")]
    NotScalar { key: &'static str, value: Value },
    #[error("`matches` is no regular expression: {0}")]
    InvalidRegex(String),
}

impl FilterConfig {
    fn default_keep() -> bool {
        true
    }

    fn condition(&self) -> Result<Condition, FilterError> {
        let Self { exists, equals, one_of, matches, .. } = self;
        match (exists, equals, one_of, matches) {
            (Some(exists), None, None, None) => Ok(Condition::Exists(*exists)),
            (None, Some(value), None, None) => {
                Ok(Condition::OneOf(vec![parse_scalar("equals", value)?]))
            }
            (None, None, Some(values), None) => {
                let values = values.iter().map(|value| parse_scalar("in", value));
                Ok(Condition::OneOf(values.collect::<Result<_, _>>()?))
            }
            (None, None, None, Some(pattern)) => {
                let regex =
                    Regex::new(pattern).map_err(|e| FilterError::InvalidRegex(e.to_string()))?;
                Ok(Condition::Matches(regex))
            }
            _ => {
                let conditions =
                    [exists.is_some(), equals.is_some(), one_of.is_some(), matches.is_some()];
                let count = conditions.into_iter().filter(|is_written| *is_written).count();
                Err(FilterError::ConditionCount(count))
            }
        }
    }
}

impl StageConfig for FilterConfig {
    const TYPE: &'static str = "filter";

    fn example() -> Value {
        json!({ "pointer": "/data/0/s", "in": ["BTCUSDT", "ETHUSDT"] })
    }

    fn build(self, _: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        let condition = self.condition()?;
        Ok(Box::new(Filter { pointer: self.pointer, condition, keep: self.keep }))
    }
}

/// A filter with its condition.
struct Filter {
    pointer: Pointer,
    condition: Condition,
    keep: bool,
}

fn parse_scalar(key: &'static str, value: &Value) -> Result<Scalar, FilterError> {
    Scalar::from_value(value).ok_or_else(|| FilterError::NotScalar { key, value: value.clone() })
}

/// The condition that the value of a message must meet.
enum Condition {
    /// There is a value, or there is none.
    Exists(bool),
    /// The value is one of these.
    OneOf(Vec<Scalar>),
    /// The expression matches somewhere in the text of the value.
    Matches(Regex),
}

impl Filter {
    fn matches(&self, message: &[u8]) -> bool {
        let found = self.pointer.find(message);
        match &self.condition {
            Condition::Exists(exists) => found.is_some() == *exists,
            Condition::OneOf(values) => {
                found.is_some_and(|found| values.iter().any(|value| value.matches(found)))
            }
            Condition::Matches(regex) => {
                found.and_then(scalar_text).is_some_and(|text| regex.is_match(&text))
            }
        }
    }
}

impl Stage for Filter {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        batch.retain(|record| self.matches(record.payload) == self.keep);
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

    const MESSAGES: [&str; 5] = [
        r#"{"s":"BTC","n":1,"b":true}"#,
        r#"{"s":"ETH","n":1.0,"z":null}"#,
        r#"{"s":"B\u0054C","n":"1"}"#,
        r#"{"n":9007199254740993}"#,
        "pong",
    ];

    /// Returns the indices of the messages that pass.
    fn kept_indices(keys: Value) -> Vec<usize> {
        let outcome = StageHarness::new::<FilterConfig>(keys).unwrap().run(&MESSAGES);
        assert!(outcome.failures.is_empty());
        let index = |text: &String| MESSAGES.iter().position(|message| message == text).unwrap();
        outcome.passed.iter().map(index).collect()
    }

    #[test]
    fn messages_are_filtered_by_the_value_at_the_pointer() {
        for (keys, indices) in [
            (json!({"pointer": "/s", "exists": true}), vec![0, 1, 2]),
            (json!({"pointer": "/s", "exists": false}), vec![3, 4]),
            (json!({"pointer": "/z", "exists": true}), vec![1]),
            (json!({"pointer": "/s", "equals": "BTC"}), vec![0, 2]),
            (json!({"pointer": "/s", "equals": "BTC", "keep": false}), vec![1, 3, 4]),
            (json!({"pointer": "/n", "equals": 1}), vec![0, 1]),
            (json!({"pointer": "/n", "equals": "1"}), vec![2]),
            (json!({"pointer": "/n", "equals": 9_007_199_254_740_992_u64}), vec![]),
            (json!({"pointer": "/n", "in": [9_007_199_254_740_993_u64, "1"]}), vec![2, 3]),
            (json!({"pointer": "/b", "equals": true}), vec![0]),
            (json!({"pointer": "/s", "matches": "^(BTC|X)$"}), vec![0, 2]),
            (json!({"pointer": "/n", "matches": "^1"}), vec![0, 1, 2]),
        ] {
            assert_eq!(kept_indices(keys.clone()), indices, "{keys}");
        }
    }

    #[test]
    fn invalid_filters_are_rejected() {
        for (keys, words) in [
            (json!({"pointer": "/s"}), "there are 0"),
            (json!({"pointer": "/s", "exists": true, "equals": 1}), "there are 2"),
            (json!({"pointer": "/s", "in": [{}]}), "`in` has `{}`"),
            (json!({"pointer": "/s", "matches": "("}), "no regular expression"),
            (json!({"pointer": "s", "exists": true}), "not a JSON Pointer"),
        ] {
            let error = StageHarness::new::<FilterConfig>(keys.clone()).err().unwrap().to_string();
            assert!(error.contains(words), "{keys}: {error}");
        }
    }
}
