//! What is said to the server: the subscription and the application's ping.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;

use crate::units::Span;

/// Stands for the list of all topics in a template.
const TOPICS: &str = "{topics}";
/// Stands for one topic in a template: one message is sent for each.
const TOPIC: &str = "{topic}";

/// What is sent after every connect.
#[derive(Debug, Clone, PartialEq)]
pub enum Subscribe {
    /// A message in which the string `"{topics}"` becomes the list of topics, or in whose strings
    /// `{topic}` becomes one topic: then one message is sent for each. Nothing is sent when there
    /// is no topic.
    Template(Value),
    /// Messages that are sent as they are, in order.
    Messages(Vec<Value>),
}

impl Default for Subscribe {
    fn default() -> Self {
        Self::Template(json!({ "op": "subscribe", "args": TOPICS }))
    }
}

impl Subscribe {
    /// The texts to send for these topics.
    pub(super) fn messages(&self, topics: &[String]) -> Vec<String> {
        match self {
            Self::Messages(messages) => messages.iter().map(text).collect(),
            Self::Template(_) if topics.is_empty() => Vec::new(),
            Self::Template(template) if mentions_one(template) => {
                topics.iter().map(|topic| text(&filled(template, topics, topic))).collect()
            }
            Self::Template(template) => vec![text(&filled(template, topics, ""))],
        }
    }

    /// Whether topics have a place in what is sent.
    pub(super) fn uses_topics(&self) -> bool {
        match self {
            Self::Messages(_) => true,
            Self::Template(template) => mentions_one(template) || mentions_all(template),
        }
    }
}

/// A message as it goes over the wire: JSON in compact form, but a string as it stands, since some
/// servers expect a bare `ping`.
pub(super) fn text(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn mentions_one(template: &Value) -> bool {
    any_string(template, &|text| text.contains(TOPIC))
}

fn mentions_all(template: &Value) -> bool {
    any_string(template, &|text| text == TOPICS)
}

fn any_string(value: &Value, found: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().any(|item| any_string(item, found)),
        Value::Object(keys) => keys.values().any(|value| any_string(value, found)),
        _ => false,
    }
}

fn filled(template: &Value, topics: &[String], topic: &str) -> Value {
    match template {
        Value::String(text) if text == TOPICS => json!(topics),
        Value::String(text) => Value::from(text.replace(TOPIC, topic)),
        Value::Array(items) => items.iter().map(|item| filled(item, topics, topic)).collect(),
        Value::Object(keys) => {
            let keys = keys.iter().map(|(key, value)| (key.clone(), filled(value, topics, topic)));
            Value::Object(keys.collect())
        }
        other => other.clone(),
    }
}

impl<'de> Deserialize<'de> for Subscribe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Array(messages) => Ok(Self::Messages(messages)),
            template @ (Value::Object(_) | Value::String(_)) => Ok(Self::Template(template)),
            other => Err(serde::de::Error::custom(format!(
                "`{other}` is neither a message template (an object or a text) nor a list of messages"
            ))),
        }
    }
}

impl Serialize for Subscribe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Template(template) => template.serialize(serializer),
            Self::Messages(messages) => messages.serialize(serializer),
        }
    }
}

impl JsonSchema for Subscribe {
    fn schema_name() -> Cow<'static, str> {
        "Subscribe".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A message template, in which the string \"{topics}\" becomes the list of topics and {topic} within a string one topic (one message for each); or a list of messages that are sent as they are, in order. An object is sent as JSON, a string as it stands.",
            "type": ["object", "string", "array"],
            "examples": [
                { "op": "subscribe", "args": "{topics}" },
                { "method": "SUBSCRIBE", "params": "{topics}", "id": 1 },
                [{ "type": "subscribe", "channel": "trades" }]
            ],
        })
    }
}

/// A message of the application's own that keeps the link alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// What is sent: an object as JSON, a string as it stands.
    #[serde(default = "Ping::default_message")]
    #[schemars(extend("type" = ["object", "string", "array"]))]
    pub message: Value,
    /// How often. At least 100 ms.
    #[serde(default = "Ping::default_interval")]
    pub interval: Span,
}

impl Ping {
    fn default_message() -> Value {
        json!({ "op": "ping" })
    }

    fn default_interval() -> Span {
        Span::from_secs(20)
    }
}

impl Default for Ping {
    fn default() -> Self {
        Self { message: Self::default_message(), interval: Self::default_interval() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(subscribe: Value, topics: &[&str]) -> Vec<String> {
        let topics: Vec<_> = topics.iter().map(ToString::to_string).collect();
        serde_json::from_value::<Subscribe>(subscribe).unwrap().messages(&topics)
    }

    #[test]
    fn the_default_is_the_message_that_the_seed_form_promises() {
        let topics = ["publicTrade.BTCUSDT".to_owned()];
        assert_eq!(
            Subscribe::default().messages(&topics),
            [r#"{"op":"subscribe","args":["publicTrade.BTCUSDT"]}"#]
        );
        assert_eq!(text(&Ping::default().message), r#"{"op":"ping"}"#);
    }

    #[test]
    fn a_template_with_one_topic_is_sent_for_each() {
        let template = json!({"sub": "market.{topic}.trade", "id": 7});
        assert_eq!(
            messages(template, &["a", "b\"c"]),
            [r#"{"sub":"market.a.trade","id":7}"#, r#"{"sub":"market.b\"c.trade","id":7}"#]
        );
    }

    #[test]
    fn a_list_is_sent_as_it_is() {
        let list = json!([{"z": 1, "a": "{topics}"}, "login"]);
        assert_eq!(messages(list, &["t"]), [r#"{"z":1,"a":"{topics}"}"#, "login"]);
        assert!(messages(json!([]), &["t"]).is_empty());
    }

    #[test]
    fn no_topics_no_subscription() {
        assert!(Subscribe::default().messages(&[]).is_empty());
    }

    #[test]
    fn anything_else_is_refused() {
        assert!(serde_json::from_value::<Subscribe>(json!(5)).is_err());
    }
}
