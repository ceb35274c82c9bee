//! The recorder's writer of a `.times` file.
//!
//! The index does not delay the recording: records wait in memory for the next tick, and those that
//! cannot be written are given up once there are too many.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::TICK_NANOS;
use super::times_block::{TimesBlock, ticks};
use super::times_file::TimesFile;
use crate::archive::disk::{self, FileError, PartialAppend};
use crate::archive::receipt_runs::ReceiptRun;
use crate::base::time::Hour;

/// Most bytes of records that wait to be written.
const MAX_PENDING_BYTES: usize = 1 << 20;

/// Appends records to the `.times` file of an hour. The file is open only while it is written to.
#[derive(Debug)]
pub(in crate::archive) struct TimesWriter {
    path: PathBuf,
    mode: u32,
    hour: Hour,
    /// The block that the next record is added to.
    block: Option<TimesBlock>,
    /// Complete blocks that are not written.
    pending: Vec<u8>,
    /// Length of the file, once its blocks were checked.
    file_len: Option<u64>,
    written_at: Instant,
    is_unsynced: bool,
}

impl TimesWriter {
    /// Returns a writer for the file at `path`. The first write opens it, or creates it with `mode`.
    pub(in crate::archive) fn new(path: PathBuf, mode: u32, hour: Hour) -> Self {
        Self {
            path,
            mode,
            hour,
            block: None,
            pending: Vec::new(),
            file_len: None,
            written_at: Instant::now(),
            is_unsynced: false,
        }
    }

    /// Records the receipts of the lines from byte `start` to byte `end` of the hour's file.
    pub(in crate::archive) fn record(&mut self, start: u64, end: u64, runs: &[ReceiptRun]) {
        let mut position = start;
        for run in runs {
            let bytes = (run.bytes as u64).min(end - position);
            if bytes == 0 {
                break;
            }
            let ticks = ticks(self.hour, run.receipt.received, TICK_NANOS);
            self.block_at(position).push(bytes, ticks);
            position += bytes;
        }
    }

    /// Returns the block for the record that begins at `position`.
    fn block_at(&mut self, position: u64) -> &mut TimesBlock {
        if self.block.as_ref().is_some_and(|block| block.is_full() || block.end() != position) {
            self.finish_block();
        }
        self.block.get_or_insert_with(|| TimesBlock::new(TICK_NANOS, position))
    }

    fn finish_block(&mut self) {
        if let Some(block) = self.block.take() {
            if self.pending.len() > MAX_PENDING_BYTES {
                // These lines are known by the marks of the journal alone.
                self.pending.clear();
            }
            block.encode_to(&mut self.pending);
        }
    }

    /// Returns whether records wait to be written.
    pub(in crate::archive) fn has_pending(&self) -> bool {
        self.block.is_some() || !self.pending.is_empty()
    }

    /// Writes the records that wait, unless that was done within `interval`.
    ///
    /// # Errors
    /// The file cannot be written. The records go on waiting.
    pub(in crate::archive) fn write_due(&mut self, interval: Duration) -> Result<(), FileError> {
        if !self.has_pending() || self.written_at.elapsed() < interval {
            return Ok(());
        }
        self.write()
    }

    /// Writes the records that wait.
    ///
    /// # Errors
    /// The file cannot be written. The records go on waiting.
    pub(in crate::archive) fn write(&mut self) -> Result<(), FileError> {
        self.finish_block();
        if self.pending.is_empty() {
            return Ok(());
        }
        self.written_at = Instant::now();
        let file = disk::open_append_with_mode(&self.path, self.mode)?;
        let found = file.metadata().map_err(FileError::from_io("read the size of", &self.path))?;
        let mut length = found.len();
        if self.file_len != Some(length) {
            // What a crash, a failed write or another program left behind would hide what follows.
            let valid_len = TimesFile::read(&self.path, self.hour)?.valid_len as u64;
            if valid_len < length {
                disk::cut_back(&file, &self.path, valid_len)?;
            }
            length = valid_len;
        }
        self.file_len = None;
        if let Err(PartialAppend { error, .. }) = disk::append_all(&file, &self.path, &self.pending)
        {
            return Err(error);
        }
        self.file_len = Some(length + self.pending.len() as u64);
        self.pending.clear();
        self.is_unsynced = true;
        Ok(())
    }

    /// Makes the records durable, those that wait included.
    ///
    /// # Errors
    /// A power cut may lose records. Their lines are then known by the marks of the journal alone.
    pub(in crate::archive) fn sync(&mut self) -> Result<(), FileError> {
        self.write()?;
        if std::mem::take(&mut self.is_unsynced) {
            disk::sync_if_exists(&self.path)?;
        }
        Ok(())
    }
}
