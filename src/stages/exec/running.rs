//! The program while it runs, and what it has of ours.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::{ExecConfig, Replies};
use crate::batch::Batch;
use crate::child::{Child, ending};
use crate::lines::{LineSplitter, TooLong};

/// What is kept of the bytes that were given last, so that what the program has not read can be
/// taken back: as much as a pipe may hold (pipe(7)).
const PIPE_BYTES: usize = 64 << 10;
/// A batch is not filled with more than this at once.
const MAX_ANSWER: usize = 8 << 20;
/// So much may wait to be given or answered.
const MAX_WAITING: usize = 16 << 20;
/// How much is read at a time.
const BLOCK: usize = 64 << 10;

/// Why a program was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Ended(String),
    #[error("the program did nothing for {0:?} (`timeout`)")]
    Hangs(Duration),
    #[error("the program answers without end, and does not take what it is given")]
    Floods,
    #[error("the program gave more lines than it was asked for (`replies: \"each\"`)")]
    Unasked,
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error("the pipe to the program failed: {0}")]
    Pipe(#[from] io::Error),
}

pub(super) struct Running {
    child: Child,
    timeout: Duration,
    /// Lines that it is still to be given; the first may have been given in part.
    pending: Vec<u8>,
    /// How much of `pending` was given.
    given: usize,
    /// The bytes given last.
    sent: Vec<u8>,
    /// With `replies: "each"`: lines, with their feeds, that are not answered.
    unanswered: Option<VecDeque<Vec<u8>>>,
    unanswered_bytes: usize,
    /// With `replies: "any"`: lines given since it last said something.
    since_answer: u64,
    asked_at: Instant,
    answers: LineSplitter,
    garbled: u64,
}

impl Running {
    pub(super) fn start(config: &ExecConfig) -> io::Result<Self> {
        let child = config.command.start(&config.env)?;
        child.never_wait()?;
        Ok(Self {
            child,
            timeout: config.timeout.duration(),
            pending: Vec::new(),
            given: 0,
            sent: Vec::new(),
            unanswered: (config.replies == Replies::Each).then(VecDeque::new),
            unanswered_bytes: 0,
            since_answer: 0,
            asked_at: Instant::now(),
            answers: LineSplitter::default(),
            garbled: 0,
        })
    }

    pub(super) fn lasted(&self) -> Duration {
        self.child.started.elapsed()
    }

    pub(super) fn take_garbled(&mut self) -> u64 {
        std::mem::take(&mut self.garbled)
    }

    /// The program is to be given these messages.
    pub(super) fn queue(&mut self, batch: &Batch) {
        self.pending.extend_from_slice(batch.as_lines());
        if let Some(unanswered) = &mut self.unanswered {
            if unanswered.is_empty() {
                self.asked_at = Instant::now();
            }
            unanswered.extend(batch.lines().map(<[u8]>::to_vec));
            self.unanswered_bytes += batch.as_lines().len();
        }
    }

    /// Gives it what waits, and takes what it says meanwhile. Neither side waits for the other: when
    /// both pipes are full, its answers are read first.
    pub(super) fn exchange(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        let (mut moved, mut took) = (Instant::now(), false);
        loop {
            if self.hear(batch)? {
                moved = Instant::now();
            }
            if batch.as_lines().len() >= MAX_ANSWER {
                // The rest waits for the next time.
                let floods = !took && !self.pending.is_empty();
                return if floods { Err(Failure::Floods) } else { Ok(()) };
            }
            let crowded = self.unanswered_bytes > MAX_WAITING;
            if self.pending.is_empty() && !crowded {
                return Ok(());
            }
            if self.give()? {
                took = true;
                moved = Instant::now();
                continue;
            }
            let patience = self.timeout.saturating_sub(moved.elapsed());
            if patience.is_zero() {
                return Err(Failure::Hangs(self.timeout));
            }
            let write = !self.pending.is_empty();
            let ready = self.child.wait_ready(write, patience)?;
            if !ready.read && !ready.write && moved.elapsed() >= self.timeout {
                return Err(Failure::Hangs(self.timeout));
            }
        }
    }

    /// Takes what it has said by now.
    pub(super) fn collect(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        if !self.pending.is_empty() {
            return self.exchange(batch);
        }
        self.hear(batch)?;
        let waits = self.unanswered.as_ref().is_some_and(|unanswered| !unanswered.is_empty());
        if waits && self.asked_at.elapsed() >= self.timeout {
            return Err(Failure::Hangs(self.timeout));
        }
        Ok(())
    }

