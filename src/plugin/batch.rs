//! What moves through a pipeline: the messages of one read, in one buffer.

mod topic_labeler;
mod verdict;

use std::ops::Range;

pub use self::topic_labeler::{NO_TOPIC, TopicId, TopicLabeler, TopicTable};
pub use self::verdict::{MessageFailure, MessageVerdict, MessageWriter};
use crate::base::time::UnixNanos;

/// Messages of one source, received by one read, in arrival order.
///
/// The buffer holds every payload followed by `\n`, so that a verbatim sink writes it as it
/// stands. No payload contains a `\n`: that is the line structure of the archive, and every
/// method here keeps it.
#[derive(Debug, Default)]
pub struct Batch {
    received: UnixNanos,
    bytes: Vec<u8>,
    /// For each message the offset just past its `\n`.
    ends: Vec<u32>,
    /// How many of the messages are answers, pongs and the like rather than data.
    control_count: usize,
    /// For each message the number of its topic; empty unless the batch is numbered.
    topic_ids: Vec<TopicId>,
    topic_table: Option<TopicTable>,
    /// Messages on which a stage failed, since this was last asked.
    failures: Vec<MessageFailure>,
}

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The message as received, without the line feed that follows it in the file.
    pub payload: &'a [u8],
    /// Its topic, where a plugin of the pipeline asked for topics and the source says where they are.
    pub topic: Option<&'a str>,
}

impl Batch {
    /// An empty batch that has taken no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// When the messages were read from the source. One time for the whole batch; it decides
    /// the hour in which they are filed.
    pub fn received(&self) -> UnixNanos {
        self.received
    }

