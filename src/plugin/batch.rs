//! Batches: the messages of one read, in one buffer, on their way through a pipeline.

mod message_failure;
mod record;
mod topic_id;
mod topic_labeler;
mod verdict;

use std::ops::Range;

pub use self::message_failure::{FailureKind, MessageFailure};
pub use self::record::Record;
pub use self::topic_id::{TopicId, TopicTable};
pub(crate) use self::topic_labeler::MAX_TOPICS;
pub use self::topic_labeler::TopicLabeler;
pub use self::verdict::MessageVerdict;
use super::BoxError;
use crate::base::time::{Receipt, UnixNanos};

/// Messages of one source, received by one read, in arrival order.
///
/// The buffer holds every payload followed by `\n`, so that a verbatim sink writes it as it is. No
/// payload contains a `\n`: that is the line structure of the archive, and every method here keeps
/// it.
#[derive(Debug, Default)]
pub struct Batch {
    receipt: Receipt,
    bytes: Vec<u8>,
    /// For each message the offset just past its `\n`.
    ends: Vec<u32>,
    /// Number of the messages that are answers, pongs and the like rather than data.
    control_count: usize,
    /// For each message the number of its topic; empty unless the batch is labeled.
    topic_ids: Vec<TopicId>,
    topic_table: Option<TopicTable>,
    /// Messages on which a stage failed, in order, since they were last taken.
    failures: Vec<MessageFailure>,
}

impl Batch {
    /// Creates an empty batch that has allocated no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the time at which the messages were read from the source.
    ///
    /// The whole batch has one time. It decides the hour in which the messages are filed.
    pub fn received(&self) -> UnixNanos {
        self.receipt.received
    }

    /// Returns the time at which the messages were read, and how far reading had got by then.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// Sets the receipt. The engine does this after every read.
    pub fn set_receipt(&mut self, receipt: Receipt) {
        self.receipt = receipt;
    }

    /// Sets the receive time, after which nothing was left unread.
    pub fn set_received(&mut self, time: UnixNanos) {
        self.receipt = time.into();
    }

