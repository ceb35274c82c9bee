//! Gives every message as a line to a program.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::debug;

use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::child::{Child, CommandLine, ending};
use crate::plugin::{BoxError, BuildContext, Sink, SinkConfig};
use crate::stats::Counter;
use crate::units::Span;

/// Gives every message as a line to a program's stdin.
///
/// When it ends, or takes nothing for `timeout`, it is started again, later each time, and first gets
/// the lines that it had been given and not read: some may come twice. What it had read and not dealt
/// with is its own affair. What it says goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecConfig {
    /// The program and its arguments.
    command: CommandLine,
    /// Environment variables for it, beside those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// For how long it may take nothing, and how long it may take to end. More than 0.
    #[serde(default = "ExecConfig::default_timeout")]
    timeout: Span,
}

impl ExecConfig {
    fn default_timeout() -> Span {
        Span::from_secs(10)
    }
}

impl SinkConfig for ExecConfig {
    const TYPE: &'static str = "exec";

    fn example() -> Value {
        json!({ "command": ["sh", "-c", "gzip >> copy.jsonl.gz"] })
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Sink>, BoxError> {
        self.command.check()?;
        if self.timeout.is_zero() {
            return Err("`timeout` is 0; it must be more".into());
        }
        Ok(Box::new(Exec {
            config: self,
            child: None,
            again: Vec::new(),
            backoff: Backoff::default(),
            start_at: Instant::now(),
            starts: context.counter("starts"),
            unread: context.counter("unread"),
        }))
    }
}

struct Exec {
    config: ExecConfig,
    child: Option<Child>,
    /// Lines that a program before was given and did not read.
    again: Vec<u8>,
    backoff: Backoff,
    /// Not before this is it started.
    start_at: Instant,
    starts: Arc<Counter>,
    /// Lines that it had not read when the recording ended.
    unread: Arc<Counter>,
}

impl Exec {
    /// Sees to it that the program runs, and has what is to be given again.
    fn start(&mut self) -> Result<(), BoxError> {
        if self.child.is_some() {
            return Ok(());
        }
        let wait = self.start_at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            return Err(format!("the program has ended, and is started again in {wait:.1?}").into());
        }
        // Unless it proves itself, the next time is later.
        self.start_at = Instant::now() + self.backoff.next(None);
        let child = self.config.command.start(&self.config.env)?;
        child.never_wait()?;
        self.starts.add(1);
        self.child = Some(child);
        self.give_again()
    }

    /// Gives it what another before was given and did not read.
    fn give_again(&mut self) -> Result<(), BoxError> {
        let again = std::mem::take(&mut self.again);
        let mut rest = again.as_slice();
        let Some(child) = &mut self.child else { return Ok(()) };
        let given = give(child, &mut rest, self.config.timeout.duration());
        if given.is_err() {
            let (mut back, _) = child.take_unread();
            back.extend_from_slice(rest);
            self.fail(back);
        }
        given
    }

    /// Gives it the lines. When that fails they are given again; of those before, what it did not read
    /// is kept.
    fn give(&mut self, lines: &[u8]) -> Result<(), BoxError> {
        let mut rest = lines;
        let Some(child) = &mut self.child else { return Ok(()) };
        let given = give(child, &mut rest, self.config.timeout.duration());
        if given.is_err() {
            let taken = lines.len() - rest.len();
            let (mut back, _) = child.take_unread();
            back.truncate(back.len().saturating_sub(taken));
            back.truncate(back.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed + 1));
            self.fail(back);
        }
        given
    }

    /// The program is given up; the next one is to have these lines.
    fn fail(&mut self, again: Vec<u8>) {
        self.again = again;
        if let Some(child) = self.child.take() {
            self.backoff.worked(child.started.elapsed());
        }
    }

    /// Lets the program end. What it does not read before it does is kept.
    fn finish(&mut self) -> Result<(), BoxError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let (begun, timeout) = (Instant::now(), self.config.timeout.duration());
        // It is told that nothing more comes when it has read all of it.
        while child.unread() > 0 && child.ended().is_none() && begun.elapsed() < timeout {
            hush(&mut child)?;
            child.wait_ready(false, Duration::from_millis(5))?;
        }
        (self.again, _) = child.take_unread();
        drop(child.stdin.take());
        while child.ended().is_none() && begun.elapsed() < timeout {
            hush(&mut child)?;
            child.wait_ready(false, Duration::from_millis(20))?;
        }
        match child.end(Duration::ZERO) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(ending(Some(status)).into()),
            None => Err(format!("it did not end within {timeout:?} (`timeout`)").into()),
        }
    }
}

fn give(child: &mut Child, rest: &mut &[u8], timeout: Duration) -> Result<(), BoxError> {
    let mut moved = Instant::now();
    while !rest.is_empty() {
        // Its words must not fill the pipe that it waits for.
        hush(child)?;
        match child.give(rest) {
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
                return Err(ending(child.ended()).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What it says on stdout is for nobody but who looks for a fault.
fn hush(child: &mut Child) -> io::Result<()> {
    let mut block = [0; 4096];
    while let Some(read) = child.hear(&mut block)? {
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

impl Sink for Exec {
    fn destination(&self) -> String {
        format!("program {}", self.config.command.name())
    }

    fn write(&mut self, batch: &Batch) -> Result<(), BoxError> {
        self.start()?;
        self.give(batch.as_lines())
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let ended = self.finish();
        if self.again.is_empty() {
            return ended;
        }
        // What it did not read is for one more, due or not.
        self.start_at = Instant::now();
        let started = self.start();
        let ended = started.and(self.finish());
        let unread = memchr::memchr_iter(b'\n', &self.again).count();
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
    use crate::stats::Stats;

    #[test]
    fn a_program_that_dies_before_it_has_what_another_left_leaves_it_to_the_next() {
        let command = serde_json::from_value(json!(["false"])).unwrap();
        let (env, timeout) = (BTreeMap::new(), Span::from_secs(30));
        let context = BuildContext::new(Vec::new(), Arc::new(Stats::new()), 100);
        let (starts, unread) = (context.counter("starts"), context.counter("unread"));
        let mut exec = Exec {
            config: ExecConfig { command, env, timeout },
            child: None,
            again: Vec::new(),
            backoff: Backoff::default(),
            start_at: Instant::now(),
            starts,
            unread,
        };
        exec.start().unwrap();
        while exec.child.as_mut().unwrap().ended().is_none() {
            std::thread::yield_now();
        }
        exec.again = b"left\nover\n".to_vec();
        exec.give_again().unwrap_err();
        assert_eq!(exec.again, b"left\nover\n");
    }
}
