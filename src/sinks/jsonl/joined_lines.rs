//! Lines of the only file that wait to be written together.

use std::time::{Duration, Instant};

use super::topic_writers::TopicWriters;
use super::writer_index::WriterIndex;
use crate::archive::receipt_runs::{ReceiptRun, ReceiptRuns};
use crate::archive::received_lines::ReceivedLines;
use crate::base::time::{Hour, Receipt};
use crate::plugin::BoxError;
use crate::plugin::batch::Batch;

/// Number of bytes from which on the lines are written before others are joined.
const MAX_JOINED_BYTES: usize = 8 << 20;
/// Size of a batch, in bytes, from which on a write of its own costs less than a copy.
const LARGE_BATCH_BYTES: usize = 64 << 10;
/// Duration of a write, apart from the time for its bytes, from which on large batches are joined,
/// too.
const SLOW_WRITE: Duration = Duration::from_millis(10);
/// Time for a byte of a write on a disk that is not slow.
const NANOS_PER_BYTE: u64 = 5;

/// The lines of one hour that are not yet written, in the order of their receipt.
///
/// Where several small batches wait, one write serves them all. Where a write takes long, so that
/// more batches come meanwhile, it serves large ones as well.
#[derive(Debug, Default)]
pub(super) struct JoinedLines {
    bytes: Vec<u8>,
    messages: u64,
    runs: ReceiptRuns,
    /// Receipt of the last line.
    last_receipt: Receipt,
    /// Set if the last write took long.
    is_disk_slow: bool,
    /// Largest number of bytes that were joined since memory was last released.
    high_water_mark: usize,
}

impl JoinedLines {
    /// Returns the number of lines that are not yet written.
    pub(super) fn len(&self) -> u64 {
        self.messages
    }

    /// Takes the lines of the batch. Writes them at once if that costs less than to join them.
    ///
    /// # Errors
    /// The batch was not taken. Lines that were joined before stay joined.
    pub(super) fn push(
        &mut self,
        batch: &Batch,
        writers: &mut TopicWriters,
    ) -> Result<(), BoxError> {
        let lines = batch.as_lines();
        let is_large = lines.len() >= LARGE_BATCH_BYTES && !self.is_disk_slow;
        let is_full = self.bytes.len() + lines.len() > MAX_JOINED_BYTES;
        // Lines of one hour only are written together.
        let is_next_hour =
            Hour::containing(self.last_receipt.received) != Hour::containing(batch.received());
        if is_large || is_full || is_next_hour {
            self.write_to(writers)?;
        }
        let receipt = batch.receipt();
        self.last_receipt = receipt;
        let messages = batch.len() as u64;
        if is_large {
            let run = ReceiptRun { receipt, bytes: lines.len() };
            return self.append(ReceivedLines::of_run(lines, messages, &run), writers);
        }
        self.bytes.extend_from_slice(lines);
        self.runs.push(receipt, lines.len());
        self.messages += messages;
        Ok(())
    }

    /// Writes all lines.
    ///
    /// # Errors
    /// None of the lines is written; they stay joined.
    pub(super) fn write_to(&mut self, writers: &mut TopicWriters) -> Result<(), BoxError> {
        if self.messages == 0 {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        let runs = std::mem::take(&mut self.runs);
        let lines = ReceivedLines {
            bytes: &bytes,
            messages: self.messages,
            receipt: self.last_receipt,
            runs: runs.as_slice(),
        };
        let written = self.append(lines, writers);
        self.bytes = bytes;
        self.runs = runs;
        self.high_water_mark = self.high_water_mark.max(self.bytes.len());
        written?;
        self.bytes.clear();
        self.runs.clear();
        self.messages = 0;
        Ok(())
    }

    fn append(
        &mut self,
        lines: ReceivedLines<'_>,
        writers: &mut TopicWriters,
    ) -> Result<(), BoxError> {
        writers.recover_stalled_dir();
        let started = Instant::now();
        let written = writers.append(WriterIndex::FIRST, lines);
        self.is_disk_slow = is_slow(started.elapsed(), lines.bytes.len());
        written
    }

    /// Releases the memory that was not needed since the last call.
    pub(super) fn shrink(&mut self) {
        let needed = std::mem::take(&mut self.high_water_mark);
        self.bytes.shrink_to(needed);
        self.runs.shrink();
    }
}

/// Returns whether a write of so many bytes took so long that the disk, and not the copy, counts.
fn is_slow(duration: Duration, bytes: usize) -> bool {
    duration >= SLOW_WRITE + Duration::from_nanos(NANOS_PER_BYTE * bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_slow_by_the_duration_of_a_write_and_its_size() {
        for (milliseconds, bytes, expected) in
            [(5, 100, false), (20, 100, true), (20, 8 << 20, false), (300, 8 << 20, true)]
        {
            assert_eq!(is_slow(Duration::from_millis(milliseconds), bytes), expected);
        }
    }
}
