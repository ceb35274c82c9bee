//! The requests that subscribe to the topics of a connection.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::request_id::RequestId;
use super::request_purpose::RequestPurpose;
use super::subscribe_messages::SubscribeMessages;
use super::template::{
    TOPIC_PLACEHOLDER, TOPICS_PLACEHOLDER, TopicForm, fill_placeholders, placeholders,
};
use super::topic_vec::{TopicIndex, TopicVec};
use super::wire_message::{dynamic_value, wire_text};

/// Renders the requests for the topics of a connection.
#[derive(Debug, Clone)]
pub(super) struct RequestBuilder {
    topics: TopicVec<String>,
    /// Form of every topic, if there is a template.
    topic_form: TopicForm,
    /// Template of a topic in the list of topics.
    item_template: Value,
    subscribe: SubscribeMessages,
    /// Template of the request that ends subscriptions, if the server has one.
    unsubscribe: Option<Value>,
}

/// A configuration with which the topics cannot be requested.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestBuilderError {
    #[error(
        "`subscribe` has no place for the topics: write \"{{topics}}\" for the list of them or {{topic}} for one"
    )]
    NoTopicPlaceholder,
    #[error("`topics[{index}]` is `{topic}`; it must have the form `{form}`")]
    TopicFormMismatch { index: usize, topic: String, form: String },
}

impl RequestBuilder {
    pub(super) fn new(
        topics: Vec<String>,
        form: &str,
        item_template: Value,
        subscribe: SubscribeMessages,
    ) -> Result<Self, RequestBuilderError> {
        let topic_form = TopicForm::new(form);
        if let SubscribeMessages::Template(template) = &subscribe {
            let parts = placeholders(&Value::from(form));
            let names_topics = |name: &String| {
                *name == TOPICS_PLACEHOLDER || *name == TOPIC_PLACEHOLDER || parts.contains(name)
            };
            if !placeholders(template).iter().any(names_topics) {
                return Err(RequestBuilderError::NoTopicPlaceholder);
            }
            for (index, topic) in topics.iter().enumerate() {
                if topic_form.parts(topic).is_none() {
                    let topic = topic.clone();
                    let form = form.to_owned();
                    return Err(RequestBuilderError::TopicFormMismatch { index, topic, form });
                }
            }
        }
        let topics = TopicVec::new(topics);
        Ok(Self { topics, topic_form, item_template, subscribe, unsubscribe: None })
    }

    /// Sets the template of the request that ends subscriptions.
    #[must_use]
    pub(super) fn with_unsubscribe(mut self, template: Option<Value>) -> Self {
        self.unsubscribe = template;
        self
    }

    pub(super) fn topics(&self) -> &TopicVec<String> {
        &self.topics
    }

    /// Returns a builder for some of the topics.
    pub(super) fn with_topics(&self, topics: Vec<String>) -> Self {
        // Not `..self.clone()`: the topics of all connections may be thousands.
        Self {
            topics: TopicVec::new(topics),
            topic_form: self.topic_form.clone(),
            item_template: self.item_template.clone(),
            subscribe: self.subscribe.clone(),
            unsubscribe: self.unsubscribe.clone(),
        }
    }

    /// Returns the template of the requests for a purpose, if there is one.
    fn template(&self, purpose: RequestPurpose) -> Option<&Value> {
        match (purpose, &self.subscribe) {
            (RequestPurpose::Unsubscribe, _) => self.unsubscribe.as_ref(),
            (_, SubscribeMessages::Template(template)) => Some(template),
            (_, SubscribeMessages::Fixed(_)) => None,
        }
    }

    /// Returns whether subscriptions to these topics can be begun and ended one by one, by which the
    /// topics of the builder become `topics`.
    pub(super) fn can_change_to(&self, topics: &[String]) -> bool {
        let wanted: HashSet<&String> = topics.iter().collect();
        let is_kept = |topic: &String| wanted.contains(topic);
        let is_template = matches!(self.subscribe, SubscribeMessages::Template(_));
        is_template && (self.unsubscribe.is_some() || self.topics.iter().all(is_kept))
    }

