//! Finds the topic of each message of a batch.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::{Batch, TopicId, TopicTable};
use crate::base::json::{CachedSelector, RawKey, Selector};

/// Maximum number of topics that a pipeline distinguishes. Messages of further topics count as
/// messages without one.
///
/// A pointer at a value that differs in every message must not fill the memory.
pub(crate) const MAX_TOPICS: usize = 10_000;

/// Finds the topics of messages and numbers them.
#[derive(Debug)]
pub struct TopicLabeler {
    selector: CachedSelector,
    /// The numbers by the bytes in which messages spell a topic.
    ids_by_raw_key: HashMap<Box<[u8]>, TopicId, RandomState>,
    ids_by_name: HashMap<Arc<str>, TopicId, RandomState>,
    table: TopicTable,
    max_topics: usize,
    /// Messages whose topic exceeded the limit.
    over_limit: u64,
}

impl TopicLabeler {
    /// Creates a labeler that numbers at most `max_topics` topics. Messages of further topics are
    /// labeled as messages without one.
    pub fn new(selector: Selector, max_topics: usize) -> Self {
        Self {
            selector: CachedSelector::new(selector),
            ids_by_raw_key: HashMap::default(),
            ids_by_name: HashMap::default(),
            table: TopicTable::new([]),
            max_topics,
            over_limit: 0,
        }
    }

    /// Returns the number of a topic. A new topic gets the next number, if there is room.
    pub fn intern(&mut self, topic: &str) -> TopicId {
        if topic.is_empty() {
            return TopicId::NONE;
        }
        if let Some(id) = self.ids_by_name.get(topic) {
            return *id;
        }
        let next = TopicId::new(self.table.len());
        let Some(next) = next.filter(|_| self.ids_by_name.len() < self.max_topics) else {
            self.over_limit += 1;
            return TopicId::NONE;
        };
        let name: Arc<str> = Arc::from(topic);
        self.ids_by_name.insert(Arc::clone(&name), next);
        self.table.push(name);
        next
    }

    /// Returns the names of the topics so far.
    pub fn table(&self) -> &TopicTable {
        &self.table
    }

    /// Returns and resets the number of messages whose topic exceeded the limit.
    pub fn take_over_limit(&mut self) -> u64 {
        std::mem::take(&mut self.over_limit)
    }

    /// Replaces `labels` by the topic numbers of the messages, in order.
    pub fn label(&mut self, batch: &Batch, labels: &mut Vec<TopicId>) {
        labels.clear();
        let mut buffer = Vec::new();
        for record in batch.records() {
            let raw_key = self.selector.raw_key(record.payload, &mut buffer);
            labels.push(match raw_key {
                Some(raw_key) => match self.ids_by_raw_key.get(raw_key.bytes) {
                    Some(id) => *id,
                    None => self.intern_raw_key(record.payload, &raw_key),
                },
                None => TopicId::NONE,
            });
        }
    }

    /// Returns the number of a topic whose spelling is not cached, and caches it.
    fn intern_raw_key(&mut self, payload: &[u8], raw_key: &RawKey<'_>) -> TopicId {
        let mut buffer = String::new();
        let resolved = self.selector.resolve_text(payload, raw_key, &mut buffer);
        let is_cacheable = resolved.is_cacheable;
        // A message whose values spell no text has no topic.
        let id = match resolved.text.map(std::borrow::Cow::into_owned) {
            Some(topic) => self.intern(&topic),
            None => TopicId::NONE,
        };
        // A topic has any number of spellings, so the cache is bounded by starting afresh.
        if self.ids_by_raw_key.len() > 2 * self.max_topics {
            self.ids_by_raw_key.clear();
        }
        if is_cacheable && !id.is_none() {
            self.ids_by_raw_key.insert(raw_key.bytes.into(), id);
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_get_the_ids_of_their_topics() {
        let mut labeler = TopicLabeler::new(Selector::parse("/t").unwrap(), 2);
        let mut batch = Batch::new();
        for message in [r#"{"t":"a"}"#, r#"{"t":"b"}"#, "pong", r#"{"t":"a"}"#, r#"{"t":"c"}"#] {
            batch.push(message.as_bytes());
        }
        let mut labels = Vec::new();
        labeler.label(&batch, &mut labels);
        assert_eq!(labels.iter().map(|id| id.index()).collect::<Vec<_>>(), [1, 2, 0, 1, 0]);
        assert_eq!(labeler.take_over_limit(), 1);
        batch.set_topics(labels, labeler.table().clone());
        let topics: Vec<_> = batch.records().map(|record| record.topic).collect();
        assert_eq!(topics, [Some("a"), Some("b"), None, Some("a"), None]);
    }

    /// Messages that differ little, some of which are not JSON.
    fn any_message() -> impl Strategy<Value = String> {
        let value =
            r#"("[ab]{0,2}"|"\\u0061"|"\\x"|null|[0-9]|true|\{"b":"a"\}|\["a","b"\]|\]|\[\]|)"#;
        let shape = prop_oneof![
            Just((r#"{"t":"#, r#","u":"b"}"#)),
            Just((r#"{"t": "#, "}")),
            Just((r#"{"t":["#, r#"],"u":1}"#)),
            Just((r#"{"u":"#, r#","t":"a"}"#)),
            Just((r#"{"u":{"t":1},"t":["b","#, "]}")),
            Just((r#"{"\u0074":"#, "}")),
            Just(("", "")),
        ];
        (shape, value).prop_map(|((before, after), value)| format!("{before}{value}{after}"))
    }

    proptest! {
        #[test]
        fn labels_match_an_uncached_lookup(
            messages in prop::collection::vec(any_message(), 0..30),
            selector in prop_oneof![
                Just(vec!["/t"]), Just(vec!["/t/0"]), Just(vec!["/t/b"]), Just(vec!["{/t}.{/u}"]),
                Just(vec!["/u", "/t"]), Just(vec!["{/t/1}{/u}", "x{/u/t}", "/t"]),
            ],
        ) {
            let selector = Selector::any_of(&selector).unwrap();
            let mut batch = Batch::new();
            for message in &messages {
                batch.push(message.as_bytes());
            }
            let mut labeler = TopicLabeler::new(selector.clone(), 100);
            let mut labels = Vec::new();
            labeler.label(&batch, &mut labels);
            batch.set_topics(labels, labeler.table().clone());
            for record in batch.records() {
                let mut room = String::new();
                let found = selector.select(record.payload, &mut room);
                let found = found.as_deref().filter(|found| !found.is_empty());
                prop_assert_eq!(record.topic, found, "{:?}", record.payload.escape_ascii().to_string());
            }
        }
    }
}
