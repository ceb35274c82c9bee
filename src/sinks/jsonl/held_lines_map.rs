//! The writers whose files cannot be written, with the lines that wait for them.

use std::collections::BTreeMap;

use super::held_lines::HeldLines;
use super::writer_index::WriterIndex;
use crate::archive::received_lines::ReceivedLines;
use crate::base::time::{Hour, Receipt};

/// Maximum number of bytes that wait for one file.
const MAX_BYTES_PER_WRITER: usize = 4 << 20;
/// Maximum number of bytes that wait for all files.
const MAX_BYTES: usize = 16 << 20;

/// The writers whose files cannot be written, while others can, with the lines that wait for them.
/// Mostly there are none.
#[derive(Debug, Default)]
pub(super) struct HeldLinesMap {
    by_writer: BTreeMap<WriterIndex, HeldLines>,
    bytes: usize,
    messages: u64,
    /// Messages that were given up so far.
    discarded: u64,
    /// The writers whose last messages were given up at once, since they are larger than files may
    /// be.
    refused: BTreeMap<WriterIndex, RefusedMessages>,
}

/// Messages in a row that no file can take.
#[derive(Debug, Default)]
struct RefusedMessages {
    messages: u64,
    error: String,
}

impl HeldLinesMap {
    /// Returns whether every file can be written.
    pub(super) fn is_empty(&self) -> bool {
        self.by_writer.is_empty()
    }

    /// Returns the number of messages that wait.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Returns the number of messages that were given up.
    pub(super) fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Returns the lines that wait for the file of a writer.
    pub(super) fn get(&self, writer: WriterIndex) -> Option<&HeldLines> {
        self.by_writer.get(&writer)
    }

    /// Returns the last failure of the writer with the lowest index, of those whose lines wait, or
    /// whose messages are given up one after the other.
    pub(super) fn first_error(&self) -> Option<&str> {
        self.by_writer.values().next().map(HeldLines::error).or(self.refusal())
    }

    /// Returns the reason for which the last messages of a writer were given up one after the other;
    /// a single one is no trouble of the file.
    pub(super) fn refusal(&self) -> Option<&str> {
        let refused = self.refused.values().find(|refused| refused.messages > 1);
        refused.map(|refused| refused.error.as_str())
    }

    /// Counts a message of the writer that no file can take.
    pub(super) fn count_refused(&mut self, writer: WriterIndex, error: String) {
        let refused = self.refused.entry(writer).or_default();
        refused.messages += 1;
        refused.error = error;
        self.discarded += 1;
    }

    /// Records that lines of the writer were written.
    pub(super) fn end_refusal(&mut self, writer: WriterIndex) {
        self.refused.remove(&writer);
    }

    /// Returns the writers whose files cannot be written.
    pub(super) fn writers(&self) -> Vec<WriterIndex> {
        self.by_writer.keys().copied().collect()
    }

    /// Returns whether lines of this hour must wait behind others, since the next attempt to write
    /// is not due.
    pub(super) fn must_wait(&self, writer: WriterIndex, hour: Hour) -> bool {
        self.get(writer).is_some_and(|held| held.hour() == hour && !held.is_retry_due())
    }

    /// Returns the entry of the writer for the hour, which is made if there is none. The first
    /// message that waits has the receipt `first`.
    pub(super) fn entry(
        &mut self,
        writer: WriterIndex,
        hour: Hour,
        first: Receipt,
    ) -> &mut HeldLines {
        self.by_writer.entry(writer).or_insert_with(|| HeldLines::new(hour, first))
    }

    /// Appends lines to those that wait for the writer, as far as there is room. The rest is given
    /// up.
    pub(super) fn push(&mut self, writer: WriterIndex, lines: ReceivedLines<'_>) {
        let free = MAX_BYTES.saturating_sub(self.bytes);
        let Some(mut held) = self.take(writer) else { return };
        let room = MAX_BYTES_PER_WRITER.saturating_sub(held.bytes().len()).min(free);
        self.discarded += held.push(lines, room);
        self.put(writer, held);
    }

    /// Takes the entry of a writer. [`HeldLinesMap::put`] puts it back.
    pub(super) fn take(&mut self, writer: WriterIndex) -> Option<HeldLines> {
        let held = self.by_writer.remove(&writer)?;
        self.bytes -= held.bytes().len();
        self.messages -= held.messages();
        Some(held)
    }

    /// Puts an entry back.
    pub(super) fn put(&mut self, writer: WriterIndex, held: HeldLines) {
        self.bytes += held.bytes().len();
        self.messages += held.messages();
        self.by_writer.insert(writer, held);
    }

    /// Counts messages of an entry that were given up.
    pub(super) fn count_discarded(&mut self, messages: u64) {
        self.discarded += messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::receipt_runs::ReceiptRun;

    #[test]
    fn the_memory_of_one_file_and_of_all_is_bounded() {
        let mut map = HeldLinesMap::default();
        let line = [vec![b'x'; (1 << 20) - 1], b"\n".to_vec()].concat();
        let hour = Hour::starting_at(3600).unwrap();
        let now = hour.start().into();
        let run = ReceiptRun { receipt: now, bytes: line.len() };
        for position in 0..10 {
            let writer = WriterIndex::from_position(position);
            map.entry(writer, hour, now);
            for _ in 0..6 {
                map.push(writer, ReceivedLines::of_run(&line, 1, &run));
            }
        }
        assert_eq!((map.messages(), map.discarded()), (16, 44));
        assert_eq!(map.get(WriterIndex::FIRST).unwrap().messages(), 4);
        let held = map.take(WriterIndex::FIRST).unwrap();
        assert_eq!((map.messages(), held.messages()), (12, 4));
        map.put(WriterIndex::FIRST, held);
        assert_eq!(map.messages(), 16);
    }
}
