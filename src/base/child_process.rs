//! Programs that run beside the recorder and speak lines over pipes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tracing::{Span, warn};

/// How much of what a program says on stderr goes to the log: so many lines a minute.
const MAX_STDERR_LINES_PER_MINUTE: u32 = 60;
/// A line of it is cut there.
const MAX_STDERR_LINE_BYTES: u64 = 1000;
/// So many of the bytes that a program was given are remembered: more than a pipe holds (64 KiB, pipe(7))
/// and what programs commonly read ahead.
const SENT_TAIL_BYTES: usize = 320 << 10;
/// How often a program that is to end is looked at.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The process groups that run: what a process leaves behind when it ends in a hurry. The system keeps
/// them for the process, and so does this.
static PROCESS_GROUPS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn process_groups() -> MutexGuard<'static, BTreeSet<u32>> {
    PROCESS_GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every program that still runs, since this process is about to.
pub(crate) fn kill_all() {
    for group in std::mem::take(&mut *process_groups()) {
        kill_group(group);
    }
}

fn kill_group(group: u32) {
    if let Ok(pid) = i32::try_from(group)
        && let Some(pid) = Pid::from_raw(pid)
    {
        // It may be gone.
        let _gone = kill_process_group(pid, Signal::KILL);
    }
}

/// A program and its surroundings, as the configuration has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct CommandLine(
    /// The program, and its arguments. It is looked for in `PATH` unless it has a `/`.
    #[serde(deserialize_with = "deserialize_command")]
    #[schemars(length(min = 1))]
    Vec<String>,
);

/// A program that cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// No program is named.
    #[error("`command` is empty: name a program, as [\"jq\", \"-c\", \".\"]")]
    Empty,
    /// It is not there.
    #[error("`command`: there is no program `{0}` that may be run")]
    NotFound(String),
}

fn deserialize_command<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    // What was written as for a shell is shown as it should be.
    let example = match &value {
        Value::String(words) => words.split_whitespace().collect(),
        _ => json!(["jq", "-c", "."]),
    };
    let no_list =
        |_| D::Error::custom(format!("write the program and its arguments as a list: {example}"));
    serde_json::from_value(value).map_err(no_list)
}

