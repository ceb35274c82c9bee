//! A running program and the messages that it may have.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tracing::info;

use super::program_failure::ProgramFailure;
use super::reply_mode::ReplyMode;
use crate::base::child_process::{ChildProcess, IfUnknown, Interest, UnreadInput, describe_exit};
use crate::base::line_splitter::LineSplitter;
use crate::base::time::{Receipt, UnixNanos};
use crate::plugin::DrainStatus;
use crate::plugin::batch::Batch;

/// Time after which a program that has read everything and written nothing has processed its input.
const QUIET_PERIOD: Duration = Duration::from_secs(2);
/// Number of bytes that a program may write without reading anything of the input that waits for it.
const FLOOD_BYTES: usize = 128 << 20;
/// Number of bytes from which on a batch takes no more replies.
const MAX_REPLY_BYTES: usize = 8 << 20;
/// Maximum number of bytes of messages that wait for an answer.
const MAX_UNANSWERED_BYTES: usize = 16 << 20;
/// Time between two checks of a program that reads its last lines.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Number of bytes of one read.
const READ_BLOCK_BYTES: usize = 64 << 10;

/// A program that runs, the input that waits for it, and the messages that it may have.
pub(super) struct RunningProgram {
    child: ChildProcess,
    timeout: Duration,
    /// Lines that are to be sent. The first may have been sent in part.
    pending: Vec<u8>,
    /// Number of bytes of `pending` that were sent.
    written: usize,
    /// The batches of which the program may have unprocessed lines, oldest first.
    queued_batches: VecDeque<QueuedBatch>,
    /// Number of bytes that were enqueued since the start.
    queued_bytes: u64,
    /// Receipt of the first batch.
    first_receipt: Receipt,
    /// Time of the last write to the program.
    last_write: Instant,
    /// Number of bytes that the program wrote since then.
    read_since_write: usize,
    /// With [`ReplyMode::Each`]: lines with their line feeds that are not answered, oldest first.
    unanswered: Option<VecDeque<Vec<u8>>>,
    unanswered_bytes: usize,
    /// Time since which the oldest unanswered line waits, or of the last output since.
    awaiting_reply_since: Instant,
    reply_splitter: LineSplitter,
    /// Number of lines that were no UTF-8.
    garbled: u64,
}

/// A batch that was enqueued.
#[derive(Debug, Clone, Copy)]
struct QueuedBatch {
    /// Number of bytes that were enqueued since the start, including those of the batch.
    end_offset: u64,
    receipt: Receipt,
}

/// Messages that may be lost, since a program had read them when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PossibleLoss {
    pub(super) messages: u64,
    /// Time at which the oldest of the messages was sent, or earlier.
    pub(super) since: UnixNanos,
}

impl RunningProgram {
    /// Returns the program of `child`, whose pipes must not block. `first_receipt` is that of
    /// the batch for which it was started.
    pub(super) fn new(
        child: ChildProcess,
        reply_mode: ReplyMode,
        timeout: Duration,
        first_receipt: Receipt,
    ) -> Self {
        Self {
            child,
            timeout,
            pending: Vec::new(),
            written: 0,
            queued_batches: VecDeque::new(),
            queued_bytes: 0,
            first_receipt,
            last_write: Instant::now(),
            read_since_write: 0,
            unanswered: (reply_mode == ReplyMode::Each).then(VecDeque::new),
            unanswered_bytes: 0,
            awaiting_reply_since: Instant::now(),
            reply_splitter: LineSplitter::default(),
            garbled: 0,
        }
    }

    /// Returns the time since the start.
    pub(super) fn uptime(&self) -> Duration {
        self.child.started_at.elapsed()
    }

    /// Returns the receipt of the oldest message that the program may have.
    pub(super) fn oldest_receipt(&self) -> Receipt {
        self.queued_batches.front().map_or(self.first_receipt, |oldest| oldest.receipt)
    }

    /// Returns the time at which the oldest message was received that is not answered, or that the
    /// program may have read without an answer so far; `None` if there is none.
    pub(super) fn held_since(&self) -> Option<UnixNanos> {
        let holds_some = match &self.unanswered {
            Some(unanswered) => !unanswered.is_empty(),
            None => !self.pending.is_empty() || self.child.sent_tail_len() > 0,
        };
        holds_some.then(|| self.oldest_receipt().received)
    }

    /// Returns the number of lines since the last call that were no UTF-8.
    pub(super) fn drain_garbled(&mut self) -> u64 {
        std::mem::take(&mut self.garbled)
    }