    /// Sets the receive time. The engine does this after every read.
    pub fn set_received(&mut self, time: UnixNanos) {
        self.received = time;
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Every message followed by `\n`, as one block: the bytes of a JSONL file.
    pub fn as_lines(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether a message that carries data is among them. Only that proves to the engine that a
    /// connection works.
    pub fn has_data(&self) -> bool {
        self.ends.len() > self.control_count
    }

    /// Says how many of the messages are control messages (answers, pongs, heartbeats).
    pub fn set_control_count(&mut self, count: usize) {
        self.control_count = count;
    }

    /// The messages in arrival order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0;
        self.ends.iter().enumerate().map(move |(index, &end)| {
            let record = self.record(index, start..end as usize);
            start = end as usize;
            record
        })
    }

    /// The same messages, each with the line feed that follows it.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let line = self.bytes.get(start..end as usize).unwrap_or_default();
            start = end as usize;
            line
        })
    }

    /// The number of each message's topic, and the names that the numbers stand for; nothing for a
    /// batch that is not labelled.
    pub fn topics(&self) -> Option<(&[TopicId], &TopicTable)> {
        self.topic_table.as_ref().map(|names| (self.topic_ids.as_slice(), names))
    }

    /// Labels the messages: a number for each, see [`Labeler`].
    pub fn set_topics(&mut self, topics: Vec<TopicId>, names: TopicTable) {
        debug_assert_eq!(topics.len(), self.ends.len());
        (self.topic_ids, self.topic_table) = (topics, Some(names));
    }

    /// A copy of everything, for somebody who goes on with it by himself.
    pub(crate) fn clone_messages(&self) -> Self {
        Self {
            received: self.received,
            bytes: self.bytes.clone(),
            ends: self.ends.clone(),
            control_count: self.control_count,
            topic_ids: self.topic_ids.clone(),
            topic_table: self.topic_table.clone(),
            failures: Vec::new(),
        }
    }

    /// Numbers the topics of the messages. What the numbers stand for is still to be said.
    pub(crate) fn set_topic_ids(&mut self, topics: Vec<TopicId>) {
        debug_assert_eq!(topics.len(), self.ends.len());
        (self.topic_ids, self.topic_table) = (topics, None);
    }

    /// Whether each message has a number.
    pub(crate) fn has_topic_ids(&self) -> bool {
        !self.topic_ids.is_empty() && self.topic_ids.len() == self.ends.len()
    }

    /// Says what the numbers stand for.
    pub(crate) fn set_topic_table(&mut self, names: TopicTable) {
        self.topic_table = Some(names);
    }

    /// The buffer of labels, to be filled anew.
    pub(crate) fn take_topic_ids(&mut self) -> Vec<TopicId> {
        self.topic_table = None;
        std::mem::take(&mut self.topic_ids)
    }

    /// Appends a message. A `\n` in it becomes a space (in JSON it can only be white space
    /// between tokens); the result says how many did.
    ///
    /// # Panics
    /// When the batch would exceed 4 GiB, which no source's limits allow.
    pub fn push(&mut self, payload: &[u8]) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let folded = fold_newlines(self.bytes.get_mut(start..).unwrap_or_default());
        self.finish_line();
        folded
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.control_count = 0;
        self.topic_ids.clear();
        self.topic_table = None;
        self.failures.clear();
    }

    /// The memory that the batch holds, in bytes, used or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.topic_ids.capacity() * size_of::<TopicId>()
    }

    /// Gives back memory that is reserved and not used, by moving to buffers of the right size.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.topic_ids.shrink_to_fit();
    }

    /// Takes over whole lines and their ends, and leaves the batch's old buffers in their place.
    /// What follows the last end (a message that is not complete) stays with `lines`.
    pub(crate) fn swap_in_lines(&mut self, lines: &mut Vec<u8>, ends: &mut Vec<u32>) {
        let whole = ends.last().map_or(0, |&end| end as usize);
        self.clear();
        self.bytes.extend_from_slice(lines.get(whole..).unwrap_or_default());
        lines.truncate(whole);
        std::mem::swap(&mut self.bytes, lines);
        std::mem::swap(&mut self.ends, ends);
    }

    fn finish_line(&mut self) {
        self.bytes.push(b'\n');
        let end = u32::try_from(self.bytes.len()).expect("a batch is smaller than 4 GiB");
        self.ends.push(end);
        if self.topic_table.is_some() {
            self.topic_ids.resize(self.ends.len(), NO_TOPIC);
        }
    }

    /// The message of a line, whose last byte is its `\n`.
    fn record(&self, index: usize, line: Range<usize>) -> Record<'_> {
        let payload = self.bytes.get(line.start..line.end.saturating_sub(1)).unwrap_or_default();
        let topic = self.topic_table.as_ref().and_then(|names| {
            let id = *self.topic_ids.get(index)?;
            names.get(id as usize).filter(|_| id != NO_TOPIC).map(AsRef::as_ref)
        });
        Record { payload, topic }
    }
}

/// Turns every `\n` into a space and says how many there were.
pub(crate) fn fold_newlines(payload: &mut [u8]) -> usize {
    let mut folded = 0;
    for byte in payload.iter_mut().filter(|byte| **byte == b'\n') {
        *byte = b' ';
        folded += 1;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(messages: &[&str]) -> Batch {
        let mut batch = Batch::new();
        for message in messages {
            batch.push(message.as_bytes());
        }
        batch
    }

    fn payloads(batch: &Batch) -> Vec<String> {
        batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap()).collect()
    }

    #[test]
    fn lines_are_the_payloads_each_with_a_line_feed() {
        let batch = batch(&["a", "", "bc"]);
        assert_eq!(batch.as_lines(), b"a\n\nbc\n");
        assert_eq!(payloads(&batch), ["a", "", "bc"]);
    }

    #[test]
    fn a_line_feed_in_a_message_becomes_a_space_and_is_counted() {
        let mut batch = Batch::new();
        assert_eq!(batch.push(b"{\n\"a\":1\n}"), 2);
        assert_eq!(batch.as_lines(), b"{ \"a\":1 }\n");
    }

    #[test]
    fn control_messages_alone_are_no_data() {
        let mut batch = batch(&["ack", "trade"]);
        batch.set_control_count(2);
        assert!(!batch.has_data());
        batch.set_control_count(1);
        assert!(batch.has_data());
    }
}
