//! The rules by which a profile classifies the messages of a server.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::base::json::{Pointer, Selector};

/// A rule that classifies a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Pattern of the messages that the rule is for.
    pub when: MessagePattern,
    /// Meaning of the messages.
    pub is: MessageKind,
    /// Pointer to the number of the request that the message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Pointer>,
    /// Selector of the topic that the message is about, spelled as in `topics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Selector>,
    /// Pointer to the list of the topics that the server accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Pointer>,
    /// Pointer to the explanation of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Pointer>,
    /// Message that is sent back, in which `{/ping}` becomes the value of the message at `/ping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Value>,
}

/// The meaning of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The server confirms a subscription: the request with this `id`, this `topic`, those in the
    /// list `topics`, or else the oldest request without an answer.
    Subscribed,
    /// The server rejects a subscription, which is identified in the same way.
    Refused,
    /// The server asks for the `reply`.
    Ping,
    /// The server announces that it will close the connection.
    Notice,
    /// A pong, a heartbeat or an answer to something else. No data.
    Control,
}

/// The pattern of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum MessagePattern {
    /// The text of the whole message.
    Text(String),
    /// A pattern for each of these values, which JSON Pointers address. All of them must match.
    Values(BTreeMap<String, ValuePattern>),
}

/// The pattern of a value in a message.
#[derive(Debug, Clone, PartialEq)]
pub enum ValuePattern {
    /// The value exists, or does not.
    Exists(bool),
    /// The text of the value contains this text.
    Contains(String),
    /// The value is one of these.
    OneOf(Vec<Value>),
    /// The value is this one.
    Equals(Value),
}

impl<'de> Deserialize<'de> for MessagePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(values) => {
                let patterns = values.into_iter().map(|(pointer, value)| {
                    let pattern = ValuePattern::from_json(&pointer, value)?;
                    Ok((pointer, pattern))
                });
                let patterns: Result<_, String> = patterns.collect();
                patterns.map(Self::Values).map_err(D::Error::custom)
            }
            other => Err(D::Error::custom(format!(
                "`{other}` is not a pattern of messages; expected the text of the message, or an object of JSON Pointers such as {{ \"/type\": \"error\" }}"
            ))),
        }
    }
}

impl Serialize for MessagePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Values(values) => values.serialize(serializer),
        }
    }
}

impl ValuePattern {
    /// Reads the pattern of the value at `pointer`. An error names the pointer.
    fn from_json(pointer: &str, json: Value) -> Result<Self, String> {
        let Value::Object(keys) = json else {
            return Ok(match json {
                Value::Array(values) => Self::OneOf(values),
                value => Self::Equals(value),
            });
        };
        let mut keys = keys.into_iter();
        match (keys.next(), keys.next()) {
            (Some((key, Value::Bool(exists))), None) if key == "exists" => Ok(Self::Exists(exists)),
            (Some((key, Value::String(text))), None) if key == "contains" => {
                Ok(Self::Contains(text))
            }
            (Some((key, found)), None) if key == "exists" => {
                Err(format!("`{pointer}`: `exists` is `{found}`; expected true or false"))
            }
            (Some((key, found)), None) if key == "contains" => {
                Err(format!("`{pointer}`: `contains` is `{found}`; expected a text"))
            }
            (Some((key, _)), None) => {
                Err(format!("`{pointer}`: unknown key `{key}`; expected `exists` or `contains`"))
            }
            (None, _) => Err(format!(
                "`{pointer}` is an empty object; expected one with `exists` or `contains`"
            )),
            (Some((first, _)), Some((second, _))) => Err(format!(
                "`{pointer}` has the keys `{first}` and `{second}`; expected either `exists` or `contains`"
            )),
        }
    }
}

impl Serialize for ValuePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exists(exists) => json!({ "exists": exists }).serialize(serializer),
            Self::Contains(text) => json!({ "contains": text }).serialize(serializer),
            Self::OneOf(values) => values.serialize(serializer),
            Self::Equals(value) => value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_written_as_it_was_read() {
        for text in
            [r#""pong""#, r#"{"/a":{"exists":false},"/b":{"contains":"x"},"/c":[1,"2"],"/d":true}"#]
        {
            let pattern: MessagePattern = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&pattern).unwrap(), text);
        }
    }

    #[test]
    fn an_invalid_pattern_names_the_pointer_what_was_found_and_what_is_expected() {
        for (text, message) in [
            (
                "5",
                r#"`5` is not a pattern of messages; expected the text of the message, or an object of JSON Pointers such as { "/type": "error" }"#,
            ),
            (
                r#"{"/op": {"exists": "yes"}}"#,
                r#"`/op`: `exists` is `"yes"`; expected true or false"#,
            ),
            (r#"{"/op": {"contains": 5}}"#, "`/op`: `contains` is `5`; expected a text"),
            (
                r#"{"/op": {"contain": "x"}}"#,
                "`/op`: unknown key `contain`; expected `exists` or `contains`",
            ),
            (
                r#"{"/op": {}}"#,
                "`/op` is an empty object; expected one with `exists` or `contains`",
            ),
            (
                r#"{"/op": {"contains": "x", "exists": true}}"#,
                "`/op` has the keys `contains` and `exists`; expected either `exists` or `contains`",
            ),
        ] {
            let error = serde_json::from_str::<MessagePattern>(text).unwrap_err().to_string();
            let error = error.split(" at line ").next().unwrap();
            assert_eq!(error, message);
        }
    }
}
