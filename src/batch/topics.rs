//! The topics of messages: each message of a labelled batch has the number of its topic.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Batch;
use crate::json::Selector;

/// The number of a topic within a [`Labeler`], from 1; 0 for a message that has none.
pub type TopicId = u32;

/// The number of messages without a topic: answers, pongs, heartbeats.
pub const NO_TOPIC: TopicId = 0;

/// The names of topics by their numbers. Numbers never change their meaning; new ones are added.
pub type TopicNames = Arc<Vec<Arc<str>>>;

/// Finds the topics of messages.
#[derive(Debug)]
pub struct Labeler {
    selector: Selector,
    ids: HashMap<Arc<str>, TopicId, RandomState>,
    names: TopicNames,
    limit: usize,
    /// Messages whose topic would have been one too many.
    beyond: u64,
    room: String,
}

impl Labeler {
    /// A labeler that knows no topic yet, and will know `limit` at most: messages of others are like
    /// such that have none.
    pub fn new(selector: Selector, limit: usize) -> Self {
        let names = Arc::new(vec![Arc::from("")]);
        Self { selector, ids: HashMap::default(), names, limit, beyond: 0, room: String::new() }
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
        // Taken out, since it is lent while the numbers are looked up.
        let mut room = std::mem::take(&mut self.room);
        for record in batch.records() {
            let found = self.selector.select(record.payload, &mut room);
            // Its own branch, so that the text need not be copied.
            let known = found.as_deref().and_then(|topic| self.ids.get(topic).copied());
            labels.push(match (known, found) {
                (Some(id), _) => id,
                (None, Some(topic)) => {
                    let topic = topic.into_owned();
                    self.id(&topic)
                }
                (None, None) => NO_TOPIC,
            });
        }
        self.room = room;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
