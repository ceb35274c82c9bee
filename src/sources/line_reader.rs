//! Reading lines from a blocking reader, on a thread of its own.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;
use tracing::warn;

use crate::base::line_splitter::LineSplitter;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;

/// Maximum number of bytes read at a time.
const BLOCK_SIZE: usize = 64 << 10;
/// Maximum number of blocks that are read ahead.
const MAX_QUEUED_BLOCKS: usize = 4;

/// Reason for which a line is left out.
const NOT_UTF8: &str = "lines that are not UTF-8 text are not recorded; convert them first, such as with `iconv`, or decompress them";

/// Time after which the thread checks whether it must stop.
const POLL_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Waits up to 50 ms until a read would not block. Returns whether it would not.
pub(super) fn poll_readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    // An error of the descriptor is reported by the read.
    poll(&mut fds, Some(&POLL_TIMEOUT)).map_or(true, |ready| ready > 0)
}

/// Reads lines on a thread of its own.
pub(super) struct LineReader {
    blocks: mpsc::Receiver<io::Result<Vec<u8>>>,
    splitter: LineSplitter,
    stats: Arc<PipelineStats>,
    is_stopping: Arc<AtomicBool>,
    is_finished: bool,
    /// Number of lines that were read.
    line_number: u64,
    left_out: LeftOut,
}

/// The lines that are left out, since they are not UTF-8 text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Their number.
    pub(super) count: u64,
    /// Number of the first of them, from 1.
    pub(super) first_line: u64,
}

/// The reason for which there are no more lines.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// The reader is at its end.
    Eof,
    /// The reader failed.
    Failed(io::Error),
}

impl LineReader {
    /// Starts the thread. It ends with the reader, once the `LineReader` is dropped, or soon after
    /// [`LineReader::stop`].
    ///
    /// `wait` waits briefly until a read would not block, and returns whether it would not.
    pub(super) fn spawn(
        mut reader: impl Read + Send + 'static,
        wait: impl Fn() -> bool + Send + 'static,
        stats: Arc<PipelineStats>,
    ) -> io::Result<Self> {
        let (send, blocks) = mpsc::channel(MAX_QUEUED_BLOCKS);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let thread_is_stopping = Arc::clone(&is_stopping);
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            while !thread_is_stopping.load(Ordering::Relaxed) {
                if !wait() {
                    continue;
                }
                let mut block = vec![0; BLOCK_SIZE];
                let read = match reader.read(&mut block) {
                    Ok(0) => break,
                    Ok(read) => {
                        block.truncate(read);
                        Ok(block)
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let failed = read.is_err();
                if send.blocking_send(read).is_err() || failed {
                    break;
                }
            }
        })?;
        let splitter = LineSplitter::default();
        let left_out = LeftOut::default();
        let is_finished = false;
        Ok(Self { blocks, splitter, stats, is_stopping, is_finished, line_number: 0, left_out })
    }

    /// Returns the lines that were left out so far.
    pub(super) fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Stops reading. Complete lines that were read are still returned.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until `batch` has at least one line. A last line without a line feed is a line, unless
    /// the reader was stopped.
    ///
    /// # Cancel safety
    /// Lines that were read stay in the reader until they are in a batch.
    pub(super) async fn read_lines(&mut self, batch: &mut Batch) -> Result<(), ReadEnd> {
        while batch.is_empty() {
            if self.is_finished {
                return Err(ReadEnd::Eof);
            }
            match self.blocks.recv().await {
                Some(Ok(block)) => self.split_block(&block, batch)?,
                Some(Err(error)) => return Err(ReadEnd::Failed(error)),
                None => {
                    self.is_finished = true;
                    let Some(last) = self.splitter.take_partial_line() else { continue };
                    if self.is_stopping.load(Ordering::Relaxed) {
                        warn!(bytes = last.len(), "the last line is incomplete and left out");
                        self.stats.undecodable.add(1);
                    } else {
                        self.line_number += 1;
                        self.left_out.push_text(&last, self.line_number, batch, &self.stats);
                    }
                }
            }
        }
        Ok(())
    }

    fn split_block(&mut self, block: &[u8], batch: &mut Batch) -> Result<(), ReadEnd> {
        let stats = &self.stats;
        let line_number = &mut self.line_number;
        let left_out = &mut self.left_out;
        let split = self.splitter.push_block(block, |line| {
            *line_number += 1;
            left_out.push_text(line, *line_number, batch, stats);
        });
        split.map_err(|error| ReadEnd::Failed(io::Error::other(error)))
    }
}

impl LeftOut {
    /// Adds a line to the batch, without the byte order mark that some editors write before the first
    /// one. A line that is not UTF-8 is counted and left out.
    fn push_text(&mut self, line: &[u8], number: u64, batch: &mut Batch, stats: &PipelineStats) {
        let mark = b"\xef\xbb\xbf";
        let line = if number == 1 { line.strip_prefix(mark).unwrap_or(line) } else { line };
        if simdutf8::basic::from_utf8(line).is_ok() {
            batch.push(line);
        } else {
            if self.count == 0 {
                self.first_line = number;
            }
            self.count += 1;
            stats.report_undecodable(1, NOT_UTF8);
        }
    }
}
