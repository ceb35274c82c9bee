//! What stages do to a batch.

use super::{Batch, Record, TopicId, fold_newlines};
use crate::plugin::BoxError;

/// What becomes of a message.
#[derive(Debug)]
pub enum MessageVerdict {
    /// It goes on.
    Keep,
    /// It is left out.
    Drop,
    /// It could not be judged, for this reason: it goes on unchanged and is counted, or is set aside
    /// where the stage has `on_error: "reject"`.
    Fail(BoxError),
    /// It is set aside, for this reason.
    Reject(BoxError),
}

/// A message on which a stage failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFailure {
    /// Its place in the batch.
    pub index: usize,
    /// Why.
    pub reason: String,
    /// Whether it is to be set aside in any case.
    pub must_reject: bool,
}

/// Where the messages go that take the place of one, see [`Batch::expand`].
#[derive(Debug)]
pub struct MessageWriter<'a> {
    out: &'a mut Batch,
    topic_id: Option<TopicId>,
}

impl MessageWriter<'_> {
    /// Appends a message. A `\n` in it becomes a space.
    pub fn push(&mut self, payload: &[u8]) {
        self.push_with(|out| out.extend_from_slice(payload));
    }

    /// Appends a message that `write` puts into the buffer it is given, behind what is there.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.bytes.len();
        write(&mut self.out.bytes);
        fold_newlines(self.out.bytes.get_mut(start..).unwrap_or_default());
        self.out.finish_line();
        self.out.topic_ids.extend(self.topic_id);
    }
}

impl Batch {
    /// Keeps the messages for which `keep` is true, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(Record<'_>) -> bool) {
        self.apply_verdicts(
            |record| if keep(record) { MessageVerdict::Keep } else { MessageVerdict::Drop },
        );
    }

    /// Does with every message as `judge` says, in order.
    pub fn apply_verdicts(&mut self, mut judge: impl FnMut(Record<'_>) -> MessageVerdict) {
        let mut start = 0;
        let (mut kept_bytes, mut kept) = (0, 0);
        for index in 0..self.ends.len() {
            let Some(&end) = self.ends.get(index) else {
                break;
            };
            let line = start..end as usize;
            start = line.end;
            let (reason, reject) = match judge(self.record(index, line.clone())) {
                MessageVerdict::Drop => continue,
                MessageVerdict::Keep => (None, false),
                MessageVerdict::Fail(reason) => (Some(reason), false),
                MessageVerdict::Reject(reason) => (Some(reason), true),
            };
            if let Some(reason) = reason {
                let reason = reason.to_string();
                self.failures.push(MessageFailure { index: kept, reason, must_reject: reject });
            }
            if kept < index {
                let length = line.len();
                self.bytes.copy_within(line, kept_bytes);
                kept_bytes += length;
                if let Some(&topic) = self.topic_ids.get(index)
                    && let Some(slot) = self.topic_ids.get_mut(kept)
                {
                    *slot = topic;
                }
                if let (Some(slot), Ok(end)) = (self.ends.get_mut(kept), u32::try_from(kept_bytes))
                {
                    *slot = end;
                }
            } else {
                kept_bytes = line.end;
            }
            kept += 1;
        }
        self.bytes.truncate(kept_bytes);
        self.ends.truncate(kept);
        self.topic_ids.truncate(kept);
        self.control_count = self.control_count.min(kept);
    }

    /// Replaces every message by what `write` appends to the buffer it is given. A `\n` in that
    /// becomes a space; a message for which nothing is appended becomes an empty line.
    ///
    /// # Panics
    /// As [`Batch::push`].
    pub fn rewrite(&mut self, mut write: impl FnMut(Record<'_>, &mut Vec<u8>)) {
        self.expand(|record, lines| {
            lines.push_with(|out| write(record, out));
            Ok(())
        });
    }

    /// Replaces every message by the messages that `write` gives for it: none, one or several. Where
    /// it fails, the message stays as it was and is counted, or is set aside where the stage has
    /// `on_error: "reject"`.
    ///
    /// # Panics
    /// As [`Batch::push`].
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
            let (bytes, ends, topics) = (out.bytes.len(), out.ends.len(), out.topic_ids.len());
            let topic = self.topic_ids.get(index).copied();
            let mut lines = MessageWriter { out: &mut out, topic_id: topic };
            if let Err(reason) = write(record, &mut lines) {
                out.bytes.truncate(bytes);
                out.ends.truncate(ends);
                out.topic_ids.truncate(topics);
                let (index, reason) = (out.len(), reason.to_string());
                out.failures.push(MessageFailure { index, reason, must_reject: false });
                MessageWriter { out: &mut out, topic_id: topic }.push(record.payload);
            }
        }
        self.bytes = out.bytes;
        self.ends = out.ends;
        self.topic_ids = out.topic_ids;
        self.failures.append(&mut out.failures);
        self.control_count = self.control_count.min(self.ends.len());
    }

    /// Appends a message on which the stage failed, for this reason.
    pub fn push_failed(&mut self, payload: &[u8], reason: impl Into<String>) {
        let (index, reason) = (self.len(), reason.into());
        self.push(payload);
        self.failures.push(MessageFailure { index, reason, must_reject: false });
    }

    /// The messages on which a stage failed since this was last asked.
    pub fn take_failures(&mut self) -> Vec<MessageFailure> {
        std::mem::take(&mut self.failures)
    }

    /// Takes the messages at these places, which ascend, out of the batch and gives them to `take`.
    pub(crate) fn extract_failed<'f>(
        &mut self,
        places: impl IntoIterator<Item = &'f MessageFailure>,
        mut take: impl FnMut(Record<'_>, &MessageFailure),
    ) {
        let mut places = places.into_iter().peekable();
        let mut index = 0;
        self.retain(|record| {
            let aside = places.next_if(|failed| failed.index == index);
            index += 1;
            if let Some(failed) = aside {
                take(record, failed);
            }
            aside.is_none()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

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
        let names = Arc::new(["", "a", "b"].map(Arc::from).to_vec());
        batch.set_topics(vec![1, 2, 0, 1], names);
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
}
