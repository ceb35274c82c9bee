//! The topics of messages: each message of a labelled batch has the number of its topic.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Batch;
use crate::json::{Seeker, Selector, Written};

/// The number of a topic within a [`Labeler`], from 1; 0 for a message that has none.
pub type TopicId = u32;

/// The number of messages without a topic: answers, pongs, heartbeats.
pub const NO_TOPIC: TopicId = 0;

/// The names of topics by their numbers. Numbers never change their meaning; new ones are added.
pub type TopicNames = Arc<Vec<Arc<str>>>;

/// Finds the topics of messages.
#[derive(Debug)]
pub struct Labeler {
    seeker: Seeker,
    /// The numbers by the bytes in which messages spell a topic.
    spelled: HashMap<Box<[u8]>, TopicId, RandomState>,
    ids: HashMap<Arc<str>, TopicId, RandomState>,
    names: TopicNames,
    limit: usize,
    /// Messages whose topic would have been one too many.
    beyond: u64,
}

impl Labeler {
    /// A labeler that knows no topic yet, and will know `limit` at most: messages of others are like
    /// such that have none.
    pub fn new(selector: Selector, limit: usize) -> Self {
        let names = Arc::new(vec![Arc::from("")]);
        Self {
            seeker: Seeker::new(selector),
            spelled: HashMap::default(),
            ids: HashMap::default(),
            names,
            limit,
            beyond: 0,
        }
    }

    /// The number of a topic, which it is given if need be and if there is room.
    pub fn id(&mut self, topic: &str) -> TopicId {
        if let Some(id) = self.ids.get(topic) {
            return *id;
        }
        let next = TopicId::try_from(self.ids.len() + 1).unwrap_or(NO_TOPIC);
        if topic.is_empty() || self.ids.len() >= self.limit || next == NO_TOPIC {
            self.beyond += u64::from(!topic.is_empty());
            return NO_TOPIC;
        }
        let name: Arc<str> = Arc::from(topic);
        self.ids.insert(Arc::clone(&name), next);
        Arc::make_mut(&mut self.names).push(name);
        next
    }

    /// The names so far.
    pub fn names(&self) -> &TopicNames {
        &self.names
    }

    /// How many messages had a topic beyond the limit, since this was last asked.
    pub fn take_beyond(&mut self) -> u64 {
        std::mem::take(&mut self.beyond)
    }

    /// The numbers of the topics of these messages, in order.
    pub fn label(&mut self, batch: &Batch, labels: &mut Vec<TopicId>) {
        labels.clear();
        let mut room = Vec::new();
        for record in batch.records() {
            let written = self.seeker.written(record.payload, &mut room);
            labels.push(match written {
                Some(written) => match self.spelled.get(written.bytes) {
                    Some(id) => *id,
                    None => self.learn(record.payload, &written),
                },
                None => NO_TOPIC,
            });
        }
    }

    /// The number of a topic that is not known in this spelling.
    fn learn(&mut self, payload: &[u8], written: &Written<'_>) -> TopicId {
        let mut room = String::new();
        let (topic, lasting) = self.seeker.text(payload, written, &mut room);
        let topic = topic.map(Cow::into_owned);
        let id = topic.map_or(NO_TOPIC, |topic| self.id(&topic));
        // One topic may be spelled in endless ways: rather that all are learned anew.
        if self.spelled.len() > 2 * self.limit {
            self.spelled.clear();
        }
        if lasting && id != NO_TOPIC {
            self.spelled.insert(written.bytes.into(), id);
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_numbered_by_their_topics() {
        let mut labeler = Labeler::new(Selector::parse("/t").unwrap(), 2);
        let mut batch = Batch::new();
        for message in [r#"{"t":"a"}"#, r#"{"t":"b"}"#, "pong", r#"{"t":"a"}"#, r#"{"t":"c"}"#] {
            batch.push(message.as_bytes());
        }
        let mut labels = Vec::new();
        labeler.label(&batch, &mut labels);
        assert_eq!(labels, [1, 2, NO_TOPIC, 1, NO_TOPIC]);
        assert_eq!(labeler.take_beyond(), 1);
        batch.set_topics(labels, Arc::clone(labeler.names()));
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
        fn messages_have_the_topics_that_a_walk_through_each_finds(
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
            let (mut labeler, mut labels) = (Labeler::new(selector.clone(), 100), Vec::new());
            labeler.label(&batch, &mut labels);
            batch.set_topics(labels, Arc::clone(labeler.names()));
            for record in batch.records() {
                let mut room = String::new();
                let found = selector.select(record.payload, &mut room);
                let found = found.as_deref().filter(|found| !found.is_empty());
                prop_assert_eq!(record.topic, found, "{:?}", record.payload.escape_ascii().to_string());
            }
        }
    }
}
