//! A stage that adds the time of receipt to messages.

use std::io::Write as _;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::json::Pointer;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// Adds the time of receipt, in Unix nanoseconds, to every message.
///
/// By default the unchanged message is wrapped: `{"recv_ns":1700000000000000000,"data":…}`. A message
/// that is no JSON becomes a text: `{"recv_ns":…,"text":"pong"}`. With `key` the time becomes the
/// first key of the message; a message that is no object, or has the key already, fails.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StampConfig {
    /// Key that is added to the message. By default the message is wrapped instead.
    #[schemars(length(min = 1))]
    pub key: Option<String>,
}

impl StageConfig for StampConfig {
    const TYPE: &'static str = "stamp";

    fn build(self, _: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        let Some(key) = self.key else { return Ok(Box::new(StampWrap)) };
        if key.is_empty() {
            return Err("`key` is empty; leave it out to wrap the message".into());
        }
        let pointer = Pointer::parse(&format!("/{}", key.replace('~', "~0").replace('/', "~1")))?;
        Ok(Box::new(StampInsert { pointer, quoted_key: Value::from(key).to_string() }))
    }

    fn example() -> Value {
        json!({ "key": "recv_ns" })
    }
}

/// The variant that wraps the message.
struct StampWrap;

impl Stage for StampWrap {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        let received = batch.received().nanos();
        batch.expand(|record, lines| {
            let is_json = serde_json::from_slice::<IgnoredAny>(record.payload).is_ok();
            let text = if is_json { None } else { Some(std::str::from_utf8(record.payload)?) };
            lines.push_with(|out| {
                // Writing to a Vec cannot fail.
                let _infallible = match text {
                    None => write!(out, r#"{{"recv_ns":{received},"data":"#)
                        .and_then(|()| out.write_all(record.payload)),
                    Some(text) => {
                        write!(out, r#"{{"recv_ns":{received},"text":{}"#, Value::from(text))
                    }
                };
                out.push(b'}');
            });
            Ok(())
        });
        Ok(())
    }

    fn needs_ticks(&self) -> bool {
        false
    }
}

/// The variant that adds a key to the message.
struct StampInsert {
    pointer: Pointer,
    quoted_key: String,
}

impl Stage for StampInsert {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        let received = batch.received().nanos();
        batch.expand(|record, lines| {
            let members = record.payload.trim_ascii().strip_prefix(b"{");
            let members = members.filter(|members| members.ends_with(b"}"));
            let is_json = serde_json::from_slice::<IgnoredAny>(record.payload).is_ok();
            let members = members.filter(|_| is_json);
            let members = members.ok_or("the message is no object")?.trim_ascii_start();
            if self.pointer.find(record.payload).is_some() {
                return Err(format!("the message has the key {} already", self.quoted_key).into());
            }
            let comma = if members == b"}" { "" } else { "," };
            lines.push_with(|out| {
                // Writing to a Vec cannot fail.
                let _infallible = write!(out, "{{{}:{received}{comma}", self.quoted_key);
                out.extend_from_slice(members);
            });
            Ok(())
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
    use crate::stages::stage_harness::{StageHarness, StageOutcome};

    #[test]
    fn json_is_wrapped_verbatim_and_other_text_as_a_string() {
        let mut bench = StageHarness::new::<StampConfig>(json!({})).unwrap();
        let StageOutcome { passed, failures } = bench.run_at(7, &["{\"a\": 1.10 }", "po\"ng", ""]);
        assert_eq!(
            passed,
            [
                r#"{"recv_ns":7000000000,"data":{"a": 1.10 }}"#,
                r#"{"recv_ns":7000000000,"text":"po\"ng"}"#,
                r#"{"recv_ns":7000000000,"text":""}"#,
            ]
        );
        assert!(failures.is_empty());
    }

    #[test]
    fn the_key_is_prepended_to_objects_that_lack_it() {
        let mut bench = StageHarness::new::<StampConfig>(json!({ "key": "t/\"x" })).unwrap();
        let messages = [
            " {\"a\":1}",
            "{ }",
            "[1]",
            "{\"t/\\\"x\":1}",
            "pong",
            "{\"a\":1}{\"b\":2}",
            "{\"a\":1,}",
        ];
        let StageOutcome { passed, failures } = bench.run_at(7, &messages);
        assert_eq!(
            passed,
            [
                r#"{"t/\"x":7000000000,"a":1}"#,
                r#"{"t/\"x":7000000000}"#,
                "[1]",
                r#"{"t/\"x":1}"#,
                "pong",
                r#"{"a":1}{"b":2}"#,
                r#"{"a":1,}"#
            ]
        );
        assert_eq!(failures.len(), 5);
        assert!(failures[1].contains("has the key"));
    }
}
