//! Lines from something that is read with plain, blocking calls, on a thread of its own.

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

/// How much is read at a time.
const BLOCK_SIZE: usize = 64 << 10;
/// So many blocks may wait to be taken.
const MAX_QUEUED_BLOCKS: usize = 4;

/// How long a reader waits before it looks whether it is to stop.
const POLL_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Waits a moment for something to read; says whether there is, or an end of it.
pub(super) fn poll_readable(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    // What is wrong with it shows when it is read.
    poll(&mut fds, Some(&POLL_TIMEOUT)).map_or(true, |ready| ready > 0)
}

/// A reader at work.
pub(super) struct LineReader {
    blocks: mpsc::Receiver<io::Result<Vec<u8>>>,
    splitter: LineSplitter,
    stats: Arc<PipelineStats>,
    stopping: Arc<AtomicBool>,
    finished: bool,
}

/// Why nothing more comes.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// It was read to its end.
    Eof,
    /// It could not be read.
    Failed(io::Error),
}

impl LineReader {
    /// Reads on a thread that ends with the reader, when nobody takes what it reads, or soon after
    /// [`Reading::stop`]. `wait` waits a moment for something to read, and says whether there is.
    pub(super) fn spawn(
        mut reader: impl Read + Send + 'static,
        wait: impl Fn() -> bool + Send + 'static,
        stats: Arc<PipelineStats>,
    ) -> io::Result<Self> {
        let (send, blocks) = mpsc::channel(MAX_QUEUED_BLOCKS);
        let stopping = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stopping);
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
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
        Ok(Self { blocks, splitter: LineSplitter::default(), stats, stopping, finished: false })
    }

    /// Nothing more is read. What was is still given, but for a line that is not complete.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits for a line at least. A last line without a line feed is one, too.
    ///
    /// # Cancel safety
    /// What was read stays here until it is in a batch.
    pub(super) async fn read_lines(&mut self, batch: &mut Batch) -> Result<(), ReadEnd> {
        while batch.is_empty() {
            if self.finished {
                return Err(ReadEnd::Eof);
            }
            match self.blocks.recv().await {
                Some(Ok(block)) => self.split_block(&block, batch)?,
                Some(Err(error)) => return Err(ReadEnd::Failed(error)),
                None => {
                    self.finished = true;
                    let Some(last) = self.splitter.take_partial_line() else { continue };
                    if self.stopping.load(Ordering::Relaxed) {
                        warn!(bytes = last.len(), "the last line is not complete, and left out");
                        self.stats.undecodable.add(1);
                    } else {
                        push_text(&last, batch, &self.stats);
                    }
                }
            }
        }
        Ok(())
    }

    fn split_block(&mut self, block: &[u8], batch: &mut Batch) -> Result<(), ReadEnd> {
        let (lines, stats) = (&mut self.splitter, &self.stats);
        let taken = lines.push_block(block, |line| push_text(line, batch, stats));
        taken.map_err(|error| ReadEnd::Failed(io::Error::other(error)))
    }
}

/// A message is text: what is not, is counted.
fn push_text(line: &[u8], batch: &mut Batch, stats: &PipelineStats) {
    if simdutf8::basic::from_utf8(line).is_ok() {
        batch.push(line);
    } else {
        stats.undecodable.add(1);
    }
}
