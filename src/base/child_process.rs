//! External programs that run beside the recorder and exchange lines with it over pipes.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionbio, ioctl_fionread};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};
use tracing::{Span, error, warn};

use super::heartbeat::rest;

/// Maximum number of lines a minute of a program's stderr that go to the log.
const MAX_STDERR_LINES_PER_MINUTE: u32 = 60;
/// Number of bytes at which a line of stderr is cut.
const MAX_STDERR_LINE_BYTES: u64 = 1000;
/// Number of bytes that a pipe holds (pipe(7)).
const PIPE_BYTES: usize = 64 << 10;
/// Number of bytes that a program is assumed to read ahead of its work. The documentation of the
/// exec stage (`replies: "any"`) promises this number.
const READ_AHEAD_BYTES: usize = 256 << 10;
/// Number of bytes sent to a program that are remembered.
const SENT_TAIL_BYTES: usize = READ_AHEAD_BYTES + PIPE_BYTES;
/// Time between two checks of a program that is about to end.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The process groups that run. They belong to the process, as in the kernel: a process that ends in
/// a hurry must not leave them behind.
static PROCESS_GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

fn process_groups() -> MutexGuard<'static, Vec<Pid>> {
    PROCESS_GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills every program that still runs. Called when this process is about to end.
pub(crate) fn kill_all() {
    for group in std::mem::take(&mut *process_groups()) {
        kill_group(group);
    }
}

/// Frees the entries in the process table of children that this process did not start. Process 1 of
/// a container is the parent of what the programs of others leave behind. The exit status of a
/// program of this process stays.
pub(crate) fn reap_orphans() {
    let own = process_groups();
    for orphan in ended_children().into_iter().filter(|child| !own.contains(child)) {
        // Another process cannot wait for it, so that it is there.
        let _reaped = waitpid(Some(orphan), WaitOptions::NOHANG);
    }
}

/// Returns the children of this process that have ended and that nobody has waited for (proc(5)).
fn ended_children() -> Vec<Pid> {
    let parent = std::process::id().to_string();
    let is_ended_child = |stat: &str| {
        // The name of the program, in parentheses, may hold anything.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&parent)
    };
    // Without `/proc` nothing is known of other processes.
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_ended_child(&stat))
    })
    .filter_map(Pid::from_raw)
    .collect()
}

fn kill_group(group: Pid) {
    // The group may be gone.
    let _gone = kill_process_group(group, Signal::KILL);
}

/// A running program. Dropping the value kills the program and everything that it started.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    process: Child,
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) started_at: Instant,
    killed: bool,
    /// The bytes that were sent last, from the start of a line on.
    sent_tail: Vec<u8>,
}

/// The operations that [`ChildProcess::wait_ready`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Reading from stdout.
    Read,
    /// Reading from stdout and writing to stdin.
    ReadWrite,
}

/// The operations that would not block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PipeReadiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// The input that a program has not processed with certainty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UnreadInput {
    /// Lines that the program has not read whole, from the start of the first.
    pub(crate) lines: Vec<u8>,
    /// Number of remembered lines before, which the program has read and may not have processed.
    pub(crate) lines_read_before: u64,
}

/// The assumption about sent lines when the kernel does not say how many of them were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfUnknown {
    /// All remembered lines count as read: none is sent twice.
    Read,
    /// All remembered lines count as unread: none is lost.
    Unread,
}

impl ChildProcess {
    /// Starts the command in a process group of its own. Its stdin and stdout are pipes; lines of
    /// its stderr go to the log under the name `program`.
    ///
    /// # Errors
    /// The program or the thread that reads its stderr cannot be started.
    pub(crate) fn spawn(program: &str, mut command: Command) -> io::Result<Self> {
        command.process_group(0);
        // Only the recorder speaks with its service manager.
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = {
            // Until it is in the list, `reap_orphans` must not take it for an orphan.
            let mut groups = process_groups();
            let process = command.spawn()?;
            groups.push(Pid::from_child(&process));
            process
        };
        let stdin = process.stdin.take();
        let stdout = process.stdout.take();
        let stderr = process.stderr.take();
        let child = Self {
            process,
            stdin,
            stdout,
            started_at: Instant::now(),
            killed: false,
            sent_tail: Vec::new(),
        };
        if let Some(stderr) = stderr {
            let program = program.to_owned();
            let span = Span::current();
            std::thread::Builder::new().name("stderr".to_owned()).spawn(move || {
                let _entered = span.enter();
                log_stderr(&program, stderr);
            })?;
        }
        Ok(child)
    }