    /// Tells it that nothing more comes, and takes what it says to that.
    pub(super) fn finish(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let begun = Instant::now();
        let ended = loop {
            match self.hear(batch) {
                Ok(_) => {}
                Err(Failure::Ended(_)) => break Ok(()),
                Err(other) => break Err(other),
            }
            let patience = self.timeout.saturating_sub(begun.elapsed());
            if patience.is_zero() || batch.as_lines().len() >= MAX_WAITING {
                break Err(Failure::Hangs(self.timeout));
            }
            self.child.wait_ready(false, patience)?;
        };
        if let Some(last) = self.answers.finish() {
            self.answer(&last, batch)?;
        }
        ended?;
        let waits = self.unanswered.as_ref().is_some_and(|unanswered| !unanswered.is_empty());
        if waits {
            Err(Failure::Ended("the program ended without all answers".into()))
        } else {
            Ok(())
        }
    }

    /// Ends it. What it has not dealt with goes into the batch, for this reason; gives how many
    /// messages may be lost.
    pub(super) fn take_back(mut self, batch: &mut Batch, reason: &str) -> u64 {
        let unread = self.child.unread();
        self.child.kill();
        // What it had said before it ended.
        let mut block = vec![0; BLOCK];
        while let Ok(Some(read @ 1..)) = self.child.hear(&mut block) {
            if self.split(block.get(..read).unwrap_or_default(), batch).is_err() {
                break;
            }
        }
        if let Some(unanswered) = &self.unanswered {
            for line in unanswered {
                batch.push_failed(line.strip_suffix(b"\n").unwrap_or(line), reason);
            }
            return 0;
        }
        // The tail of what it was given that it has not read, from the start of a line on.
        let from = self.sent.len().saturating_sub(unread);
        let (read, unread) = self.sent.split_at(from);
        let begun = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1);
        let begun = read.get(begun..).unwrap_or_default();
        let rest = self.pending.get(self.given..).unwrap_or_default();
        let back = [begun, unread, rest].concat();
        let mut count = 0;
        for line in back.split_inclusive(|byte| *byte == b'\n') {
            count += 1;
            batch.push_failed(line.strip_suffix(b"\n").unwrap_or(line), reason);
        }
        self.since_answer.saturating_sub(count)
    }

    /// Gives it what it takes now; whether it took something.
    fn give(&mut self) -> Result<bool, Failure> {
        let rest = self.pending.get(self.given..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        let taken = match self.child.give(rest) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(Failure::Ended(ending(self.child.ended())));
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = rest.get(..taken).unwrap_or_default();
        if self.unanswered.is_none() {
            self.since_answer += memchr::memchr_iter(b'\n', bytes).count() as u64;
            self.sent.extend_from_slice(bytes);
            let old = self.sent.len().saturating_sub(2 * PIPE_BYTES);
            if old > 0 {
                self.sent.drain(..self.sent.len() - PIPE_BYTES);
            }
        }
        self.given += taken;
        if self.given == self.pending.len() {
            self.pending.clear();
            self.pending.shrink_to(BLOCK);
            self.given = 0;
        }
        Ok(true)
    }

    /// Takes what it says now; whether it said something.
    fn hear(&mut self, batch: &mut Batch) -> Result<bool, Failure> {
        let mut block = vec![0; BLOCK];
        let mut said = false;
        while batch.as_lines().len() < MAX_ANSWER {
            match self.child.hear(&mut block)? {
                None => break,
                Some(0) => return Err(Failure::Ended(ending(self.child.ended()))),
                Some(read) => {
                    said = true;
                    self.split(block.get(..read).unwrap_or_default(), batch)?;
                }
            }
        }
        if said {
            self.since_answer = 0;
            self.asked_at = Instant::now();
        }
        Ok(said)
    }

    fn split(&mut self, block: &[u8], batch: &mut Batch) -> Result<(), Failure> {
        let mut answers = std::mem::take(&mut self.answers);
        let mut answered = Ok(());
        let split = answers.feed(block, |line| {
            if answered.is_ok() {
                answered = self.answer(line, batch);
            }
        });
        self.answers = answers;
        split?;
        answered
    }

    /// A line of it goes on.
    fn answer(&mut self, line: &[u8], batch: &mut Batch) -> Result<(), Failure> {
        let text = simdutf8::basic::from_utf8(line).is_ok();
        self.garbled += u64::from(!text);
        match &mut self.unanswered {
            None if text => drop(batch.push(line)),
            None => {}
            Some(unanswered) => {
                let Some(asked) = unanswered.pop_front() else { return Err(Failure::Unasked) };
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
