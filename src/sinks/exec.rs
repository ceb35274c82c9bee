//! Gives every message as a line to a program.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::debug;

use crate::base::backoff::Backoff;
use crate::base::child_process::{ChildProcess, CommandLine, describe_exit};
use crate::base::units::ConfigDuration;
use crate::metrics::Counter;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Sink, SinkConfig};

/// Gives every message as a line to a program's stdin.
///
/// When it ends, or takes nothing for `timeout`, it is started again, later each time, and first gets
/// the lines that it had been given and not read: some may come twice. What it had read and not dealt
/// with is its own affair. What it says goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSinkConfig {
    /// The program and its arguments.
    command: CommandLine,
    /// Environment variables for it, beside those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// For how long it may take nothing, and how long it may take to end. More than 0.
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

struct ExecSink {
    config: ExecSinkConfig,
    child: Option<ChildProcess>,
    /// Lines that a program before was given and did not read.
    unread_lines: Vec<u8>,
    backoff: Backoff,
    /// Not before this is it started.
    earliest_start: Instant,
    starts: Arc<Counter>,
    /// Lines that it had not read when the recording ended.
    unread: Arc<Counter>,
}

impl ExecSink {
    /// Sees to it that the program runs, and has what is to be given again.
    fn ensure_started(&mut self) -> Result<(), BoxError> {
        if self.child.is_some() {
            return Ok(());
        }
        let wait = self.earliest_start.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Err(format!("the program has ended, and is started again in {wait:.1?}").into());
        }
        // Unless it proves itself, the next time is later.
        self.earliest_start = Instant::now() + self.backoff.next_delay(None);
        let child = self.config.command.start(&self.config.env)?;
        child.set_nonblocking()?;
        self.starts.add(1);
        self.child = Some(child);
        self.resend_unread()
    }

    /// Gives it what another before was given and did not read.
    fn resend_unread(&mut self) -> Result<(), BoxError> {
        let again = std::mem::take(&mut self.unread_lines);
        let mut rest = again.as_slice();
        let Some(child) = &mut self.child else { return Ok(()) };
        let given = write_with_timeout(child, &mut rest, self.config.timeout.to_duration());
        if given.is_err() {
            let (mut back, _) = child.drain_unread();
            back.extend_from_slice(rest);
            self.discard_child(back);
        }
        given
    }

    /// Gives it the lines. When that fails they are given again; of those before, what it did not read
    /// is kept.
    fn write_lines(&mut self, lines: &[u8]) -> Result<(), BoxError> {
        let mut rest = lines;
        let Some(child) = &mut self.child else { return Ok(()) };
        let given = write_with_timeout(child, &mut rest, self.config.timeout.to_duration());
        if given.is_err() {
            let taken = lines.len() - rest.len();
            let (mut back, _) = child.drain_unread();
            back.truncate(back.len().saturating_sub(taken));
            back.truncate(back.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1));
            self.discard_child(back);
        }
        given
    }

    /// The program is given up; the next one is to have these lines.
    fn discard_child(&mut self, again: Vec<u8>) {
        self.unread_lines = again;
        if let Some(child) = self.child.take() {
            self.backoff.record_success(child.started_at.elapsed());
        }
    }

    /// Lets the program end. What it does not read before it does is kept.
    fn close_and_wait(&mut self) -> Result<(), BoxError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let (begun, timeout) = (Instant::now(), self.config.timeout.to_duration());
        // It is told that nothing more comes when it has read all of it.
        while child.unread_bytes() > 0 && child.try_wait().is_none() && begun.elapsed() < timeout {
            drain_stdout(&mut child)?;
            child.wait_ready(false, Duration::from_millis(5))?;
        }
        (self.unread_lines, _) = child.drain_unread();
        drop(child.stdin.take());
        while child.try_wait().is_none() && begun.elapsed() < timeout {
            drain_stdout(&mut child)?;
            child.wait_ready(false, Duration::from_millis(20))?;
        }
        match child.wait_or_kill(Duration::ZERO) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(describe_exit(Some(status)).into()),
            None => Err(format!("it did not end within {timeout:?} (`timeout`)").into()),
        }
    }
}

fn write_with_timeout(
    child: &mut ChildProcess,
    rest: &mut &[u8],
    timeout: Duration,
) -> Result<(), BoxError> {
    let mut moved = Instant::now();
    while !rest.is_empty() {
        // Its words must not fill the pipe that it waits for.
        drain_stdout(child)?;
        match child.try_write(rest) {
            Ok(Some(taken)) => {
                *rest = rest.get(taken..).unwrap_or_default();
                moved = Instant::now();
            }
            Ok(None) => {
                let patience = timeout.saturating_sub(moved.elapsed());
                if patience.is_zero() {
                    return Err(format!("it took nothing for {timeout:?} (`timeout`)").into());
                }
                child.wait_ready(true, patience.min(Duration::from_secs(1)))?;
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(describe_exit(child.try_wait()).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What it says on stdout is for nobody but who looks for a fault.
fn drain_stdout(child: &mut ChildProcess) -> io::Result<()> {
    let mut block = [0; 4096];
    while let Some(read) = child.try_read(&mut block)? {
        if read == 0 {
            // It has closed it: nothing more is to be heard.
            child.stdout = None;
            break;
        }
        let words = String::from_utf8_lossy(block.get(..read).unwrap_or_default()).into_owned();
        debug!(says = ?words, "stdout");
    }
    Ok(())
}

impl Sink for ExecSink {
    fn destination(&self) -> String {
        format!("program {}", self.config.command.name())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        self.ensure_started()?;
        self.write_lines(batch.as_lines())
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let ended = self.close_and_wait();
        if self.unread_lines.is_empty() {
            return ended;
        }
        // What it did not read is for one more, due or not.
        self.earliest_start = Instant::now();
        let started = self.ensure_started();
        let ended = started.and(self.close_and_wait());
        let unread = memchr::memchr_iter(b'\n', &self.unread_lines).count();
        self.unread.add(unread as u64);
        match unread {
            0 => ended,
            _ => Err(format!("it did not read {unread} lines at the end").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::PipelineStats;

    #[test]
    fn lines_left_unread_by_one_program_are_kept_for_the_next_when_the_second_dies_too() {
        let command = serde_json::from_value(json!(["false"])).unwrap();
        let (env, timeout) = (BTreeMap::new(), ConfigDuration::from_secs(30));
        let context = BuildContext::new(Vec::new(), Arc::new(PipelineStats::new()), 100);
        let (starts, unread) = (context.counter("starts"), context.counter("unread"));
        let mut exec = ExecSink {
            config: ExecSinkConfig { command, env, timeout },
            child: None,
            unread_lines: Vec::new(),
            backoff: Backoff::default(),
            earliest_start: Instant::now(),
            starts,
            unread,
        };
        exec.ensure_started().unwrap();
        while exec.child.as_mut().unwrap().try_wait().is_none() {
            std::thread::yield_now();
        }
        exec.unread_lines = b"left\nover\n".to_vec();
        exec.resend_unread().unwrap_err();
        assert_eq!(exec.unread_lines, b"left\nover\n");
    }
}
