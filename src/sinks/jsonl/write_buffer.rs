//! Lines that wait to be written, so that one write serves many lines of a topic.

use std::collections::BTreeSet;

use super::topic_writers::TopicWriters;
use super::writer_index::WriterIndex;
use crate::archive::receipt_runs::ReceiptRuns;
use crate::archive::received_lines::ReceivedLines;
use crate::base::time::{Hour, Receipt};
use crate::plugin::BoxError;
use crate::plugin::batch::Batch;

/// Number of bytes from which on the lines are written before others are buffered.
const MAX_BUFFERED_BYTES: usize = 8 << 20;

/// The lines of one hour that are not yet written, in the order of their receipt.
///
/// Batches are copied in as blocks, and lines once more for the write of their topic. That is far
/// less work for the caches than a buffer for each topic.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    lines: Vec<BufferedLine>,
    /// Receipts of the batches.
    receipts: Vec<Receipt>,
    /// The lines of one writer, while they are written.
    scratch: Vec<u8>,
    /// The receipts of the lines of one writer, while they are written.
    scratch_runs: ReceiptRuns,
    /// Largest number of bytes in the buffer since memory was last released.
    high_water_mark: usize,
}

/// A line with its line feed: the position of its bytes in the buffer, its writer, and its batch.
#[derive(Debug, Clone, Copy)]
struct BufferedLine {
    writer: WriterIndex,
    start: u32,
    end: u32,
    /// Position of the batch among those in the buffer.
    batch: u32,
}

impl WriteBuffer {
    /// Copies the lines of the batch, each with its writer. Lines beyond the end of `writers` are
    /// for the first writer.
    ///
    /// # Panics
    /// At 4 GiB. A batch is smaller, and a buffer of [`MAX_BUFFERED_BYTES`] takes no further one.
    pub(super) fn push(&mut self, batch: &Batch, mut writers: impl Iterator<Item = WriterIndex>) {
        let mut start = self.bytes.len();
        let receipt = batch.receipt();
        if self.receipts.last() != Some(&receipt) {
            self.receipts.push(receipt);
        }
        let position = to_u32(self.receipts.len() - 1);
        self.bytes.extend_from_slice(batch.as_lines());
        self.lines.extend(batch.lines().map(|line| {
            let end = start + line.len();
            let writer = writers.next().unwrap_or(WriterIndex::FIRST);
            let line =
                BufferedLine { writer, start: to_u32(start), end: to_u32(end), batch: position };
            start = end;
            line
        }));
    }

    /// Returns whether no line is in the buffer.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the number of lines in the buffer.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns the hour in which the lines were received, or `None` for an empty buffer.
    pub(super) fn hour(&self) -> Option<Hour> {
        let last = self.receipts.last().filter(|_| !self.is_empty())?;
        Some(Hour::containing(last.received))
    }