    /// Returns the number of messages.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns whether the batch has no messages.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns every message followed by `\n`, as one block: the bytes of a JSONL file.
    pub fn as_lines(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns whether a message carries data. Only that proves to the engine that a connection
    /// works.
    pub fn has_data(&self) -> bool {
        self.ends.len() > self.control_count
    }

    /// Returns the number of the messages that are known to be control messages.
    pub(crate) fn control_count(&self) -> usize {
        self.control_count
    }

    /// Sets the number of the messages that are control messages (answers, pongs, heartbeats).
    pub fn set_control_count(&mut self, count: usize) {
        self.control_count = count;
    }

    /// Returns the messages in arrival order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.line_ranges().enumerate().map(|(index, range)| Record {
            payload: payload(&self.bytes, range),
            topic: topic(self.topic_table.as_ref(), &self.topic_ids, index),
        })
    }

    /// Returns the messages in arrival order, each with the line feed that follows it.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.line_ranges().map(|range| line(&self.bytes, range))
    }

    /// Returns the number of each message's topic, and the names of the numbers; `None` for a batch
    /// that is not labeled.
    pub fn topics(&self) -> Option<(&[TopicId], &TopicTable)> {
        self.topic_table.as_ref().map(|table| (self.topic_ids.as_slice(), table))
    }

    /// Labels the messages with the numbers of their topics, see [`TopicLabeler`].
    ///
    /// # Panics
    /// Panics if there is not one number for each message, or the table lacks one of them.
    pub fn set_topics(&mut self, topic_ids: Vec<TopicId>, table: TopicTable) {
        assert!(topic_ids.iter().all(|id| id.index() < table.len()), "a number without a name");
        self.set_topic_ids(topic_ids);
        self.set_topic_table(table);
    }

    /// Sets the numbers of the messages' topics. Their names are set later, see
    /// [`set_topic_table`](Self::set_topic_table).
    pub(crate) fn set_topic_ids(&mut self, topic_ids: Vec<TopicId>) {
        assert_eq!(topic_ids.len(), self.ends.len(), "every message has one topic number");
        self.topic_ids = topic_ids;
        self.topic_table = None;
    }

    /// Sets the names of the topic numbers.
    pub(crate) fn set_topic_table(&mut self, table: TopicTable) {
        self.topic_table = Some(table);
    }

    /// Returns whether each message has a topic number.
    pub(crate) fn has_topic_ids(&self) -> bool {
        !self.topic_ids.is_empty() && self.topic_ids.len() == self.ends.len()
    }

    /// Takes the buffer of topic numbers, to be filled anew.
    pub(crate) fn take_topic_ids(&mut self) -> Vec<TopicId> {
        self.topic_table = None;
        std::mem::take(&mut self.topic_ids)
    }

    /// Appends a message and returns the number of line feeds in it.
    ///
    /// Each line feed becomes a space, and so does a carriage return beside it. In JSON both can
    /// only be white space between tokens.
    ///
    /// # Panics
    /// Panics if the batch would exceed 4 GiB, which no source's limits allow.
    pub fn push(&mut self, payload: &[u8]) -> usize {
        self.push_line(|bytes| bytes.extend_from_slice(payload))
    }

    /// Appends a message on which the stage failed, for this reason.
    pub fn push_failed(&mut self, payload: &[u8], reason: impl Into<String>) {
        let index = self.len();
        self.push(payload);
        let reason = reason.into();
        self.failures.push(MessageFailure { index, reason, kind: FailureKind::Failed });
    }

    /// Keeps the messages for which `keep` returns true, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(Record<'_>) -> bool) {
        self.apply_verdicts(
            |record| if keep(record) { MessageVerdict::Keep } else { MessageVerdict::Drop },
        );
    }

    /// Applies the verdict that `judge` returns to every message, in order.
    pub fn apply_verdicts(&mut self, mut judge: impl FnMut(Record<'_>) -> MessageVerdict) {
        let Self { bytes, ends, topic_ids, topic_table, failures, .. } = self;
        let mut index = 0;
        let mut start = 0;
        let mut kept = 0;
        let mut kept_end = 0;
        ends.retain_mut(|end| {
            let range = start as usize..*end as usize;
            let length = *end - start;
            let record = Record {
                payload: payload(bytes, range.clone()),
                topic: topic(topic_table.as_ref(), topic_ids, index),
            };
            let verdict = judge(record);
            let position = index;
            index += 1;
            start = *end;
            let failure = match verdict {
                MessageVerdict::Drop => return false,
                MessageVerdict::Keep => None,
                MessageVerdict::Fail(reason) => Some((reason, FailureKind::Failed)),
                MessageVerdict::Reject(reason) => Some((reason, FailureKind::Rejected)),
            };
            if let Some((reason, kind)) = failure {
                failures.push(MessageFailure { index: kept, reason: reason.to_string(), kind });
            }
            if kept < position {
                bytes.copy_within(range, kept_end as usize);
                if !topic_ids.is_empty() {
                    topic_ids.swap(kept, position);
                }
            }
            kept += 1;
            kept_end += length;
            *end = kept_end;
            true
        });
        self.bytes.truncate(kept_end as usize);
        self.topic_ids.truncate(kept);
        self.control_count = self.control_count.min(kept);
    }

    /// Replaces every message by the bytes that `write` appends to the buffer.
    ///
    /// A line feed in them becomes a space. A message for which nothing is appended becomes an
    /// empty line.
    ///
    /// # Panics
    /// See [`MessageWriter::push_with`].
    pub fn rewrite(&mut self, mut write: impl FnMut(Record<'_>, &mut Vec<u8>)) {
        self.expand(|record, lines| {
            lines.push_with(|out| write(record, out));
            Ok(())
        });
    }

    /// Replaces every message by the messages that `write` pushes: none, one or several.
    ///
    /// A message for which `write` fails stays as it was and is counted, or is set aside if the
    /// stage has `on_error: "reject"`.
    ///
    /// # Panics
    /// See [`Batch::push`].
    pub fn expand(
        &mut self,
        mut write: impl FnMut(Record<'_>, &mut MessageWriter<'_>) -> Result<(), BoxError>,
    ) {
        let mut out = Self {
            bytes: Vec::with_capacity(self.bytes.len()),
            ends: Vec::with_capacity(self.ends.len()),
            ..Self::new()
        };
        for (index, record) in self.records().enumerate() {
            let bytes_before = out.bytes.len();
            let messages_before = out.ends.len();
            let topics_before = out.topic_ids.len();
            // None in a batch that is not labeled.
            let topic_id = self.topic_ids.get(index).copied();
            let mut writer = MessageWriter { out: &mut out, topic_id };
            if let Err(reason) = write(record, &mut writer) {
                out.bytes.truncate(bytes_before);
                out.ends.truncate(messages_before);
                out.topic_ids.truncate(topics_before);
                out.failures.push(MessageFailure {
                    index: messages_before,
                    reason: reason.to_string(),
                    kind: FailureKind::Failed,
                });
                MessageWriter { out: &mut out, topic_id }.push(record.payload);
            }
        }
        self.bytes = out.bytes;
        self.ends = out.ends;
        self.topic_ids = out.topic_ids;
        self.failures.append(&mut out.failures);
        self.control_count = self.control_count.min(self.ends.len());
    }

    /// Drains the messages on which a stage failed.
    pub fn take_failures(&mut self) -> Vec<MessageFailure> {
        std::mem::take(&mut self.failures)
    }

    /// Removes the messages with these failures, whose indices ascend, and passes them to `take`.
    pub(crate) fn extract_failed<'f>(
        &mut self,
        failures: impl IntoIterator<Item = &'f MessageFailure>,
        mut take: impl FnMut(Record<'_>, &MessageFailure),
    ) {
        let mut failures = failures.into_iter().peekable();
        let mut index = 0;
        self.retain(|record| {
            let failure = failures.next_if(|failure| failure.index == index);
            index += 1;
            if let Some(failure) = failure {
                take(record, failure);
            }
            failure.is_none()
        });
    }

    /// Returns a copy of the messages and their topics, without the failures.
    pub(crate) fn clone_messages(&self) -> Self {
        Self {
            receipt: self.receipt,
            bytes: self.bytes.clone(),
            ends: self.ends.clone(),
            control_count: self.control_count,
            topic_ids: self.topic_ids.clone(),
            topic_table: self.topic_table.clone(),
            failures: Vec::new(),
        }
    }

    /// Removes all messages and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.control_count = 0;
        self.topic_ids.clear();
        self.topic_table = None;
        self.failures.clear();
    }

    /// Returns the memory that the batch has reserved, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.topic_ids.capacity() * size_of::<TopicId>()
    }

    /// Frees memory that is reserved and not used, by moving to buffers of the right size.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.topic_ids.shrink_to_fit();
    }

    /// Replaces the messages by complete lines and their ends, and leaves the batch's old buffers
    /// in their place. Bytes after the last end (an incomplete message) stay in `lines`.
    pub(crate) fn swap_in_lines(&mut self, lines: &mut Vec<u8>, ends: &mut Vec<u32>) {
        let complete = ends.last().map_or(0, |&end| end as usize);
        self.clear();
        self.bytes.extend_from_slice(lines.get(complete..).expect("every end is within `lines`"));
        lines.truncate(complete);
        std::mem::swap(&mut self.bytes, lines);
        std::mem::swap(&mut self.ends, ends);
    }

    /// Appends the message that `write` appends to the buffer, and returns the number of line feeds
    /// that became spaces.
    fn push_line(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let payload = self.bytes.get_mut(start..);
        let folded = fold_newlines(payload.expect("a writer of messages appends only"));
        self.bytes.push(b'\n');
        let end = u32::try_from(self.bytes.len()).expect("a batch is smaller than 4 GiB");
        self.ends.push(end);
        if self.topic_table.is_some() {
            self.topic_ids.resize(self.ends.len(), TopicId::NONE);
        }
        folded
    }

    /// Returns the position of each message in the buffer, with the line feed that follows it.
    fn line_ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let range = start..end as usize;
            start = range.end;
            range
        })
    }
}

