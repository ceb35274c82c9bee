//! What is said to the server: the subscription and the application's ping.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;

use super::template::{TOPICS_PLACEHOLDER, TopicForm, fill_placeholders, placeholders};
use crate::base::time::{Clock, SystemClock};
use crate::base::units::ConfigDuration;

/// Stands for one topic in a template: one message is sent for each.
const TOPIC_PLACEHOLDER: &str = "topic";

/// What is sent after every connect.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscribeMessages {
    /// A message in which the string `"{topics}"` becomes the list of topics, or in whose strings
    /// `{topic}` becomes one topic: then one message is sent for each. Nothing is sent when there
    /// is no topic.
    Template(Value),
    /// Messages that are sent as they are, in order.
    Fixed(Vec<Value>),
}

impl Default for SubscribeMessages {
    fn default() -> Self {
        Self::Template(json!({ "op": "subscribe", "args": "{topics}" }))
    }
}

/// A message as it goes over the wire: JSON in compact form, but a string as it stands, since some
/// servers expect a bare `ping`.
pub(super) fn wire_text(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The message as it is sent now, with `{time}` in it.
pub(super) fn render_message(message: &Value, id: u64) -> String {
    wire_text(&fill_placeholders(message, &|name| dynamic_value(name, id)))
}

/// What is different in every request.
fn dynamic_value(name: &str, id: u64) -> Option<Value> {
    match name {
        "id" => Some(id.into()),
        "time" => Some(SystemClock.now().seconds().into()),
        "time_ms" => Some((SystemClock.now().nanos() / 1_000_000).into()),
        _ => None,
    }
}

/// How topics are asked for.
#[derive(Debug, Clone)]
pub(super) struct RequestBuilder {
    topics: Vec<String>,
    topic_form: TopicForm,
    item_template: Value,
    subscribe: SubscribeMessages,
}

/// A conversation in which topics cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBuilderError {
    #[error(
        "`subscribe` has no place for the topics: write \"{{topics}}\" for the list of them or {{topic}} for one"
    )]
    NoTopicPlaceholder,
    #[error("`topics[{index}]` is `{topic}`; here a topic has the form `{form}`")]
    TopicFormMismatch { index: usize, topic: String, form: String },
}

impl RequestBuilder {
    pub(super) fn new(
        topics: Vec<String>,
        form: &str,
        item: Value,
        subscribe: SubscribeMessages,
    ) -> Result<Self, RequestBuilderError> {
        let conversation =
            Self { topics, topic_form: TopicForm::new(form), item_template: item, subscribe };
        if let SubscribeMessages::Template(template) = &conversation.subscribe {
            let named = placeholders(template);
            let parts = placeholders(&Value::from(form));
            let used = |name: &String| {
                *name == TOPICS_PLACEHOLDER || *name == TOPIC_PLACEHOLDER || parts.contains(name)
            };
            if !named.iter().any(used) {
                return Err(RequestBuilderError::NoTopicPlaceholder);
            }
            for (index, topic) in conversation.topics.iter().enumerate() {
                if conversation.topic_form.parts(topic).is_none() {
                    let (topic, form) = (topic.clone(), form.to_owned());
                    return Err(RequestBuilderError::TopicFormMismatch { index, topic, form });
                }
            }
        }
        Ok(conversation)
    }

    pub(super) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The same for some of the topics.
    pub(super) fn with_topics(&self, topics: Vec<String>) -> Self {
        Self { topics, ..self.clone() }
    }

    /// The topics, by their places, in groups that are asked for together: at most `most` (0 for any
    /// number) each.
    pub(super) fn group_topics(&self, most: usize) -> Vec<Vec<usize>> {
        let SubscribeMessages::Template(template) = &self.subscribe else { return Vec::new() };
        let named = placeholders(template);
        let most = if named.iter().any(|name| name == TOPICS_PLACEHOLDER) {
            if most == 0 { usize::MAX } else { most }
        } else {
            1
        };
        if most == 1 {
            return (0..self.topics.len()).map(|place| vec![place]).collect();
        }
        // Those of which the message around the list would be different go into different ones.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut latest: HashMap<String, usize> = HashMap::new();
        for (place, topic) in self.topics.iter().enumerate() {
            let around = fill_placeholders(template, &|name| self.placeholder_value(topic, name))
                .to_string();
            let group = latest.get(&around).and_then(|group| groups.get_mut(*group));
            if let Some(group) = group.filter(|group| group.len() < most) {
                group.push(place);
            } else {
                latest.insert(around, groups.len());
                groups.push(vec![place]);
            }
        }
        groups
    }

    /// What is sent to ask for these topics, of which all have the same parts outside the list.
    pub(super) fn render_request(&self, places: &[usize], id: u64) -> Option<String> {
        let SubscribeMessages::Template(template) = &self.subscribe else { return None };
        let topics = places.iter().filter_map(|place| self.topics.get(*place));
        let items: Vec<Value> = topics
            .clone()
            .map(|topic| {
                fill_placeholders(&self.item_template, &|name| self.placeholder_value(topic, name))
            })
            .collect();
        let first = topics.clone().next()?;
        let filled = fill_placeholders(template, &|name| match name {
            TOPICS_PLACEHOLDER => Some(Value::from(items.clone())),
            _ => self.placeholder_value(first, name).or_else(|| dynamic_value(name, id)),
        });
        Some(wire_text(&filled))
    }