    /// Returns whether the lines must be written before others are buffered.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= MAX_BUFFERED_BYTES
    }

    /// Writes all lines, with one write for each writer. Lines that cannot be written stay in the
    /// buffer.
    ///
    /// # Errors
    /// The first error of a writer. The others wrote their lines.
    pub(super) fn write_to(&mut self, writers: &mut TopicWriters) -> Result<(), BoxError> {
        let mut result = Ok(());
        let mut failed = BTreeSet::new();
        let mut start = 0;
        let receipt = self.receipts.last().copied().unwrap_or_default();
        for (position, end) in self.sort_by_writer().into_iter().enumerate() {
            let lines = self.lines.get(start..end).expect("ends ascend to the number of lines");
            start = end;
            if lines.is_empty() {
                continue;
            }
            self.scratch.clear();
            self.scratch_runs.clear();
            for line in lines {
                let bytes = self.bytes.get(line.start as usize..line.end as usize);
                let bytes = bytes.expect("lines lie within the buffer");
                self.scratch.extend_from_slice(bytes);
                let of_batch = self.receipts.get(line.batch as usize);
                let of_batch = *of_batch.expect("each line has a batch");
                self.scratch_runs.push(of_batch, bytes.len());
            }
            let writer = WriterIndex::from_position(position);
            let messages = lines.len() as u64;
            let lines = ReceivedLines {
                bytes: &self.scratch,
                messages,
                receipt,
                runs: self.scratch_runs.as_slice(),
            };
            if let Err(error) = writers.append(writer, lines) {
                failed.insert(writer);
                result = result.and(Err(error));
            }
        }
        self.retain_writers(&failed);
        result
    }

    /// Removes the lines of all writers but these.
    fn retain_writers(&mut self, writers: &BTreeSet<WriterIndex>) {
        self.high_water_mark = self.high_water_mark.max(self.bytes.len());
        self.lines.retain(|line| writers.contains(&line.writer));
        if self.is_empty() {
            self.bytes.clear();
            self.receipts.clear();
        }
        self.scratch.clear();
    }

    /// Releases the memory that was not needed since the last call.
    pub(super) fn shrink(&mut self) {
        let needed = std::mem::take(&mut self.high_water_mark);
        self.bytes.shrink_to(needed);
        self.scratch.shrink_to(needed);
        if needed == 0 {
            self.lines.shrink_to_fit();
            self.receipts.shrink_to_fit();
            self.scratch_runs.shrink();
        }
    }

    /// Puts the lines of each writer side by side, in the order of their receipt. Returns the end
    /// of the lines of each writer, in the order of writers.
    fn sort_by_writer(&mut self) -> Vec<usize> {
        // A counting sort: writers are few, and their indices are dense.
        let mut counts: Vec<usize> = Vec::new();
        for line in &self.lines {
            let position = line.writer.position();
            if counts.len() <= position {
                counts.resize(position + 1, 0);
            }
            *counts.get_mut(position).expect("the list was extended to this position") += 1;
        }
        let mut total = 0;
        let mut next_positions = counts;
        for next in &mut next_positions {
            total += std::mem::replace(next, total);
        }
        let mut sorted = self.lines.clone();
        for line in &self.lines {
            let next = next_positions.get_mut(line.writer.position());
            let next = next.expect("the lines of each writer were counted");
            *sorted.get_mut(*next).expect("there are as many positions as lines") = *line;
            *next += 1;
        }
        self.lines = sorted;
        // The next position of a writer is where its lines end.
        next_positions
    }
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).expect("the buffer is smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_huge_message_is_released() {
        let mut buffer = WriteBuffer::default();
        let mut batch = Batch::new();
        let writer = WriterIndex::from_position(1);
        batch.push(&vec![b'x'; 16 << 20]);
        buffer.push(&batch, std::iter::repeat(writer));
        buffer.scratch.extend_from_slice(batch.as_lines());
        buffer.retain_writers(&BTreeSet::from([writer]));
        assert_eq!(buffer.len(), 1);
        buffer.retain_writers(&BTreeSet::new());
        assert!(buffer.is_empty());
        let held = |buffer: &WriteBuffer| {
            buffer.bytes.capacity() + buffer.scratch.capacity() + buffer.lines.capacity()
        };
        buffer.shrink();
        assert!(held(&buffer) >= 16 << 20, "as much may be needed again");
        buffer.shrink();
        assert_eq!(held(&buffer), 0);
    }

    #[test]
    fn lines_beyond_the_end_of_the_writers_are_for_the_first_writer() {
        let mut buffer = WriteBuffer::default();
        let mut batch = Batch::new();
        for line in ["a", "b", "c"] {
            batch.push(line.as_bytes());
        }
        let second = WriterIndex::from_position(1);
        buffer.push(&batch, std::iter::once(second));
        let writers: Vec<WriterIndex> = buffer.lines.iter().map(|line| line.writer).collect();
        assert_eq!(writers, [second, WriterIndex::FIRST, WriterIndex::FIRST]);
    }
}