    /// Makes reads and writes of the pipes return an error instead of blocking.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        if let Some(stdin) = &self.stdin {
            ioctl_fionbio(stdin, true)?;
        }
        if let Some(stdout) = &self.stdout {
            ioctl_fionbio(stdout, true)?;
        }
        Ok(())
    }

    /// Waits until an operation of `interest` would not block, at most for `timeout`.
    ///
    /// # Errors
    /// The kernel refuses. An error or an end of a pipe counts as ready and shows in the operation.
    pub(crate) fn wait_ready(
        &self,
        interest: Interest,
        timeout: Duration,
    ) -> io::Result<PipeReadiness> {
        let stdin = self.stdin.as_ref().filter(|_| interest == Interest::ReadWrite);
        let mut fds = Vec::with_capacity(2);
        if let Some(stdout) = &self.stdout {
            fds.push(PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN));
        }
        if let Some(stdin) = stdin {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::OUT));
        }
        let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        match rest(|| poll(&mut fds, Some(&timeout))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let readable = self.stdout.is_some() && ready.next() == Some(true);
        let writable = stdin.is_some() && ready.next() == Some(true);
        Ok(PipeReadiness { readable, writable })
    }

    /// Writes as many of the bytes to stdin as the pipe has room for. Returns their number, or
    /// `None` when the pipe is full.
    ///
    /// # Errors
    /// [`ErrorKind::BrokenPipe`] when the program has closed its stdin, or [`ChildProcess::stdin`]
    /// was closed.
    #[expect(clippy::disallowed_methods, reason = "a short write is counted and continued")]
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let Some(stdin) = &mut self.stdin else { return Err(ErrorKind::BrokenPipe.into()) };
        let written = none_if_would_block(stdin.write(bytes))?;
        self.sent_tail.extend_from_slice(bytes.get(..written.unwrap_or(0)).unwrap_or_default());
        if self.sent_tail.len() > 2 * SENT_TAIL_BYTES {
            self.forget_oldest_sent();
        }
        Ok(written)
    }

    /// Shortens the remembered bytes to whole lines, the first of which reaches into the last
    /// [`SENT_TAIL_BYTES`]: a line that may be unread is never forgotten.
    fn forget_oldest_sent(&mut self) {
        let excess = self.sent_tail.len().saturating_sub(SENT_TAIL_BYTES);
        let old = self.sent_tail.get(..excess).unwrap_or_default();
        let whole_lines = memchr::memrchr(b'\n', old).map_or(0, |position| position + 1);
        self.sent_tail.drain(..whole_lines);
    }

    /// Returns the number of sent bytes that are remembered.
    pub(crate) fn sent_tail_len(&self) -> u64 {
        self.sent_tail.len() as u64
    }

    /// Forgets the sent bytes: the program has processed all of them.
    pub(crate) fn mark_idle(&mut self) {
        self.sent_tail.clear();
    }

    /// Forgets the sent bytes and returns those that the program has not processed with certainty.
    /// Must be called before stdin is closed, since the unread rest of a closed pipe is unknown.
    ///
    /// If the kernel does not say how many bytes are unread, that is logged, and `if_unknown`
    /// decides.
    pub(crate) fn drain_unread(&mut self, if_unknown: IfUnknown) -> UnreadInput {
        let unread = match self.unread_bytes() {
            Ok(unread) => unread.min(self.sent_tail.len()),
            Err(error) => {
                let lines = memchr::memchr_iter(b'\n', &self.sent_tail).count();
                match if_unknown {
                    IfUnknown::Read => {
                        error!(%error, lines, "the last lines that were sent to the program count as read, and may be lost");
                        0
                    }
                    IfUnknown::Unread => {
                        error!(%error, lines, "the last lines that were sent to the program are sent again, and may come twice");
                        self.sent_tail.len()
                    }
                }
            }
        };
        let (read, _) = self.sent_tail.split_at(self.sent_tail.len() - unread);
        let whole_lines = memchr::memrchr(b'\n', read).map_or(0, |position| position + 1);
        let lines = self.sent_tail.split_off(whole_lines);
        let lines_read_before = memchr::memchr_iter(b'\n', &self.sent_tail).count() as u64;
        self.sent_tail.clear();
        UnreadInput { lines, lines_read_before }
    }

    /// Reads the bytes that are ready on stdout. Returns their number, 0 at the end of the stream,
    /// or `None` when nothing is ready.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub(crate) fn try_read(&mut self, block: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(stdout) = &mut self.stdout else { return Ok(Some(0)) };
        none_if_would_block(stdout.read(block))
    }

    /// Returns the number of bytes in the stdin pipe that the program has not read: 0 when stdin is
    /// closed.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn unread_bytes(&self) -> io::Result<usize> {
        let Some(stdin) = &self.stdin else { return Ok(0) };
        let unread = ioctl_fionread(stdin).map_err(|error| {
            with_context("cannot determine how much the program has read", &error.into())
        })?;
        Ok(usize::try_from(unread).unwrap_or(usize::MAX))
    }

    /// Returns the exit status, or `None` while the program runs.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process
            .try_wait()
            .map_err(|error| with_context("cannot determine whether the program has ended", &error))
    }

    /// Closes stdin and waits for the exit, at most for `timeout`; then kills the program. Returns
    /// `None` if it had to.
    ///
    /// # Errors
    /// As [`ChildProcess::try_wait`]. The program is killed.
    pub(crate) fn wait_or_kill(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        let begun = Instant::now();
        loop {
            let status = self.try_wait();
            if !matches!(status, Ok(None)) || begun.elapsed() >= timeout {
                self.kill();
                return status;
            }
            std::thread::sleep(EXIT_POLL_INTERVAL);
        }
    }

    /// Kills the program and everything that it started.
    pub(crate) fn kill(&mut self) {
        // The number of a process that is gone may become that of another.
        if std::mem::replace(&mut self.killed, true) {
            return;
        }
        let group = Pid::from_child(&self.process);
        kill_group(group);
        // The status does not matter; waiting frees the entry in the process table.
        drop(self.process.wait());
        process_groups().retain(|other| *other != group);
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the error with a text in front that says what failed.
fn with_context(what_failed: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what_failed}: {error}"))
}