    /// Messages that are sent as they are, instead of requests.
    pub(super) fn fixed_messages(&self) -> Vec<String> {
        match &self.subscribe {
            SubscribeMessages::Template(_) => Vec::new(),
            SubscribeMessages::Fixed(messages) => messages.iter().map(wire_text).collect(),
        }
    }

    fn placeholder_value(&self, topic: &str, name: &str) -> Option<Value> {
        if name == TOPIC_PLACEHOLDER {
            return Some(topic.into());
        }
        let parts = self.topic_form.parts(topic)?;
        parts.into_iter().find(|(own, _)| own == name).map(|(_, part)| part.into())
    }
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
pub struct PingConfig {
    /// What is sent: an object as JSON, a string as it stands.
    #[serde(default = "PingConfig::default_message")]
    #[schemars(extend("type" = ["object", "string", "array"]))]
    pub message: Value,
    /// How often. At least 100 ms.
    #[serde(default = "PingConfig::default_interval")]
    pub interval: ConfigDuration,
}

impl PingConfig {
    fn default_message() -> Value {
        json!({ "op": "ping" })
    }

    fn default_interval() -> ConfigDuration {
        ConfigDuration::from_secs(20)
    }
}

impl Default for PingConfig {
    fn default() -> Self {
        Self { message: Self::default_message(), interval: Self::default_interval() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(subscribe: Value, topics: &[&str]) -> RequestBuilder {
        let topics = topics.iter().map(ToString::to_string).collect();
        let subscribe = serde_json::from_value(subscribe).unwrap();
        RequestBuilder::new(topics, "{topic}", json!("{topic}"), subscribe).unwrap()
    }

    fn messages(subscribe: Value, topics: &[&str]) -> Vec<String> {
        let conversation = conversation(subscribe, topics);
        let plan = conversation.group_topics(0);
        plan.iter().filter_map(|places| conversation.render_request(places, 1)).collect()
    }

    #[test]
    fn the_default_template_renders_the_documented_message() {
        assert_eq!(
            messages(json!({"op": "subscribe", "args": "{topics}"}), &["publicTrade.BTCUSDT"]),
            [r#"{"op":"subscribe","args":["publicTrade.BTCUSDT"]}"#]
        );
        assert_eq!(wire_text(&PingConfig::default().message), r#"{"op":"ping"}"#);
    }

    #[test]
    fn a_single_topic_template_renders_one_request_per_topic() {
        let template = json!({"sub": "market.{topic}.trade", "id": 7});
        assert_eq!(
            messages(template, &["a", "b\"c"]),
            [r#"{"sub":"market.a.trade","id":7}"#, r#"{"sub":"market.b\"c.trade","id":7}"#]
        );
    }

    #[test]
    fn a_message_list_is_sent_verbatim() {
        let list = json!([{"z": 1, "a": "{topics}"}, "login"]);
        let list = conversation(list, &["t"]).fixed_messages();
        assert_eq!(list, [r#"{"z":1,"a":"{topics}"}"#, "login"]);
    }

    #[test]
    fn no_request_is_rendered_without_topics() {
        assert!(messages(json!({"args": "{topics}"}), &[]).is_empty());
    }

    #[test]
    fn topics_with_equal_request_envelopes_share_a_request() {
        let subscribe =
            json!({"params": {"channel": "{channel}", "symbol": "{topics}"}, "id": "{id}"});
        let topics = ["trade:A", "book:A", "trade:B", "trade:C"].map(str::to_owned).to_vec();
        let subscribe = serde_json::from_value(subscribe).unwrap();
        let form = "{channel}:{symbol}";
        let conversation =
            RequestBuilder::new(topics, form, json!({"s": "{symbol}"}), subscribe).unwrap();
        assert_eq!(conversation.group_topics(2), [vec![0, 2], vec![1], vec![3]]);
        assert_eq!(
            conversation.render_request(&[0, 2], 5).unwrap(),
            r#"{"params":{"channel":"trade","symbol":[{"s":"A"},{"s":"B"}]},"id":5}"#
        );
    }

    #[test]
    fn a_topic_that_does_not_match_the_form_is_rejected() {
        let subscribe = serde_json::from_value(json!({"x": "{channel}"})).unwrap();
        let error = RequestBuilder::new(vec!["BTC".into()], "{channel}:{s}", json!(""), subscribe);
        assert!(error.unwrap_err().to_string().contains("`topics[0]` is `BTC`"));
    }

    #[test]
    fn a_scalar_subscribe_value_is_rejected() {
        assert!(serde_json::from_value::<SubscribeMessages>(json!(5)).is_err());
    }
}
