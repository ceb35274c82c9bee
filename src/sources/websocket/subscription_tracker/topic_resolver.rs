//! Finds the topic that a message is about.

use std::collections::HashMap;

use serde_json::from_slice;

use crate::base::json::{Pointer, Selector, scalar_text};
use crate::sources::websocket::answer_rule::AnswerRule;
use crate::sources::websocket::request_id::RequestId;
use crate::sources::websocket::subscription_table::AnswerSubject;
use crate::sources::websocket::topic_vec::{TopicIndex, TopicVec};

/// Finds the topic of the connection that a message is about.
pub(super) struct TopicResolver {
    indexes: HashMap<String, TopicIndex>,
    /// Number of topics without those that were removed.
    topic_count: usize,
    /// Selects the topic of a message of data.
    data_topic: Option<Selector>,
}

impl TopicResolver {
    pub(super) fn new(topics: &TopicVec<String>, data_topic: Option<Selector>) -> Self {
        let indexes = topics.iter().cloned().zip(topics.indexes()).collect();
        Self { indexes, topic_count: topics.len(), data_topic }
    }

    /// Returns the index of a topic, also of one that was removed.
    pub(super) fn index_of(&self, topic: &str) -> Option<TopicIndex> {
        self.indexes.get(topic).copied()
    }

    /// Adds a topic. Messages of topics that are removed can still be resolved.
    pub(super) fn add(&mut self, topic: String, index: TopicIndex) {
        self.indexes.insert(topic, index);
    }

    /// Sets the number of topics without those that were removed.
    pub(super) fn set_topic_count(&mut self, topic_count: usize) {
        self.topic_count = topic_count;
    }

    pub(super) fn topic_count(&self) -> usize {
        self.topic_count
    }

    /// Returns the topic of a message of data, if it is one of the connection's topics.
    pub(super) fn topic_of_data(&self, payload: &[u8], scratch: &mut String) -> Option<TopicIndex> {
        self.select(self.data_topic.as_ref()?, payload, scratch)
    }

    /// Returns the subject of an answer.
    pub(super) fn subject_of_answer(
        &self,
        rule: &AnswerRule,
        payload: &[u8],
        scratch: &mut String,
    ) -> AnswerSubject {
        let topic = rule.topic.as_ref().and_then(|topic| self.select(topic, payload, scratch));
        if let Some(topic) = topic {
            return AnswerSubject::Topic(topic);
        }
        let request = request_id(rule, payload);
        let list = rule.topics.as_ref().and_then(|pointer| pointer.find(payload));
        if let Some(list) = list.and_then(|list| from_slice::<Vec<String>>(list).ok()) {
            let topics = list.iter().filter_map(|topic| self.indexes.get(topic).copied());
            return AnswerSubject::AcceptedTopics { request, topics: topics.collect() };
        }
        request.map_or(AnswerSubject::OldestRequest, AnswerSubject::Request)
    }

    fn select(
        &self,
        selector: &Selector,
        payload: &[u8],
        scratch: &mut String,
    ) -> Option<TopicIndex> {
        self.indexes.get(&*selector.select(payload, scratch)?).copied()
    }
}

/// Returns the number of the request that an answer names, if it names one.
fn request_id(rule: &AnswerRule, payload: &[u8]) -> Option<RequestId> {
    let text = text_at(rule.id.as_ref()?, payload)?;
    // A server that requires a text receives a letter before the number.
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.parse().ok().map(RequestId::new)
}

/// Returns the text of the value of a message at `pointer`.
pub(super) fn text_at(pointer: &Pointer, payload: &[u8]) -> Option<String> {
    scalar_text(pointer.find(payload)?).map(std::borrow::Cow::into_owned)
}
