//! The program that is told of alerts, and the thread that runs it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{Span, info, warn};

use crate::base::backoff::Backoff;
use crate::base::child_process::{ChildProcess, describe_exit};
use crate::config::OnEventConfig;
use crate::metrics::Counter;
use crate::plugin::BoxError;

/// Maximum number of lines that wait for the program.
const MAX_LINES: usize = 1000;
/// Minimum time between two starts of the program. What comes meanwhile is told together.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Time for which lines that come together are collected.
const GATHER_TIME: Duration = Duration::from_millis(100);
/// Pause between two looks at a program that runs. It also limits how fast output is read.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time for which the end of the recording waits for the program.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The way to the thread that runs the program.
pub(crate) struct HookProgram {
    lines: SyncSender<String>,
    /// Lines for which there was no room.
    lost: Arc<Counter>,
}

/// Completes when the thread has ended.
pub(crate) struct HookEnd(oneshot::Receiver<()>);

/// The work of the thread.
struct HookThread {
    config: OnEventConfig,
    received: Receiver<String>,
    lost: Arc<Counter>,
    /// Lines that the program has not been told.
    waiting: VecDeque<String>,
    /// Time of the next start.
    due: Instant,
    backoff: Backoff,
    /// Set while the program fails.
    is_failing: bool,
}

impl HookProgram {
    /// Starts the thread, which ends when the value is dropped.
    ///
    /// # Errors
    /// The system has no thread.
    pub(crate) fn spawn(config: OnEventConfig) -> io::Result<(Self, HookEnd)> {
        let (lines, received) = sync_channel(MAX_LINES);
        let lost = Arc::<Counter>::default();
        let thread = HookThread {
            config,
            received,
            lost: Arc::clone(&lost),
            waiting: VecDeque::new(),
            due: Instant::now(),
            backoff: Backoff::default(),
            is_failing: false,
        };
        let (ended, end) = oneshot::channel();
        let span = Span::current();
        std::thread::Builder::new().name("hook".to_owned()).spawn(move || {
            let _entered = span.enter();
            thread.run();
            // The receiver is gone if the recorder did not wait.
            let _gone = ended.send(());
        })?;
        Ok((Self { lines, lost }, HookEnd(end)))
    }

    /// Sends the program a line, unless too many wait.
    pub(super) fn send(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.lost.add(1);
        }
    }
}

impl HookEnd {
    /// Waits until the program is told what waits, but not for long.
    pub(crate) async fn wait(self) {
        // After the time limit the program is killed with all others.
        let _timed_out = tokio::time::timeout(STOP_TIMEOUT, self.0).await;
    }
}

impl HookThread {
    /// Tells the program what comes, until no more can come.
    fn run(mut self) {
        loop {
            let received = if self.waiting.is_empty() {
                self.received.recv().map_err(RecvTimeoutError::from)
            } else {
                self.received.recv_timeout(self.due.saturating_duration_since(Instant::now()))
            };
            match received {
                Ok(line) => self.enqueue(line),
                Err(RecvTimeoutError::Timeout) => self.tell_waiting(),
                Err(RecvTimeoutError::Disconnected) => {
                    if !self.waiting.is_empty() {
                        self.tell_waiting();
                    }
                    return;
                }
            }
        }
    }

    fn enqueue(&mut self, line: String) {
        if self.waiting.is_empty() {
            self.due = self.due.max(Instant::now() + GATHER_TIME);
        }
        if self.waiting.len() == MAX_LINES {
            self.waiting.pop_front();
            self.lost.add(1);
        }
        self.waiting.push_back(line);
    }

    /// Runs the program with the lines that wait. They stay if it fails.
    fn tell_waiting(&mut self) {
        let lines: String = self.waiting.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        let told = run_program(&self.config, &lines);
        let program = self.config.command.name();
        match told {
            Ok(()) => {
                if std::mem::take(&mut self.is_failing) {
                    let lost = self.lost.get();
                    info!(program, lost, "the program of `on_event` works again");
                }
                self.waiting.clear();
                self.backoff = Backoff::default();
                self.due = Instant::now() + MIN_INTERVAL;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(program, %error, "the program of `on_event` failed; it gets the lines again later");
                }
                self.due = Instant::now() + self.backoff.next_delay().max(MIN_INTERVAL);
            }
        }
    }
}

/// Runs the program with these lines on its stdin. A program that does not read them is no failure.
///
/// # Errors
/// The program cannot be started, fails, or does not end in time; then it is killed.
pub(super) fn run_program(config: &OnEventConfig, lines: &str) -> Result<(), BoxError> {
    let timeout = config.timeout.to_duration();
    let begun = Instant::now();
    let mut child = config.command.start(&config.env)?;
    child.set_nonblocking()?;
    let mut remaining = lines.as_bytes();
    while begun.elapsed() < timeout {
        discard_output(&mut child)?;
        match child.try_write(remaining) {
            Ok(written) => remaining = remaining.get(written.unwrap_or(0)..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => remaining = &[],
            Err(error) => return Err(error.into()),
        }
        if remaining.is_empty() {
            drop(child.stdin.take());
        }
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(describe_exit(Some(status)).into()),
            None => std::thread::sleep(POLL_INTERVAL),
        }
    }
    Err(format!("the program did not end within {timeout:?} (`timeout`)").into())
}

/// Reads a part of the output, so that a program that writes much goes on.
fn discard_output(child: &mut ChildProcess) -> io::Result<()> {
    let mut block = [0; 16 << 10];
    if child.try_read(&mut block)? == Some(0) {
        // The program has closed its stdout.
        child.stdout = None;
    }
    Ok(())
}
