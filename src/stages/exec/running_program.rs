//! The program while it runs, and what it has of ours.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tracing::info;

use super::{ExecStageConfig, Replies};
use crate::base::child_process::{ChildProcess, describe_exit};
use crate::base::line_splitter::{LineSplitter, LineTooLong};
use crate::base::time::UnixNanos;
use crate::plugin::batch::Batch;

/// A program that has read everything and said nothing for so long has dealt with it.
const QUIET_PERIOD: Duration = Duration::from_secs(2);
/// A program that says so much without taking anything of what waits for it says it for ever.
const FLOOD_BYTES: usize = 128 << 20;
/// A batch is not filled with more than this at once.
const MAX_REPLY_BYTES: usize = 8 << 20;
/// So much may wait to be given or answered.
const MAX_UNANSWERED_BYTES: usize = 16 << 20;
/// How often a program that reads its last lines is looked at.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How much is read at a time.
const READ_BLOCK_BYTES: usize = 64 << 10;

/// Why a program was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramFailure {
    #[error("{0}")]
    Exited(String),
    #[error("the program did nothing for {0:?} (`timeout`)")]
    TimedOut(Duration),
    #[error("the program answers without end, and does not take what it is given")]
    OutputFlood,
    #[error("the program gave more lines than it was asked for (`replies: \"each\"`)")]
    UnexpectedReply,
    #[error(transparent)]
    TooLong(#[from] LineTooLong),
    #[error("the pipe to the program failed: {0}")]
    Pipe(#[from] io::Error),
}

pub(super) struct RunningProgram {
    child: ChildProcess,
    timeout: Duration,
    /// Lines that it is still to be given; the first may have been given in part.
    pending: Vec<u8>,
    /// How much of `pending` was given.
    written: usize,
    /// When the batches were received of whose lines it may have some, each with how many bytes it was
    /// to be given up to its end.
    possibly_unprocessed: VecDeque<(u64, UnixNanos)>,
    queued_bytes: u64,
    /// When it last took something, and how many bytes it said since.
    last_write: Instant,
    read_since_write: usize,
    /// With `replies: "each"`: lines, with their feeds, that are not answered.
    unanswered: Option<VecDeque<Vec<u8>>>,
    unanswered_bytes: usize,
    awaiting_reply_since: Instant,
    reply_splitter: LineSplitter,
    garbled: u64,
}

impl RunningProgram {
    pub(super) fn start(config: &ExecStageConfig) -> io::Result<Self> {
        let child = config.command.start(&config.env)?;
        child.set_nonblocking()?;
        Ok(Self {
            child,
            timeout: config.timeout.to_duration(),
            pending: Vec::new(),
            written: 0,
            possibly_unprocessed: VecDeque::new(),
            queued_bytes: 0,
            last_write: Instant::now(),
            read_since_write: 0,
            unanswered: (config.replies == Replies::Each).then(VecDeque::new),
            unanswered_bytes: 0,
            awaiting_reply_since: Instant::now(),
            reply_splitter: LineSplitter::default(),
            garbled: 0,
        })
    }

    pub(super) fn uptime(&self) -> Duration {
        self.child.started_at.elapsed()
    }

    /// When the first line was received that it may still have.
    pub(super) fn oldest_received(&self) -> UnixNanos {
        self.possibly_unprocessed.front().map(|(_, received)| *received).unwrap_or_default()
    }

    pub(super) fn drain_garbled(&mut self) -> u64 {
        std::mem::take(&mut self.garbled)
    }

    /// The program is to be given these messages.
    pub(super) fn enqueue(&mut self, batch: &Batch) {
        self.pending.extend_from_slice(batch.as_lines());
        self.queued_bytes += batch.as_lines().len() as u64;
        let has = self.child.sent_tail_len() + self.pending.len() as u64;
        while self
            .possibly_unprocessed
            .front()
            .is_some_and(|(end, _)| end + has <= self.queued_bytes)
        {
            self.possibly_unprocessed.pop_front();
        }
        self.possibly_unprocessed.push_back((self.queued_bytes, batch.received()));
        if let Some(unanswered) = &mut self.unanswered {
            if unanswered.is_empty() {
                self.awaiting_reply_since = Instant::now();
            }
            unanswered.extend(batch.lines().map(<[u8]>::to_vec));
            self.unanswered_bytes += batch.as_lines().len();
        }
    }

    /// Gives it what waits, and takes what it says meanwhile; says whether there is more to come at
    /// once. Neither side waits for the other: when both pipes are full, its answers are read first.
    pub(super) fn exchange(&mut self, batch: &mut Batch) -> Result<bool, ProgramFailure> {
        let mut moved = Instant::now();
        loop {
            if self.read_replies(batch)? {
                moved = Instant::now();
            }
            if batch.as_lines().len() >= MAX_REPLY_BYTES {
                return Ok(true);
            }
            let crowded = self.unanswered_bytes > MAX_UNANSWERED_BYTES;
            if self.pending.is_empty() && !crowded {
                return Ok(false);
            }
            if self.write_pending()? {
                moved = Instant::now();
                continue;
            }
            let patience = self.timeout.saturating_sub(moved.elapsed());
            if patience.is_zero() {
                return Err(ProgramFailure::TimedOut(self.timeout));
            }
            let write = !self.pending.is_empty();
            let ready = self.child.wait_ready(write, patience)?;
            if !ready.readable && !ready.writable && moved.elapsed() >= self.timeout {
                return Err(ProgramFailure::TimedOut(self.timeout));
            }
        }
    }

    /// Takes what it has said by now; says whether there is more.
    pub(super) fn collect(&mut self, batch: &mut Batch) -> Result<bool, ProgramFailure> {
        if !self.pending.is_empty() {
            return self.exchange(batch);
        }
        let said = self.read_replies(batch)?;
        let waits = self.unanswered.as_ref().is_some_and(|unanswered| !unanswered.is_empty());
        if waits && self.awaiting_reply_since.elapsed() >= self.timeout {
            return Err(ProgramFailure::TimedOut(self.timeout));
        }
        if !said && self.last_write.elapsed() >= QUIET_PERIOD && self.child.unread_bytes() == 0 {
            // It has read everything and has nothing to say to it.
            self.child.mark_idle();
        }
        Ok(batch.as_lines().len() >= MAX_REPLY_BYTES)
    }

    /// Tells it that nothing more comes, and takes what it says to that; says whether there is more.
    pub(super) fn close_input_and_drain(
        &mut self,
        batch: &mut Batch,
    ) -> Result<bool, ProgramFailure> {
        if !self.pending.is_empty() && self.exchange(batch)? {
            return Ok(true);
        }
        // Whether it reads everything can be seen as long as the pipe is open.
        let mut moved = Instant::now();
        while self.child.stdin.is_some() && self.child.unread_bytes() > 0 {
            if self.read_replies(batch)? {
                moved = Instant::now();
            }
            if batch.as_lines().len() >= MAX_REPLY_BYTES {
                return Ok(true);
            }
            if moved.elapsed() >= self.timeout {
                return Err(ProgramFailure::TimedOut(self.timeout));
            }
            self.child.wait_ready(false, DRAIN_POLL_INTERVAL)?;
        }
        drop(self.child.stdin.take());
        loop {
            match self.read_replies(batch) {
                Ok(true) => moved = Instant::now(),
                Ok(false) => {}
                Err(ProgramFailure::Exited(_)) => break,
                Err(other) => return Err(other),
            }
            if batch.as_lines().len() >= MAX_REPLY_BYTES {
                return Ok(true);
            }
            let patience = self.timeout.saturating_sub(moved.elapsed());
            if patience.is_zero() {
                return Err(ProgramFailure::TimedOut(self.timeout));
            }
            self.child.wait_ready(false, patience)?;
        }
        if let Some(last) = self.reply_splitter.take_partial_line() {
            self.handle_reply(&last, batch)?;
        }
        let waits = self.unanswered.as_ref().is_some_and(|unanswered| !unanswered.is_empty());
        let status = self.child.wait_or_kill(self.timeout);
        if waits {
            return Err(ProgramFailure::Exited(describe_exit(status)));
        }
        if status.is_none_or(|status| !status.success()) {
            // Of filters this is common: `grep` that found nothing.
            info!(how = describe_exit(status), "the program did not end with success");
        }
        Ok(false)
    }

    /// Ends it. What it has not dealt with goes into the batch, for this reason; gives how many
    /// messages may be lost, and when the first of them was received.
    pub(super) fn recover_unprocessed(
        mut self,
        batch: &mut Batch,
        reason: &str,
    ) -> (u64, UnixNanos) {
        let (unread, read) = self.child.drain_unread();
        self.child.kill();
        // What it had said before it ended.
        let mut block = vec![0; READ_BLOCK_BYTES];
        while let Ok(Some(heard @ 1..)) = self.child.try_read(&mut block) {
            if self.split_replies(block.get(..heard).unwrap_or_default(), batch).is_err() {
                break;
            }
        }
        if let Some(unanswered) = &self.unanswered {
            for line in unanswered {
                batch.push_failed(line.strip_suffix(b"\n").unwrap_or(line), reason);
            }
            return (0, UnixNanos::default());
        }
        // From the start of the first line on that it has not read whole.
        let rest = self.pending.get(self.written..).unwrap_or_default();
        let back = [&unread, rest].concat();
        for line in back.split_inclusive(|byte| *byte == b'\n') {
            batch.push_failed(line.strip_suffix(b"\n").unwrap_or(line), reason);
        }
        (read, self.oldest_received())
    }

    /// Gives it what it takes now; whether it took something.
    fn write_pending(&mut self) -> Result<bool, ProgramFailure> {
        let rest = self.pending.get(self.written..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        let taken = match self.child.try_write(rest) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(ProgramFailure::Exited(describe_exit(self.child.try_wait())));
            }
            Err(error) => return Err(error.into()),
        };
        self.last_write = Instant::now();
        self.read_since_write = 0;
        self.written += taken;
        if self.written == self.pending.len() {
            self.pending.clear();
            self.pending.shrink_to(READ_BLOCK_BYTES);
            self.written = 0;
        }
        Ok(true)
    }

    /// Takes what it says now; whether it said something.
    fn read_replies(&mut self, batch: &mut Batch) -> Result<bool, ProgramFailure> {
        let mut block = vec![0; READ_BLOCK_BYTES];
        let mut said = false;
        while batch.as_lines().len() < MAX_REPLY_BYTES {
            match self.child.try_read(&mut block)? {
                None => break,
                Some(0) => {
                    return Err(ProgramFailure::Exited(describe_exit(self.child.try_wait())));
                }
                Some(read) => {
                    said = true;
                    self.read_since_write += read;
                    self.split_replies(block.get(..read).unwrap_or_default(), batch)?;
                }
            }
        }
        if said {
            self.awaiting_reply_since = Instant::now();
        }
        if self.read_since_write > FLOOD_BYTES && !self.pending.is_empty() {
            return Err(ProgramFailure::OutputFlood);
        }
        Ok(said)
    }

    fn split_replies(&mut self, block: &[u8], batch: &mut Batch) -> Result<(), ProgramFailure> {
        let mut answers = std::mem::take(&mut self.reply_splitter);
        let mut answered = Ok(());
        let split = answers.push_block(block, |line| {
            if answered.is_ok() {
                answered = self.handle_reply(line, batch);
            }
        });
        self.reply_splitter = answers;
        split?;
        answered
    }

    /// A line of it goes on.
    fn handle_reply(&mut self, line: &[u8], batch: &mut Batch) -> Result<(), ProgramFailure> {
        let text = simdutf8::basic::from_utf8(line).is_ok();
        self.garbled += u64::from(!text);
        match &mut self.unanswered {
            None if text => drop(batch.push(line)),
            None => {}
            Some(unanswered) => {
                let Some(asked) = unanswered.pop_front() else {
                    return Err(ProgramFailure::UnexpectedReply);
                };
                self.unanswered_bytes -= asked.len();
                if !text {
                    let asked = asked.strip_suffix(b"\n").unwrap_or(&asked);
                    batch.push_failed(asked, "the answer is not UTF-8");
                } else if !line.is_empty() {
                    batch.push(line);
                }
            }
        }
        Ok(())
    }
}
