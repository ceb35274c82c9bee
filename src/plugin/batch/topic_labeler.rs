//! The topics of messages: each message of a labelled batch has the number of its topic.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Batch;
use crate::base::json::{CachedSelector, RawKey, Selector};

/// The number of a topic within a [`Labeler`], from 1; 0 for a message that has none.
pub type TopicId = u32;

/// The number of messages without a topic: answers, pongs, heartbeats.
pub const NO_TOPIC: TopicId = 0;

/// The names of topics by their numbers. Numbers never change their meaning; new ones are added.
pub type TopicTable = Arc<Vec<Arc<str>>>;

/// Finds the topics of messages.
#[derive(Debug)]
pub struct TopicLabeler {
    selector: CachedSelector,
    /// The numbers by the bytes in which messages spell a topic.
    ids_by_raw_key: HashMap<Box<[u8]>, TopicId, RandomState>,
    ids_by_name: HashMap<Arc<str>, TopicId, RandomState>,
    table: TopicTable,
    max_topics: usize,
    /// Messages whose topic would have been one too many.
    over_limit: u64,
}

impl TopicLabeler {
    /// A labeler that knows no topic yet, and will know `limit` at most: messages of others are like
    /// such that have none.
    pub fn new(selector: Selector, limit: usize) -> Self {
        let names = Arc::new(vec![Arc::from("")]);
        Self {
            selector: CachedSelector::new(selector),
            ids_by_raw_key: HashMap::default(),
            ids_by_name: HashMap::default(),
            table: names,
            max_topics: limit,
            over_limit: 0,
        }
    }

    /// The number of a topic, which it is given if need be and if there is room.
    pub fn intern(&mut self, topic: &str) -> TopicId {
        if let Some(id) = self.ids_by_name.get(topic) {
            return *id;
        }
        let next = TopicId::try_from(self.ids_by_name.len() + 1).unwrap_or(NO_TOPIC);
        if topic.is_empty() || self.ids_by_name.len() >= self.max_topics || next == NO_TOPIC {
            self.over_limit += u64::from(!topic.is_empty());
            return NO_TOPIC;
        }
        let name: Arc<str> = Arc::from(topic);
        self.ids_by_name.insert(Arc::clone(&name), next);
        Arc::make_mut(&mut self.table).push(name);
        next
    }

    /// The names so far.
    pub fn table(&self) -> &TopicTable {
        &self.table
    }

    /// How many messages had a topic beyond the limit, since this was last asked.
    pub fn take_over_limit(&mut self) -> u64 {
        std::mem::take(&mut self.over_limit)
    }

    /// The numbers of the topics of these messages, in order.
    pub fn label(&mut self, batch: &Batch, labels: &mut Vec<TopicId>) {
        labels.clear();
        let mut room = Vec::new();
        for record in batch.records() {
            let written = self.selector.raw_key(record.payload, &mut room);
            labels.push(match written {
                Some(written) => match self.ids_by_raw_key.get(written.bytes) {
                    Some(id) => *id,
                    None => self.intern_raw_key(record.payload, &written),
                },
                None => NO_TOPIC,
            });
        }
    }

    /// The number of a topic that is not known in this spelling.
    fn intern_raw_key(&mut self, payload: &[u8], written: &RawKey<'_>) -> TopicId {
        let mut room = String::new();
        let (topic, lasting) = self.selector.resolve_text(payload, written, &mut room);
        let topic = topic.map(Cow::into_owned);
        let id = topic.map_or(NO_TOPIC, |topic| self.intern(&topic));
        // One topic may be spelled in endless ways: rather that all are learned anew.
        if self.ids_by_raw_key.len() > 2 * self.max_topics {
            self.ids_by_raw_key.clear();
        }
        if lasting && id != NO_TOPIC {
            self.ids_by_raw_key.insert(written.bytes.into(), id);
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
        assert_eq!(labels, [1, 2, NO_TOPIC, 1, NO_TOPIC]);
        assert_eq!(labeler.take_over_limit(), 1);
        batch.set_topics(labels, Arc::clone(labeler.table()));
        let topics: Vec<_> = batch.records().map(|record| record.topic).collect();
        assert_eq!(topics, [Some("a"), Some("b"), None, Some("a"), None]);
    }

    /// Messages much alike, of which some are no JSON.
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
            let (mut labeler, mut labels) = (TopicLabeler::new(selector.clone(), 100), Vec::new());
            labeler.label(&batch, &mut labels);
            batch.set_topics(labels, Arc::clone(labeler.table()));
            for record in batch.records() {
                let mut room = String::new();
                let found = selector.select(record.payload, &mut room);
                let found = found.as_deref().filter(|found| !found.is_empty());
                prop_assert_eq!(record.topic, found, "{:?}", record.payload.escape_ascii().to_string());
            }
        }
    }
}