impl CommandLine {
    /// Checks that the program is there.
    ///
    /// # Errors
    /// It is not, or none is named.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        let Some(program) = self.0.first().filter(|program| !program.is_empty()) else {
            return Err(CommandError::Empty);
        };
        let found = if program.contains('/') {
            is_executable(Path::new(program))
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| is_executable(&dir.join(program)))
        };
        if found { Ok(()) } else { Err(CommandError::NotFound(program.clone())) }
    }

    /// The name of the program, for the log.
    pub(crate) fn name(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// Starts the program in a process group of its own. Its stdin and stdout are pipes; what it says
    /// on stderr goes to the log.
    pub(crate) fn start(&self, env: &BTreeMap<String, String>) -> io::Result<ChildProcess> {
        let mut command = Command::new(self.name());
        command.args(self.0.iter().skip(1)).envs(env).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let (name, span) = (self.name().to_owned(), Span::current());
        if let Some(stderr) = process.stderr.take() {
            std::thread::Builder::new().name("stderr".to_owned()).spawn(move || {
                let _within = span.enter();
                log_stderr(&name, stderr);
            })?;
        }
        process_groups().insert(process.id());
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        Ok(ChildProcess {
            process,
            stdin,
            stdout,
            started_at: Instant::now(),
            killed: false,
            sent_tail: Vec::new(),
        })
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

/// Tells the log what the program says on stderr, until it says nothing more.
fn log_stderr(program: &str, stderr: ChildStderr) {
    let mut stderr = BufReader::new(stderr);
    let (mut since, mut told, mut untold) = (Instant::now(), 0, 0_u64);
    let mut words = Vec::new();
    loop {
        words.clear();
        match stderr.by_ref().take(MAX_STDERR_LINE_BYTES).read_until(b'\n', &mut words) {
            Ok(read) if read > 0 => {}
            _ => break,
        }
        if since.elapsed() >= Duration::from_secs(60) {
            (since, told) = (Instant::now(), 0);
        }
        if told < MAX_STDERR_LINES_PER_MINUTE {
            told += 1;
            let words = String::from_utf8_lossy(&words);
            let words = words.trim_end();
            // Debug escapes what a terminal would obey.
            warn!(program, untold, says = ?words, "stderr");
            untold = 0;
        } else {
            untold += 1;
        }
    }
    if untold > 0 {
        warn!(program, untold, "more was said on stderr");
    }
}

/// A program that runs. It is ended with everything it has started when this is dropped.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    process: std::process::Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) started_at: Instant,
    killed: bool,
    /// The bytes that it was given last.
    sent_tail: Vec<u8>,
}

/// What can be done with the pipes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PipeReadiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl ChildProcess {
    /// From now on the pipes give an error rather than wait.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        if let Some(stdin) = &self.stdin {
            ioctl_fionbio(stdin, true)?;
        }
        if let Some(stdout) = &self.stdout {
            ioctl_fionbio(stdout, true)?;
        }
        Ok(())
    }

    /// Waits until the program says something, or, if `write`, takes something.
    pub(crate) fn wait_ready(&self, write: bool, patience: Duration) -> io::Result<PipeReadiness> {
        let stdin = self.stdin.as_ref().filter(|_| write);
        let mut fds = Vec::with_capacity(2);
        if let Some(stdout) = &self.stdout {
            fds.push(PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN));
        }
        if let Some(stdin) = stdin {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
        }
        let timeout = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // An error or an end shows when it is read or written.
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let read = self.stdout.is_some() && ready.next() == Some(true);
        Ok(PipeReadiness {
            readable: read,
            writable: stdin.is_some() && ready.next() == Some(true),
        })
    }

    /// Gives the program what it takes now, and says how much; `None` when it takes nothing.
    #[expect(clippy::disallowed_methods, reason = "a pipe takes what it has room for: counted")]
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let Some(stdin) = &mut self.stdin else { return Err(ErrorKind::BrokenPipe.into()) };
        let taken = none_if_would_block(stdin.write(bytes))?;
        self.sent_tail.extend_from_slice(bytes.get(..taken.unwrap_or(0)).unwrap_or_default());
        if self.sent_tail.len() > 2 * SENT_TAIL_BYTES {
            self.sent_tail.drain(..self.sent_tail.len() - SENT_TAIL_BYTES);
        }
        Ok(taken)
    }

    /// How many of the bytes that it was given are remembered.
    pub(crate) fn sent_tail_len(&self) -> u64 {
        self.sent_tail.len() as u64
    }

    /// It has dealt with everything that it was given.
    pub(crate) fn mark_idle(&mut self) {
        self.sent_tail.clear();
    }

    /// The lines that it was given and has certainly not dealt with, from the start of the first that
    /// it has not read whole; and how many lines before that it has read of late, of which nobody
    /// knows. Asked before its stdin is closed.
    pub(crate) fn drain_unread(&mut self) -> (Vec<u8>, u64) {
        let unread = self.unread_bytes().min(self.sent_tail.len());
        let (read, _) = self.sent_tail.split_at(self.sent_tail.len() - unread);
        let whole = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1);
        let back = self.sent_tail.split_off(whole);
        let before = memchr::memchr_iter(b'\n', &self.sent_tail).count() as u64;
        self.sent_tail.clear();
        (back, before)
    }

    /// Reads what the program says now; `None` when it says nothing, 0 at its end.
    pub(crate) fn try_read(&mut self, block: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(stdout) = &mut self.stdout else { return Ok(Some(0)) };
        none_if_would_block(stdout.read(block))
    }

    /// How many of the bytes that were given it has not read.
    pub(crate) fn unread_bytes(&self) -> usize {
        let unread = self.stdin.as_ref().and_then(|stdin| rustix::io::ioctl_fionread(stdin).ok());
        usize::try_from(unread.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether and how it has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Waits until it has ended, at most so long; then it is made to.
    pub(crate) fn wait_or_kill(&mut self, patience: Duration) -> Option<ExitStatus> {
        drop(self.stdin.take());
        let begun = Instant::now();
        loop {
            let ended = self.try_wait();
            if ended.is_some() || begun.elapsed() >= patience {
                self.kill();
                return ended;
            }
            std::thread::sleep(EXIT_POLL_INTERVAL);
        }
    }

    /// Ends it and everything that it has started.
    pub(crate) fn kill(&mut self) {
        // Later its number may be another's.
        if std::mem::replace(&mut self.killed, true) {
            return;
        }
        kill_group(self.process.id());
        // It has been told to; this is to have the system forget it.
        drop(self.process.wait());
        process_groups().remove(&self.process.id());
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn none_if_would_block(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// How a program ended, in words.
pub(crate) fn describe_exit(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("the program ended: {status}"),
        None => "the program closed its output".to_owned(),
    }
}