    /// Enqueues messages for the program.
    pub(super) fn enqueue(&mut self, batch: &Batch) {
        self.pending.extend_from_slice(batch.as_lines());
        self.queued_bytes += batch.as_lines().len() as u64;
        let unprocessed = self.child.sent_tail_len() + self.pending.len() as u64;
        while self
            .queued_batches
            .front()
            .is_some_and(|oldest| oldest.end_offset + unprocessed <= self.queued_bytes)
        {
            self.queued_batches.pop_front();
        }
        self.queued_batches
            .push_back(QueuedBatch { end_offset: self.queued_bytes, receipt: batch.receipt() });
        if let Some(unanswered) = &mut self.unanswered {
            if unanswered.is_empty() {
                self.awaiting_reply_since = Instant::now();
            }
            unanswered.extend(batch.lines().map(<[u8]>::to_vec));
            self.unanswered_bytes += batch.as_lines().len();
        }
    }

    /// Sends the input that waits, and reads replies meanwhile. When both pipes are full, replies
    /// are read first, so neither side waits for the other.
    ///
    /// # Errors
    /// The program failed. Replies that it wrote before are in the batch.
    pub(super) fn exchange(&mut self, batch: &mut Batch) -> Result<DrainStatus, ProgramFailure> {
        let mut last_progress = Instant::now();
        loop {
            if self.read_replies(batch)? {
                last_progress = Instant::now();
            }
            if is_full(batch) {
                return Ok(DrainStatus::More);
            }
            let has_too_many_unanswered = self.unanswered_bytes > MAX_UNANSWERED_BYTES;
            if self.pending.is_empty() && !has_too_many_unanswered {
                return Ok(DrainStatus::Done);
            }
            if self.write_pending()? {
                last_progress = Instant::now();
                continue;
            }
            let time_left = self.time_left(last_progress)?;
            let interest =
                if self.pending.is_empty() { Interest::Read } else { Interest::ReadWrite };
            let ready = self.child.wait_ready(interest, time_left)?;
            if !ready.readable && !ready.writable {
                self.time_left(last_progress)?;
            }
        }
    }

    /// Reads the replies that are ready.
    ///
    /// # Errors
    /// The program failed. Replies that it wrote before are in the batch.
    pub(super) fn collect(&mut self, batch: &mut Batch) -> Result<DrainStatus, ProgramFailure> {
        if !self.pending.is_empty() {
            return self.exchange(batch);
        }
        let has_output = self.read_replies(batch)?;
        if self.has_unanswered() {
            self.time_left(self.awaiting_reply_since)?;
        }
        let is_quiet = !has_output && self.last_write.elapsed() >= QUIET_PERIOD;
        if is_quiet && self.child.unread_bytes()? == 0 {
            self.child.mark_idle();
        }
        Ok(if is_full(batch) { DrainStatus::More } else { DrainStatus::Done })
    }

    /// Closes the program's stdin once it has read its input, reads its replies until it closes its
    /// stdout, and waits for its exit. Called again after [`DrainStatus::More`].
    ///
    /// # Errors
    /// The program failed. Replies that it wrote before are in the batch.
    pub(super) fn close_input_and_drain(
        &mut self,
        batch: &mut Batch,
    ) -> Result<DrainStatus, ProgramFailure> {
        if !self.pending.is_empty() && self.exchange(batch)? == DrainStatus::More {
            return Ok(DrainStatus::More);
        }
        // Only while the pipe is open does the kernel say how much of it is unread.
        let mut last_progress = Instant::now();
        while self.child.unread_bytes()? > 0 {
            if self.read_replies(batch)? {
                last_progress = Instant::now();
            }
            if is_full(batch) {
                return Ok(DrainStatus::More);
            }
            self.time_left(last_progress)?;
            self.child.wait_ready(Interest::Read, DRAIN_POLL_INTERVAL)?;
        }
        drop(self.child.stdin.take());
        loop {
            match self.read_replies(batch) {
                Ok(true) => last_progress = Instant::now(),
                Ok(false) => {}
                Err(ProgramFailure::Exited(_)) => break,
                Err(other) => return Err(other),
            }
            if is_full(batch) {
                return Ok(DrainStatus::More);
            }
            let time_left = self.time_left(last_progress)?;
            self.child.wait_ready(Interest::Read, time_left)?;
        }
        if let Some(last) = self.reply_splitter.take_partial_line() {
            self.handle_reply(&last, batch)?;
        }
        let has_unanswered = self.has_unanswered();
        let status = self.child.wait_or_kill(self.timeout)?;
        if has_unanswered {
            return Err(ProgramFailure::Exited(describe_exit(status)));
        }
        if status.is_none_or(|status| !status.success()) {
            // Common for filters, such as a `grep` that found nothing.
            info!(how = describe_exit(status), "the program did not end with success");
        }
        Ok(DrainStatus::Done)
    }

