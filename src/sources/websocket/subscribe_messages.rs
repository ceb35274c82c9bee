//! The key `subscribe`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The messages that subscribe to the topics after every connect.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscribeMessages {
    /// A message in which the string `"{topics}"` becomes the list of topics, or in whose strings
    /// `{topic}` becomes one topic, in which case one message is sent for each topic. Nothing is
    /// sent if there is no topic.
    Template(Value),
    /// Messages that are sent as they are, in order.
    Fixed(Vec<Value>),
}

impl<'de> Deserialize<'de> for SubscribeMessages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Array(messages) => Ok(Self::Fixed(messages)),
            template @ (Value::Object(_) | Value::String(_)) => Ok(Self::Template(template)),
            other => Err(serde::de::Error::custom(format!(
                "`{other}` is neither a message template (an object or a text) nor a list of messages"
            ))),
        }
    }
}

impl Serialize for SubscribeMessages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Template(template) => template.serialize(serializer),
            Self::Fixed(messages) => messages.serialize(serializer),
        }
    }
}

impl JsonSchema for SubscribeMessages {
    fn schema_name() -> Cow<'static, str> {
        "Subscribe".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A message template, in which the string \"{topics}\" becomes the list of topics, or {topic} within a string becomes one topic (one message for each); or a list of messages that are sent as they are, in order. An object is sent as JSON, a string without quotes.",
            "type": ["object", "string", "array"],
            "examples": [
                { "op": "subscribe", "args": "{topics}" },
                { "method": "SUBSCRIBE", "params": "{topics}", "id": 1 },
                [{ "type": "subscribe", "channel": "trades" }]
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_scalar_subscribe_value_is_rejected() {
        assert!(serde_json::from_value::<SubscribeMessages>(json!(5)).is_err());
    }
}