fn none_if_would_block(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Describes how a program ended.
pub(crate) fn describe_exit(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("the program ended: {status}"),
        None => "the program closed its output".to_owned(),
    }
}

/// Logs the lines of a program's stderr until the stream ends, up to a number a minute.
fn log_stderr(program: &str, stderr: ChildStderr) {
    let mut stderr = BufReader::new(stderr);
    let mut minute_begun = Instant::now();
    let mut logged = 0;
    let mut suppressed = 0_u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        match stderr.by_ref().take(MAX_STDERR_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(read) if read > 0 => {}
            _ => break,
        }
        if minute_begun.elapsed() >= Duration::from_secs(60) {
            minute_begun = Instant::now();
            logged = 0;
        }
        if logged < MAX_STDERR_LINES_PER_MINUTE {
            logged += 1;
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end();
            // The debug format escapes control characters of terminals.
            warn!(program, suppressed, says = ?text, "stderr");
            suppressed = 0;
        } else {
            suppressed += 1;
        }
    }
    if suppressed > 0 {
        warn!(program, suppressed, "more lines were written to stderr");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cat() -> ChildProcess {
        ChildProcess::spawn("cat", Command::new("cat")).unwrap()
    }

    /// Replaces the pipe to the program by a device whose unread bytes the kernel does not count.
    fn replace_stdin(child: &mut ChildProcess) {
        let device = std::fs::File::options().write(true).open("/dev/null").unwrap();
        child.stdin = Some(std::os::fd::OwnedFd::from(device).into());
    }

    #[test]
    fn lines_count_as_read_or_unread_as_asked_when_the_kernel_does_not_say() {
        for (if_unknown, lines, lines_read_before) in [
            (IfUnknown::Read, b"par".as_slice(), 2),
            (IfUnknown::Unread, b"a\nb\npar".as_slice(), 0),
        ] {
            let mut child = cat();
            replace_stdin(&mut child);
            assert_eq!(child.try_write(b"a\nb\npar").unwrap(), Some(7));
            let error = child.unread_bytes().unwrap_err().to_string();
            assert!(error.contains("how much the program has read"), "{error}");
            let unread = UnreadInput { lines: lines.to_vec(), lines_read_before };
            assert_eq!(child.drain_unread(if_unknown), unread);
        }
    }

    #[test]
    fn an_unknown_exit_status_is_an_error() {
        let mut child = cat();
        kill_group(Pid::from_child(&child.process));
        // Somebody else waits for the process.
        let pid = Some(Pid::from_child(&child.process));
        rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
        let error = child.try_wait().unwrap_err().to_string();
        assert!(error.contains("whether the program has ended"), "{error}");
        child.wait_or_kill(Duration::from_secs(30)).unwrap_err();
    }

    #[test]
    fn the_remembered_input_begins_with_a_whole_line() {
        let mut child = cat();
        replace_stdin(&mut child);
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..3 * SENT_TAIL_BYTES / line.len() {
            child.try_write(&line).unwrap();
        }
        let UnreadInput { lines, .. } = child.drain_unread(IfUnknown::Unread);
        assert!(lines.len() < 2 * SENT_TAIL_BYTES && lines.len() > SENT_TAIL_BYTES - line.len());
        assert_eq!(lines.len() % line.len(), 0);
    }

    #[test]
    fn a_line_longer_than_the_remembered_input_is_not_forgotten() {
        let mut child = cat();
        replace_stdin(&mut child);
        child.try_write(b"short\n").unwrap();
        let line = [b"x".repeat(3 * SENT_TAIL_BYTES), b"\n".to_vec()].concat();
        for part in line.chunks(SENT_TAIL_BYTES / 2) {
            child.try_write(part).unwrap();
        }
        let UnreadInput { lines, .. } = child.drain_unread(IfUnknown::Unread);
        assert!(lines.ends_with(&line));
    }
}
