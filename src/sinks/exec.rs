//! A sink that sends every message as a line to a program.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::debug;

use crate::base::backoff::Backoff;
use crate::base::child_process::{ChildProcess, IfUnknown, Interest, describe_exit};
use crate::base::command_line::CommandLine;
use crate::base::units::ConfigDuration;
use crate::metrics::Counter;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Sink, SinkConfig};

/// Sends every message as a line to the stdin of a program.
///
/// A program that ends, or reads nothing for `timeout`, is started again, after a longer delay each
/// time. The new program first gets the lines that the former one had not read, so some lines may
/// arrive twice. Lines that a program had read and not processed are lost. The output of the program
/// goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSinkConfig {
    /// The program and its arguments.
    command: CommandLine,
    /// Environment variables of the program, in addition to those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Longest time in which the program may read nothing, and in which it must exit after its stdin
    /// is closed. More than 0.
    #[serde(default = "ExecSinkConfig::default_timeout")]
    timeout: ConfigDuration,
}

impl ExecSinkConfig {
    fn default_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(10)
    }
}

impl SinkConfig for ExecSinkConfig {
    const TYPE: &'static str = "exec";

    fn example() -> Value {
        json!({ "command": ["sh", "-c", "gzip >> copy.jsonl.gz"] })
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Sink>, BoxError> {
        self.command.check()?;
        if self.timeout.is_zero() {
            return Err("`timeout` is 0; it must be more".into());
        }
        Ok(Box::new(ExecSink {
            config: self,
            child: None,
            unread_lines: Vec::new(),
            backoff: Backoff::default(),
            earliest_start: Instant::now(),
            starts: context.counter("starts"),
            unread: context.counter("unread"),
        }))
    }
}

/// Time between two checks of a program that still has to read its input.
const READ_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Time between two checks of a program that still has to exit.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Longest wait for room in the pipe, after which the output of the program is read again.
const MAX_WRITE_WAIT: Duration = Duration::from_secs(1);

struct ExecSink {
    config: ExecSinkConfig,
    /// The running program; `None` before the first batch and after a failure.
    child: Option<ChildProcess>,
    /// Lines that were sent to a former program, which did not read them.
    unread_lines: Vec<u8>,
    backoff: Backoff,
    /// Earliest time of the next start.
    earliest_start: Instant,
    starts: Arc<Counter>,
    /// Lines that were not read when the recording ended.
    unread: Arc<Counter>,
}

impl ExecSink {
    /// Starts the program and sends it the lines that a former one did not read.
    ///
    /// # Errors
    /// The next start is not due, or the program cannot be started or fails. Lines that it did not
    /// read stay in `unread_lines`.
    fn start(&mut self) -> Result<ChildProcess, BoxError> {
        let wait = self.earliest_start.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Err(format!("the program has ended, and is started again in {wait:.1?}").into());
        }
        // The delay grows unless the program runs for a while.
        self.earliest_start = Instant::now() + self.backoff.next_delay();
        let child = self.config.command.start(&self.config.env)?;
        child.set_nonblocking()?;
        self.starts.add(1);
        self.resend_unread(child)
    }

    /// Sends the lines that a former program did not read.
    fn resend_unread(&mut self, mut child: ChildProcess) -> Result<ChildProcess, BoxError> {
        let lines = std::mem::take(&mut self.unread_lines);
        let mut remaining = lines.as_slice();
        let written = write_with_timeout(&mut child, &mut remaining, self.timeout());
        match written {
            Ok(()) => Ok(child),
            Err(error) => {
                self.unread_lines = child.drain_unread(IfUnknown::Unread).lines;
                self.unread_lines.extend_from_slice(remaining);
                self.discard(child);
                Err(error)
            }
        }
    }

    /// Sends the lines of a batch.
    ///
    /// # Errors
    /// The program failed. The engine calls again with the same lines; lines of batches before that
    /// the program did not read stay in `unread_lines`.
    fn write_lines(
        &mut self,
        mut child: ChildProcess,
        lines: &[u8],
    ) -> Result<ChildProcess, BoxError> {
        let mut remaining = lines;
        let written = write_with_timeout(&mut child, &mut remaining, self.timeout());
        match written {
            Ok(()) => Ok(child),
            Err(error) => {
                let sent_bytes = lines.len() - remaining.len();
                let mut unread = child.drain_unread(IfUnknown::Unread).lines;
                unread.truncate(unread.len().saturating_sub(sent_bytes));
                unread.truncate(memchr::memrchr(b'\n', &unread).map_or(0, |feed| feed + 1));
                self.unread_lines = unread;
                self.discard(child);
                Err(error)
            }
        }
    }

    /// Kills a program that failed.
    fn discard(&mut self, child: ChildProcess) {
        self.backoff.record_success(child.started_at.elapsed());
        drop(child);
    }