    /// Kills the program. Messages that it has not processed with certainty go into the batch as
    /// failed, with `reason`. Returns the messages that may be lost.
    pub(super) fn recover_unprocessed(
        mut self,
        batch: &mut Batch,
        reason: &str,
    ) -> Option<PossibleLoss> {
        let UnreadInput { lines, lines_read_before } = self.child.drain_unread(IfUnknown::Read);
        self.child.kill();
        // Replies that were written before the end still count.
        let mut block = vec![0; READ_BLOCK_BYTES];
        while let Ok(Some(read @ 1..)) = self.child.try_read(&mut block) {
            if self.split_replies(block.get(..read).unwrap_or_default(), batch).is_err() {
                break;
            }
        }
        if let Some(unanswered) = &self.unanswered {
            for line in unanswered {
                batch.push_failed(line.strip_suffix(b"\n").unwrap_or(line), reason);
            }
            return None;
        }
        // From the start of the first line on that was not read whole.
        let unsent = self.pending.get(self.written..).unwrap_or_default();
        for line in [&lines, unsent].concat().split_inclusive(|byte| *byte == b'\n') {
            batch.push_failed(line.strip_suffix(b"\n").unwrap_or(line), reason);
        }
        (lines_read_before > 0).then(|| PossibleLoss {
            messages: lines_read_before,
            since: self.oldest_receipt().sent_since(),
        })
    }

    fn has_unanswered(&self) -> bool {
        self.unanswered.as_ref().is_some_and(|unanswered| !unanswered.is_empty())
    }

    /// Returns the rest of the timeout that began at `since`.
    ///
    /// # Errors
    /// [`ProgramFailure::TimedOut`] when nothing is left.
    fn time_left(&self, since: Instant) -> Result<Duration, ProgramFailure> {
        let time_left = self.timeout.saturating_sub(since.elapsed());
        if time_left.is_zero() {
            return Err(ProgramFailure::TimedOut(self.timeout));
        }
        Ok(time_left)
    }

    /// Sends as much input as the pipe has room for. Returns whether it sent something.
    fn write_pending(&mut self) -> Result<bool, ProgramFailure> {
        let unsent = self.pending.get(self.written..).unwrap_or_default();
        if unsent.is_empty() {
            return Ok(false);
        }
        let written = match self.child.try_write(unsent) {
            Ok(Some(written)) => written,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(ProgramFailure::Exited(describe_exit(self.child.try_wait()?)));
            }
            Err(error) => return Err(error.into()),
        };
        self.last_write = Instant::now();
        self.read_since_write = 0;
        self.written += written;
        if self.written == self.pending.len() {
            self.pending.clear();
            self.pending.shrink_to(READ_BLOCK_BYTES);
            self.written = 0;
        }
        Ok(true)
    }

    /// Reads the output that is ready, until the batch is full. Returns whether there was any.
    fn read_replies(&mut self, batch: &mut Batch) -> Result<bool, ProgramFailure> {
        let mut block = vec![0; READ_BLOCK_BYTES];
        let mut has_output = false;
        while !is_full(batch) {
            match self.child.try_read(&mut block)? {
                None => break,
                Some(0) => {
                    return Err(ProgramFailure::Exited(describe_exit(self.child.try_wait()?)));
                }
                Some(read) => {
                    has_output = true;
                    self.read_since_write += read;
                    self.split_replies(block.get(..read).unwrap_or_default(), batch)?;
                }
            }
        }
        if has_output {
            self.awaiting_reply_since = Instant::now();
        }
        if self.read_since_write > FLOOD_BYTES && !self.pending.is_empty() {
            return Err(ProgramFailure::OutputFlood);
        }
        Ok(has_output)
    }

    fn split_replies(&mut self, block: &[u8], batch: &mut Batch) -> Result<(), ProgramFailure> {
        // Taken out, since handling a reply needs all of `self`.
        let mut splitter = std::mem::take(&mut self.reply_splitter);
        let mut handled = Ok(());
        let split = splitter.push_block(block, |line| {
            if handled.is_ok() {
                handled = self.handle_reply(line, batch);
            }
        });
        self.reply_splitter = splitter;
        split?;
        handled
    }

    /// Puts a line of output into the batch, as the reply mode demands.
    fn handle_reply(&mut self, line: &[u8], batch: &mut Batch) -> Result<(), ProgramFailure> {
        let is_utf8 = simdutf8::basic::from_utf8(line).is_ok();
        self.garbled += u64::from(!is_utf8);
        match &mut self.unanswered {
            None if is_utf8 => drop(batch.push(line)),
            None => {}
            Some(unanswered) => {
                let Some(question) = unanswered.pop_front() else {
                    return Err(ProgramFailure::UnexpectedReply);
                };
                self.unanswered_bytes -= question.len();
                if !is_utf8 {
                    let message = question.strip_suffix(b"\n").unwrap_or(&question);
                    batch.push_failed(message, "the answer is not UTF-8");
                } else if !line.is_empty() {
                    batch.push(line);
                }
            }
        }
        Ok(())
    }
}

/// Returns whether the batch takes no more replies.
fn is_full(batch: &Batch) -> bool {
    batch.as_lines().len() >= MAX_REPLY_BYTES
}