/// The destination of the messages that replace another, see [`Batch::expand`].
#[derive(Debug)]
pub struct MessageWriter<'a> {
    out: &'a mut Batch,
    topic_id: Option<TopicId>,
}

impl MessageWriter<'_> {
    /// Appends a message. A line feed in it becomes a space.
    pub fn push(&mut self, payload: &[u8]) {
        self.push_with(|out| out.extend_from_slice(payload));
    }

    /// Appends the message that `write` appends to the buffer, which already holds other messages.
    ///
    /// # Panics
    /// Panics if `write` removes bytes of other messages, and see [`Batch::push`].
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.push_line(write);
        self.out.topic_ids.extend(self.topic_id);
    }
}

/// Returns the bytes of a message with its line feed.
fn line(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).expect("the ends of messages ascend and are within the buffer")
}

/// Returns the bytes of a message without its line feed.
fn payload(bytes: &[u8], range: Range<usize>) -> &[u8] {
    line(bytes, range).strip_suffix(b"\n").expect("every message ends with a line feed")
}

/// Returns the topic of the message at this position; `None` in a batch that is not labeled.
fn topic<'a>(table: Option<&'a TopicTable>, ids: &[TopicId], index: usize) -> Option<&'a str> {
    let table = table?;
    table.name(*ids.get(index).expect("every message of a labeled batch has a topic number"))
}