    /// Lets the program read its input and exit. Lines that it does not read stay in
    /// `unread_lines`.
    ///
    /// # Errors
    /// The program fails or does not end within `timeout`.
    fn close_and_wait(&mut self, mut child: ChildProcess) -> Result<(), BoxError> {
        let begun = Instant::now();
        let timeout = self.timeout();
        let read = wait_until_read(&mut child, timeout);
        self.unread_lines = child.drain_unread(IfUnknown::Unread).lines;
        read?;
        drop(child.stdin.take());
        while child.try_wait()?.is_none() && begun.elapsed() < timeout {
            drain_stdout(&mut child)?;
            child.wait_ready(Interest::Read, EXIT_POLL_INTERVAL)?;
        }
        match child.wait_or_kill(Duration::ZERO)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(describe_exit(Some(status)).into()),
            None => Err(format!("the program did not end within {timeout:?} (`timeout`)").into()),
        }
    }

    fn timeout(&self) -> Duration {
        self.config.timeout.to_duration()
    }
}

/// Writes the bytes to the program's stdin. `remaining` is what was not written.
///
/// # Errors
/// The program ended, or read nothing for `timeout`.
fn write_with_timeout(
    child: &mut ChildProcess,
    remaining: &mut &[u8],
    timeout: Duration,
) -> Result<(), BoxError> {
    let mut last_progress = Instant::now();
    while !remaining.is_empty() {
        // A program whose stdout is full does not read.
        drain_stdout(child)?;
        match child.try_write(remaining) {
            Ok(Some(written)) => {
                *remaining = remaining.get(written..).unwrap_or_default();
                last_progress = Instant::now();
            }
            Ok(None) => {
                let time_left = timeout.saturating_sub(last_progress.elapsed());
                if time_left.is_zero() {
                    let error = format!("the program read nothing for {timeout:?} (`timeout`)");
                    return Err(error.into());
                }
                child.wait_ready(Interest::ReadWrite, time_left.min(MAX_WRITE_WAIT))?;
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(describe_exit(child.try_wait()?).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until the program has read its input or has ended, at most for `timeout`. The pipe must be
/// open: only then does the kernel say how much of it is unread.
fn wait_until_read(child: &mut ChildProcess, timeout: Duration) -> io::Result<()> {
    let begun = Instant::now();
    while child.unread_bytes()? > 0 && child.try_wait()?.is_none() && begun.elapsed() < timeout {
        drain_stdout(child)?;
        child.wait_ready(Interest::Read, READ_POLL_INTERVAL)?;
    }
    Ok(())
}

/// Logs the output that is ready on stdout, at the debug level: nobody else reads it.
fn drain_stdout(child: &mut ChildProcess) -> io::Result<()> {
    let mut block = [0; 4096];
    while let Some(read) = child.try_read(&mut block)? {
        if read == 0 {
            // The program has closed its stdout.
            child.stdout = None;
            break;
        }
        let text = String::from_utf8_lossy(block.get(..read).unwrap_or_default()).into_owned();
        debug!(says = ?text, "stdout");
    }
    Ok(())
}

impl Sink for ExecSink {
    fn destination(&self) -> String {
        format!("program {}", self.config.command.name())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        let child = match self.child.take() {
            Some(running) => running,
            None => self.start()?,
        };
        self.child = Some(self.write_lines(child, batch.as_lines())?);
        Ok(())
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let closed = match self.child.take() {
            Some(child) => self.close_and_wait(child),
            None => Ok(()),
        };
        if self.unread_lines.is_empty() {
            return closed;
        }
        // One more program gets the unread lines, whether its start is due or not.
        self.earliest_start = Instant::now();
        let closed = match self.start() {
            Ok(child) => self.close_and_wait(child),
            Err(error) => Err(error),
        };
        let unread = memchr::memchr_iter(b'\n', &self.unread_lines).count();
        self.unread.add(unread as u64);
        match unread {
            0 => closed,
            _ => Err(format!("the program did not read {unread} lines at the end").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::PipelineStats;

    fn sink(command: &Value) -> ExecSink {
        let context = BuildContext::new(Vec::new(), Arc::new(PipelineStats::new()), 100);
        ExecSink {
            config: ExecSinkConfig {
                command: serde_json::from_value(command.clone()).unwrap(),
                env: BTreeMap::new(),
                timeout: ConfigDuration::from_secs(30),
            },
            child: None,
            unread_lines: Vec::new(),
            backoff: Backoff::default(),
            earliest_start: Instant::now(),
            starts: context.counter("starts"),
            unread: context.counter("unread"),
        }
    }

    #[test]
    fn lines_left_unread_by_one_program_are_kept_for_the_next_when_the_second_dies_too() {
        let mut exec = sink(&json!(["false"]));
        let mut child = exec.start().unwrap();
        while child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        exec.unread_lines = b"left\nover\n".to_vec();
        exec.resend_unread(child).unwrap_err();
        assert_eq!(exec.unread_lines, b"left\nover\n");
    }

    #[test]
    fn a_batch_is_an_error_while_the_program_is_not_running() {
        let mut exec = sink(&json!(["false"]));
        exec.earliest_start = Instant::now() + Duration::from_secs(60);
        let mut batch = Batch::new();
        batch.push(b"line");
        let error = exec.write(&batch).unwrap_err().to_string();
        assert!(error.contains("is started again in"), "{error}");
    }
}
