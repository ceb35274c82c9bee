//! Gives every message as a line to a program.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::batch::Batch;
use crate::child::{Child, CommandLine, ending};
use crate::plugin::{BoxError, BuildContext, Sink, SinkConfig};
use crate::stats::Counter;
use crate::units::Span;

/// Gives every message as a line to a program's stdin.
///
/// When it ends, or takes nothing for `timeout`, it is started again and gets the batch that it had
/// not taken whole once more: lines may come twice, and none is left out. What it says goes to the
/// log.
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
        let starts = context.counter("starts");
        Ok(Box::new(Exec { config: self, child: None, starts }))
    }
}

struct Exec {
    config: ExecConfig,
    child: Option<Child>,
    starts: Arc<Counter>,
}

impl Exec {
    fn child(&mut self) -> io::Result<&mut Child> {
        if self.child.is_none() {
            let child = self.config.command.start(&self.config.env)?;
            child.never_wait()?;
            self.starts.add(1);
            self.child = Some(child);
        }
        self.child.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    fn give(&mut self, mut lines: &[u8]) -> Result<(), BoxError> {
        let timeout = self.config.timeout.duration();
        let child = self.child()?;
        let mut moved = Instant::now();
        while !lines.is_empty() {
            // Its words must not fill the pipe that it waits for.
            hush(child)?;
            match child.give(lines) {
                Ok(Some(taken)) => {
                    lines = lines.get(taken..).unwrap_or_default();
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
                    return Err(ending(child.end(Duration::from_millis(100))).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// What it says on stdout is for nobody but who looks for a fault.
fn hush(child: &mut Child) -> io::Result<()> {
    let mut block = [0; 4096];
    while let Some(read @ 1..) = child.hear(&mut block)? {
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
        let given = self.give(batch.as_lines());
        if given.is_err() {
            // Started again with the next attempt.
            self.child = None;
        }
        given
    }

    fn close(&mut self) -> Result<(), BoxError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        drop(child.stdin.take());
        let (begun, timeout) = (Instant::now(), self.config.timeout.duration());
        while child.ended().is_none() && begun.elapsed() < timeout {
            hush(&mut child)?;
            child.wait_ready(false, Duration::from_millis(20))?;
        }
        let status = child.end(Duration::ZERO);
        match status {
            Some(status) if status.success() => Ok(()),
            Some(_) => Err(ending(status).into()),
            None => {
                warn!(
                    program = self.config.command.name(),
                    "the program did not end, and is made to"
                );
                Err(format!("it did not end within {timeout:?} (`timeout`)").into())
            }
        }
    }
}