/// Turns every line break into spaces, byte by byte, and returns the number of line feeds.
///
/// A carriage return belongs to a line break if it adjoins a line feed, as in `\r\n`: many readers
/// would end the line there. By itself it is content.
pub(crate) fn fold_newlines(payload: &mut [u8]) -> usize {
    let mut folded = 0;
    let mut rest = payload;
    while let Some(feed) = memchr::memchr(b'\n', rest) {
        let (before, after) = rest.split_at_mut(feed);
        let Some((feed, after)) = after.split_first_mut() else { break };
        *feed = b' ';
        folded += 1;
        let is_return = |byte: &&mut u8| **byte == b'\r';
        before.iter_mut().rev().take_while(is_return).for_each(|byte| *byte = b' ');
        after.iter_mut().take_while(is_return).for_each(|byte| *byte = b' ');
        rest = after;
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
    fn carriage_returns_beside_a_line_feed_are_folded_with_it_and_others_stay() {
        for (message, line, feeds) in [
            ("{\r\n\"a\": 1\r\n}", "{  \"a\": 1  }", 2),
            ("\r\n", "  ", 1),
            ("a\r\r\nb\n\rc\r\n\r\nd", "a   b  c    d", 4),
            ("a\rb\nc\r", "a\rb c\r", 1),
            ("a\r", "a\r", 0),
            ("\r", "\r", 0),
        ] {
            let mut batch = Batch::new();
            assert_eq!(batch.push(message.as_bytes()), feeds, "{message:?}");
            assert_eq!(batch.as_lines(), format!("{line}\n").as_bytes());
        }
    }

    #[test]
    fn control_messages_alone_are_not_data() {
        let mut batch = batch(&["ack", "trade"]);
        batch.set_control_count(2);
        assert!(!batch.has_data());
        batch.set_control_count(1);
        assert!(batch.has_data());
    }

    #[test]
    fn retain_keeps_order_and_lines() {
        let mut batch = batch(&["a1", "b", "a2", "", "a3"]);
        batch.retain(|record| record.payload.starts_with(b"a"));
        assert_eq!(batch.as_lines(), b"a1\na2\na3\n");
        assert_eq!(payloads(&batch), ["a1", "a2", "a3"]);
        batch.retain(|_| false);
        assert!(batch.is_empty() && batch.as_lines().is_empty());
    }

    #[test]
    fn rewrite_cannot_break_the_line_structure() {
        let mut batch = batch(&["a", "b"]);
        batch.rewrite(|record, out| {
            out.extend_from_slice(record.payload);
            out.extend_from_slice(b"\n!");
        });
        assert_eq!(batch.as_lines(), b"a !\nb !\n");
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn expand_yields_zero_or_more_messages_and_keeps_a_failed_one() {
        let mut batch = batch(&["0", "1", "x", "2"]);
        let [a, b] = [1, 2].map(|number| TopicId::new(number).unwrap());
        batch.set_topics(vec![a, b, TopicId::NONE, a], TopicTable::new(["a", "b"]));
        batch.expand(|record, lines| {
            let text = std::str::from_utf8(record.payload)?;
            let Ok(times) = text.parse() else {
                lines.push(b"half of the work");
                return Err("no number".into());
            };
            for _ in 0..times {
                lines.push(text.as_bytes());
            }
            Ok(())
        });
        assert_eq!(payloads(&batch), ["1", "x", "2", "2"]);
        let topics: Vec<_> = batch.records().map(|record| record.topic).collect();
        assert_eq!(topics, [Some("b"), None, Some("a"), Some("a")]);
        let failed = batch.take_failures();
        assert_eq!((failed.len(), failed[0].index), (1, 1));
        assert_eq!(failed[0].reason, "no number");
        assert_eq!(failed[0].kind, FailureKind::Failed);
    }

    #[test]
    fn rejected_messages_are_extracted_with_their_reasons() {
        let mut batch = batch(&["a", "bad", "b", "worse", "c"]);
        batch.apply_verdicts(|record| match record.payload {
            b"a" => MessageVerdict::Drop,
            b"bad" | b"worse" => MessageVerdict::Reject("no".into()),
            _ => MessageVerdict::Keep,
        });
        let failed = batch.take_failures();
        let mut aside = Vec::new();
        batch.extract_failed(&failed, |record, failed| {
            aside.push((record.payload.to_vec(), failed.reason.clone()));
        });
        assert_eq!(payloads(&batch), ["b", "c"]);
        assert_eq!(aside, [(b"bad".to_vec(), "no".into()), (b"worse".to_vec(), "no".into())]);
    }

    #[test]
    fn retain_keeps_each_message_with_its_topic() {
        let mut batch = batch(&["0", "1", "2", "3"]);
        let [a, b] = [1, 2].map(|number| TopicId::new(number).unwrap());
        batch.set_topics(vec![a, b, TopicId::NONE, b], TopicTable::new(["a", "b"]));
        batch.retain(|record| record.payload != b"0");
        let topics: Vec<_> = batch.records().map(|record| record.topic).collect();
        assert_eq!(topics, [Some("b"), None, Some("b")]);
        assert_eq!(payloads(&batch), ["1", "2", "3"]);
    }

    #[test]
    #[should_panic(expected = "appends only")]
    fn a_writer_that_removes_bytes_of_other_messages_panics() {
        let mut batch = batch(&["a", "b"]);
        batch.rewrite(|_, out| out.clear());
    }
}
