//! The program while it runs, and what it has of ours.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tracing::info;

use super::{ExecConfig, Replies};
use crate::batch::Batch;
use crate::child::{Child, ending};
use crate::clock::UnixNanos;
use crate::lines::{LineSplitter, TooLong};

/// A program that has read everything and said nothing for so long has dealt with it.
const QUIET: Duration = Duration::from_secs(2);
/// A program that says so much without taking anything of what waits for it says it for ever.
const FLOOD: usize = 128 << 20;
/// A batch is not filled with more than this at once.
const MAX_ANSWER: usize = 8 << 20;
/// So much may wait to be given or answered.
const MAX_WAITING: usize = 16 << 20;
/// How often a program that reads its last lines is looked at.
const LOOK: Duration = Duration::from_millis(5);
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
    /// When the batches were received of whose lines it may have some, each with how many bytes it was
    /// to be given up to its end.
    batches: VecDeque<(u64, UnixNanos)>,
    queued: u64,
    /// When it last took something, and how many bytes it said since.
    given_at: Instant,
    heard_since: usize,
    /// With `replies: "each"`: lines, with their feeds, that are not answered.
    unanswered: Option<VecDeque<Vec<u8>>>,
    unanswered_bytes: usize,
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
            batches: VecDeque::new(),
            queued: 0,
            given_at: Instant::now(),
            heard_since: 0,
            unanswered: (config.replies == Replies::Each).then(VecDeque::new),
            unanswered_bytes: 0,
            asked_at: Instant::now(),
            answers: LineSplitter::default(),
            garbled: 0,
        })
    }

    pub(super) fn lasted(&self) -> Duration {
        self.child.started.elapsed()
    }

    /// When the first line was received that it may still have.
    pub(super) fn oldest(&self) -> UnixNanos {
        self.batches.front().map(|(_, received)| *received).unwrap_or_default()
    }

    pub(super) fn take_garbled(&mut self) -> u64 {
        std::mem::take(&mut self.garbled)
    }

    /// The program is to be given these messages.
    pub(super) fn queue(&mut self, batch: &Batch) {
        self.pending.extend_from_slice(batch.as_lines());
        self.queued += batch.as_lines().len() as u64;
        let has = self.child.remembered() + self.pending.len() as u64;
        while self.batches.front().is_some_and(|(end, _)| end + has <= self.queued) {
            self.batches.pop_front();
        }
        self.batches.push_back((self.queued, batch.received()));
        if let Some(unanswered) = &mut self.unanswered {
            if unanswered.is_empty() {
                self.asked_at = Instant::now();
            }
            unanswered.extend(batch.lines().map(<[u8]>::to_vec));
            self.unanswered_bytes += batch.as_lines().len();
        }
    }

    /// Gives it what waits, and takes what it says meanwhile; says whether there is more to come at
    /// once. Neither side waits for the other: when both pipes are full, its answers are read first.
    pub(super) fn exchange(&mut self, batch: &mut Batch) -> Result<bool, Failure> {
        let mut moved = Instant::now();
        loop {
            if self.hear(batch)? {
                moved = Instant::now();
            }
            if batch.as_lines().len() >= MAX_ANSWER {
                return Ok(true);
            }
            let crowded = self.unanswered_bytes > MAX_WAITING;
            if self.pending.is_empty() && !crowded {
                return Ok(false);
            }
            if self.give()? {
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

    /// Takes what it has said by now; says whether there is more.
    pub(super) fn collect(&mut self, batch: &mut Batch) -> Result<bool, Failure> {
        if !self.pending.is_empty() {
            return self.exchange(batch);
        }
        let said = self.hear(batch)?;
        let waits = self.unanswered.as_ref().is_some_and(|unanswered| !unanswered.is_empty());
        if waits && self.asked_at.elapsed() >= self.timeout {
            return Err(Failure::Hangs(self.timeout));
        }
        if !said && self.given_at.elapsed() >= QUIET && self.child.unread() == 0 {
            // It has read everything and has nothing to say to it.
            self.child.is_idle();
        }
        Ok(batch.as_lines().len() >= MAX_ANSWER)
    }

    /// Tells it that nothing more comes, and takes what it says to that; says whether there is more.
    pub(super) fn finish(&mut self, batch: &mut Batch) -> Result<bool, Failure> {
        if !self.pending.is_empty() && self.exchange(batch)? {
            return Ok(true);
        }
        // Whether it reads everything can be seen as long as the pipe is open.
        let mut moved = Instant::now();
        while self.child.stdin.is_some() && self.child.unread() > 0 {
            if self.hear(batch)? {
                moved = Instant::now();
            }
            if batch.as_lines().len() >= MAX_ANSWER {
                return Ok(true);
            }
            if moved.elapsed() >= self.timeout {
                return Err(Failure::Hangs(self.timeout));
            }
            self.child.wait_ready(false, LOOK)?;
        }
        drop(self.child.stdin.take());
        loop {
            match self.hear(batch) {
                Ok(true) => moved = Instant::now(),
                Ok(false) => {}
                Err(Failure::Ended(_)) => break,
                Err(other) => return Err(other),
            }
            if batch.as_lines().len() >= MAX_ANSWER {
                return Ok(true);
            }
            let patience = self.timeout.saturating_sub(moved.elapsed());
            if patience.is_zero() {
                return Err(Failure::Hangs(self.timeout));
            }
            self.child.wait_ready(false, patience)?;
        }
        if let Some(last) = self.answers.finish() {
            self.answer(&last, batch)?;
        }
        let waits = self.unanswered.as_ref().is_some_and(|unanswered| !unanswered.is_empty());
        let status = self.child.end(self.timeout);
        if waits {
            return Err(Failure::Ended(ending(status)));
        }
        if status.is_none_or(|status| !status.success()) {
            // Of filters this is common: `grep` that found nothing.
            info!(how = ending(status), "the program did not end with success");
        }
        Ok(false)
    }

    /// Ends it. What it has not dealt with goes into the batch, for this reason; gives how many
    /// messages may be lost, and when the first of them was received.
    pub(super) fn take_back(mut self, batch: &mut Batch, reason: &str) -> (u64, UnixNanos) {
        let (unread, read) = self.child.take_unread();
        self.child.kill();
        // What it had said before it ended.
        let mut block = vec![0; BLOCK];
        while let Ok(Some(heard @ 1..)) = self.child.hear(&mut block) {
            if self.split(block.get(..heard).unwrap_or_default(), batch).is_err() {
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
        let rest = self.pending.get(self.given..).unwrap_or_default();
        let back = [&unread, rest].concat();
        for line in back.split_inclusive(|byte| *byte == b'\n') {
            batch.push_failed(line.strip_suffix(b"\n").unwrap_or(line), reason);
        }
        (read, self.oldest())
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
        self.given_at = Instant::now();
        self.heard_since = 0;
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
                    self.heard_since += read;
                    self.split(block.get(..read).unwrap_or_default(), batch)?;
                }
            }
        }
        if said {
            self.asked_at = Instant::now();
        }
        if self.heard_since > FLOOD && !self.pending.is_empty() {
            return Err(Failure::Floods);
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
