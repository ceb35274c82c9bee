//! The `partition` key of the jsonl sink.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::base::json::Selector;
use crate::base::suggest::did_you_mean;

/// The way in which lines are shared out over files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partition {
    /// One file for all lines.
    None,
    /// A file for each topic, which the source finds in the message.
    Topic,
    /// A file for each topic, which the selector finds in the line.
    By(Selector),
}

impl<'de> Deserialize<'de> for Partition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match value.as_str() {
            Some("none") => Ok(Self::None),
            Some("topic") => Ok(Self::Topic),
            Some(text) if !text.contains('/') => {
                let hint = did_you_mean(text, ["topic", "none"]);
                let known = "known: topic, none, or a JSON Pointer such as \"/data/0/s\"";
                Err(D::Error::custom(format!("unknown value `{text}`{hint}; {known}")))
            }
            _ => Selector::deserialize(value).map(Self::By).map_err(D::Error::custom),
        }
    }
}

impl Serialize for Partition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Topic => serializer.serialize_str("topic"),
            Self::By(selector) => selector.serialize(serializer),
        }
    }
}

impl JsonSchema for Partition {
    fn schema_name() -> Cow<'static, str> {
        "Partition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let selector = generator.subschema_for::<Selector>();
        json_schema!({ "anyOf": [{ "enum": ["topic", "none"] }, selector] })
    }
}