    /// Splits topics into groups, each of which one request is for. Returns no groups if there are
    /// no requests for the purpose.
    ///
    /// A group has at most `max_topics` topics; 0 is no limit. All of its topics fill the parts of
    /// the template around the list of topics alike.
    pub(super) fn group_topics(
        &self,
        topics: impl Iterator<Item = TopicIndex>,
        max_topics: usize,
        purpose: RequestPurpose,
    ) -> Vec<Vec<TopicIndex>> {
        let Some(template) = self.template(purpose) else { return Vec::new() };
        let has_list = placeholders(template).iter().any(|name| name == TOPICS_PLACEHOLDER);
        let max_topics = match max_topics {
            _ if !has_list => 1,
            0 => usize::MAX,
            max_topics => max_topics,
        };
        if max_topics == 1 {
            return topics.map(|topic| vec![topic]).collect();
        }
        let mut groups: Vec<Vec<TopicIndex>> = Vec::new();
        let mut last_group_by_envelope: HashMap<String, usize> = HashMap::new();
        for topic in topics {
            let envelope = fill_placeholders(template, &|name| self.topic_value(topic, name));
            let envelope = envelope.to_string();
            let last_group = last_group_by_envelope.get(&envelope);
            let last_group = last_group.and_then(|group| groups.get_mut(*group));
            if let Some(group) = last_group.filter(|group| group.len() < max_topics) {
                group.push(topic);
            } else {
                last_group_by_envelope.insert(envelope, groups.len());
                groups.push(vec![topic]);
            }
        }
        groups
    }

    /// Renders the request for one of the groups of [`Self::group_topics`].
    ///
    /// # Panics
    /// The group is empty, or there are no requests for the purpose.
    pub(super) fn render_request(
        &self,
        group: &[TopicIndex],
        id: RequestId,
        purpose: RequestPurpose,
    ) -> String {
        let template = self.template(purpose).expect("only a template has groups");
        let first = *group.first().expect("a group has at least one topic");
        let item = |topic: &TopicIndex| {
            fill_placeholders(&self.item_template, &|name| self.topic_value(*topic, name))
        };
        let items: Vec<Value> = group.iter().map(item).collect();
        let request = fill_placeholders(template, &|name| match name {
            TOPICS_PLACEHOLDER => Some(Value::from(items.clone())),
            _ => self.topic_value(first, name).or_else(|| dynamic_value(name, id)),
        });
        wire_text(&request)
    }

    /// Returns the messages that are sent as they are, instead of requests.
    pub(super) fn fixed_messages(&self) -> Vec<String> {
        match &self.subscribe {
            SubscribeMessages::Template(_) => Vec::new(),
            SubscribeMessages::Fixed(messages) => messages.iter().map(wire_text).collect(),
        }
    }

    /// Returns whether there are fixed messages.
    pub(super) fn has_fixed_messages(&self) -> bool {
        matches!(&self.subscribe, SubscribeMessages::Fixed(messages) if !messages.is_empty())
    }

    /// Returns the value of a placeholder that stands for the topic or for a part of it.
    fn topic_value(&self, topic: TopicIndex, name: &str) -> Option<Value> {
        let topic = &self.topics[topic];
        if name == TOPIC_PLACEHOLDER {
            return Some(topic.as_str().into());
        }
        let parts = self.topic_form.parts(topic).expect("the form of every topic was checked");
        parts.into_iter().find(|part| part.name == name).map(|part| part.value.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn builder(subscribe: Value, topics: &[&str]) -> RequestBuilder {
        let topics = topics.iter().map(ToString::to_string).collect();
        let subscribe = serde_json::from_value(subscribe).unwrap();
        RequestBuilder::new(topics, "{topic}", json!("{topic}"), subscribe).unwrap()
    }

    fn groups(builder: &RequestBuilder, max_topics: usize) -> Vec<Vec<TopicIndex>> {
        builder.group_topics(builder.topics().indexes(), max_topics, RequestPurpose::Subscribe)
    }

    fn messages(subscribe: Value, topics: &[&str]) -> Vec<String> {
        let builder = builder(subscribe, topics);
        let groups = groups(&builder, 0);
        let render = |group: &Vec<TopicIndex>| {
            builder.render_request(group, RequestId::FIRST, RequestPurpose::Subscribe)
        };
        groups.iter().map(render).collect()
    }

    #[test]
    fn the_default_template_renders_the_documented_message() {
        assert_eq!(
            messages(json!({"op": "subscribe", "args": "{topics}"}), &["publicTrade.BTCUSDT"]),
            [r#"{"op":"subscribe","args":["publicTrade.BTCUSDT"]}"#]
        );
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
        let list = builder(list, &["t"]).fixed_messages();
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
        let builder =
            RequestBuilder::new(topics, form, json!({"s": "{symbol}"}), subscribe).unwrap();
        let [a, book, b, c] = builder.topics().indexes().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(groups(&builder, 2), [vec![a, b], vec![book], vec![c]]);
        assert_eq!(
            builder.render_request(&[a, b], RequestId::new(5), RequestPurpose::Subscribe),
            r#"{"params":{"channel":"trade","symbol":[{"s":"A"},{"s":"B"}]},"id":5}"#
        );
    }

    #[test]
    fn a_topic_that_does_not_match_the_form_is_rejected() {
        let subscribe = serde_json::from_value(json!({"x": "{channel}"})).unwrap();
        let error = RequestBuilder::new(vec!["BTC".into()], "{channel}:{s}", json!(""), subscribe);
        assert!(error.unwrap_err().to_string().contains("`topics[0]` is `BTC`"));
    }
}
