//! What moves through a pipeline: the messages of one read, in one buffer.

use std::ops::Range;

use crate::clock::UnixNanos;

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
    control: usize,
}

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The message as received, without the line feed that follows it in the file.
    pub payload: &'a [u8],
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
        self.ends.len() > self.control
    }

    /// Says how many of the messages are control messages (answers, pongs, heartbeats).
    pub fn set_control(&mut self, count: usize) {
        self.control = count;
    }

    /// The messages in arrival order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let record = record_at(&self.bytes, start..end as usize);
            start = end as usize;
            record
        })
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
        self.end_message();
        folded
    }

    /// Keeps the messages for which `keep` is true, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(Record<'_>) -> bool) {
        let mut start = 0;
        let (mut kept_bytes, mut kept) = (0, 0);
        for index in 0..self.ends.len() {
            let Some(&end) = self.ends.get(index) else {
                break;
            };
            let line = start..end as usize;
            start = line.end;
            if keep(record_at(&self.bytes, line.clone())) {
                let length = line.len();
                self.bytes.copy_within(line, kept_bytes);
                kept_bytes += length;
                if let (Some(slot), Ok(end)) = (self.ends.get_mut(kept), u32::try_from(kept_bytes))
                {
                    *slot = end;
                }
                kept += 1;
            }
        }
        self.bytes.truncate(kept_bytes);
        self.ends.truncate(kept);
        self.control = self.control.min(kept);
    }

    /// Replaces every message by what `write` appends to the buffer it is given. A `\n` in that
    /// becomes a space; a message for which nothing is appended becomes an empty line.
    ///
    /// # Panics
    /// As [`Batch::push`].
    pub fn rewrite(&mut self, mut write: impl FnMut(Record<'_>, &mut Vec<u8>)) {
        let mut out = Self { bytes: Vec::with_capacity(self.bytes.len()), ..Self::new() };
        for record in self.records() {
            let start = out.bytes.len();
            write(record, &mut out.bytes);
            fold_newlines(out.bytes.get_mut(start..).unwrap_or_default());
            out.end_message();
        }
        self.bytes = out.bytes;
        self.ends = out.ends;
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.control = 0;
    }

    /// The memory that the batch holds, in bytes, used or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// Gives back memory that is reserved and not used, by moving to buffers of the right size.
    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Takes over whole lines and their ends, and leaves the batch's old buffers in their place.
    /// What follows the last end (a message that is not complete) stays with `lines`.
    pub(crate) fn take_lines(&mut self, lines: &mut Vec<u8>, ends: &mut Vec<u32>) {
        let whole = ends.last().map_or(0, |&end| end as usize);
        self.clear();
        self.bytes.extend_from_slice(lines.get(whole..).unwrap_or_default());
        lines.truncate(whole);
        std::mem::swap(&mut self.bytes, lines);
        std::mem::swap(&mut self.ends, ends);
    }

    fn end_message(&mut self) {
        self.bytes.push(b'\n');
        let end = u32::try_from(self.bytes.len()).expect("a batch is smaller than 4 GiB");
        self.ends.push(end);
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

/// The record of a line, whose last byte is its `\n`.
fn record_at(bytes: &[u8], line: Range<usize>) -> Record<'_> {
    Record { payload: bytes.get(line.start..line.end.saturating_sub(1)).unwrap_or_default() }
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
    fn control_messages_alone_are_no_data() {
        let mut batch = batch(&["ack", "trade"]);
        batch.set_control(2);
        assert!(!batch.has_data());
        batch.set_control(1);
        assert!(batch.has_data());
    }
}
