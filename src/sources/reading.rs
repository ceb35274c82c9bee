//! Lines from something that is read with plain, blocking calls, on a thread of its own.

use std::io::{self, Read};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::lines::LineSplitter;
use crate::stats::Stats;

/// How much is read at a time.
const BLOCK: usize = 64 << 10;
/// So many blocks may wait to be taken.
const WAITING: usize = 4;

/// A reader at work.
pub(super) struct Reading {
    blocks: mpsc::Receiver<io::Result<Vec<u8>>>,
    lines: LineSplitter,
    stats: Arc<Stats>,
    /// What came and is not yet taken, beyond what fits into a batch.
    ended: bool,
}

/// Why nothing more comes.
#[derive(Debug)]
pub(super) enum End {
    /// It was read to its end.
    Eof,
    /// It could not be read.
    Failed(io::Error),
}

impl Reading {
    /// Reads on a thread that ends with the reader, or when nobody takes what it reads.
    pub(super) fn start(
        mut reader: impl Read + Send + 'static,
        stats: Arc<Stats>,
    ) -> io::Result<Self> {
        let (send, blocks) = mpsc::channel(WAITING);
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            loop {
                let mut block = vec![0; BLOCK];
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
        Ok(Self { blocks, lines: LineSplitter::default(), stats, ended: false })
    }

    /// Waits for a line at least. A last line without a line feed is one, too.
    ///
    /// # Cancel safety
    /// What was read stays here until it is in a batch.
    pub(super) async fn read(&mut self, batch: &mut Batch) -> Result<(), End> {
        while batch.is_empty() {
            if self.ended {
                return Err(End::Eof);
            }
            match self.blocks.recv().await {
                Some(Ok(block)) => self.take(&block, batch)?,
                Some(Err(error)) => return Err(End::Failed(error)),
                None => {
                    self.ended = true;
                    if let Some(last) = self.lines.finish() {
                        push(&last, batch, &self.stats);
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, block: &[u8], batch: &mut Batch) -> Result<(), End> {
        let (lines, stats) = (&mut self.lines, &self.stats);
        let taken = lines.feed(block, |line| push(line, batch, stats));
        taken.map_err(|error| End::Failed(io::Error::other(error)))
    }
}

/// A message is text: what is not, is counted.
fn push(line: &[u8], batch: &mut Batch, stats: &Stats) {
    if simdutf8::basic::from_utf8(line).is_ok() {
        batch.push(line);
    } else {
        stats.undecodable.add(1);
    }
}
