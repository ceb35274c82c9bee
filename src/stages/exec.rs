//! Sends messages through a program of any language.

mod running;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use self::running::{Failure, Running};
use crate::backoff::Backoff;
use crate::batch::{Batch, Verdict};
use crate::child::CommandLine;
use crate::clock::UnixNanos;
use crate::errors::error_chain;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};
use crate::stats::{Counter, Stats};
use crate::units::Span;

/// What goes on is told again after this.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Sends every message through a program: a line on its stdin, and its stdout's lines go on.
///
/// A program that ends, or does nothing for `timeout`, is started again, later each time; meanwhile
/// messages go on unchanged, counted as failed. What it says on stderr goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecConfig {
    /// The program and its arguments. It must not keep its output back: `jq --unbuffered`, `grep
    /// --line-buffered`, `python -u`.
    command: CommandLine,
    /// Environment variables for it, beside those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// How it answers.
    #[serde(default)]
    replies: Replies,
    /// For how long it may neither read nor write while messages wait for it. More than 0.
    #[serde(default = "ExecConfig::default_timeout")]
    timeout: Span,
}

/// How a program answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Replies {
    /// With any lines at any time. What the program had read of late when it ended may be lost, and is
    /// counted: the lines of the last 256 KiB that it read, unless it had been quiet since.
    #[default]
    Any,
    /// With exactly one line for each, in order; an empty one leaves the message out. What was not
    /// answered when the program ended goes on unchanged: nothing is lost.
    Each,
}

impl ExecConfig {
    fn default_timeout() -> Span {
        Span::from_secs(10)
    }
}

impl StageConfig for ExecConfig {
    const TYPE: &'static str = "exec";

    fn example() -> Value {
        json!({ "command": ["grep", "--line-buffered", "BTCUSDT"] })
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        self.command.check()?;
        if self.timeout.is_zero() {
            return Err("`timeout` is 0; it must be more".into());
        }
        Ok(Box::new(Exec {
            running: None,
            backoff: Backoff::default(),
            start_at: Instant::now(),
            config: self,
            starts: context.counter("starts"),
            garbled: context.counter("garbled"),
            told_garbled: None,
            stats: Arc::clone(&context.stats),
        }))
    }
}

struct Exec {
    config: ExecConfig,
    running: Option<Running>,
    backoff: Backoff,
    /// Not before this is it started.
    start_at: Instant,
    starts: Arc<Counter>,
    /// Lines of it that are not UTF-8.
    garbled: Arc<Counter>,
    /// When the log was last told of such.
    told_garbled: Option<Instant>,
    stats: Arc<Stats>,
}

impl Exec {
    fn program(&self) -> &str {
        self.config.command.name()
    }

    /// The program, started if that is due.
    fn running(&mut self) -> Option<&mut Running> {
        if self.running.is_none() && Instant::now() >= self.start_at {
            match Running::start(&self.config) {
                Ok(running) => {
                    self.starts.add(1);
                    info!(program = self.program(), "program started");
                    self.running = Some(running);
                }
                Err(error) => {
                    let retry_in = self.later(Duration::ZERO);
                    let error = error_chain(&error);
                    error!(program = self.program(), %error, ?retry_in, "the program cannot be started; messages go on unchanged");
                }
            }
        }
        self.running.as_mut()
    }

    fn later(&mut self, lasted: Duration) -> Duration {
        self.backoff.worked(lasted);
        let delay = self.backoff.next(None);
        self.start_at = Instant::now() + delay;
        delay
    }

    /// Ends the program, and puts what it has certainly not dealt with into the batch.
    fn fail(&mut self, failure: &Failure, batch: &mut Batch) {
        let Some(running) = self.running.take() else { return };
        let lasted = running.lasted();
        let (lost, since) = running.take_back(batch, &failure.to_string());
        self.stats.lost_in_stage(lost, since);
        let retry_in = self.later(lasted);
        warn!(program = self.program(), error = %failure, lost_at_most = lost, ?retry_in, "the program failed and is started again");
    }

    /// Lines of the program are not UTF-8.
    fn mind_garbled(&mut self, lines: u64, since: UnixNanos) {
        if lines == 0 {
            return;
        }
        self.garbled.add(lines);
        let each = self.config.replies == Replies::Each;
        if !each {
            // Each may have been a message.
            self.stats.lost_in_stage(lines, since);
        }
        if self.told_garbled.is_none_or(|told| told.elapsed() >= REPORT_INTERVAL) {
            self.told_garbled = Some(Instant::now());
            let (program, garbled) = (self.program(), self.garbled.get());
            let instead =
                if each { "the messages go on unchanged" } else { "these lines are left out" };
            warn!(program, garbled, "the program says lines that are not UTF-8; {instead}");
        }
    }

    /// Does something with the program, and puts into the batch what it answers; says whether there
    /// is more.
    fn with(
        &mut self,
        batch: &mut Batch,
        work: impl FnOnce(&mut Running, &mut Batch) -> Result<bool, Failure>,
    ) -> bool {
        let Some(running) = &mut self.running else { return false };
        let worked = work(running, batch);
        let (garbled, since) = (running.take_garbled(), running.oldest());
        self.mind_garbled(garbled, since);
        worked.unwrap_or_else(|failure| {
            self.fail(&failure, batch);
            false
        })
    }
}

impl Stage for Exec {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        let Some(running) = self.running() else {
            batch.judge(|_| Verdict::Fail("the program is not running".into()));
            return Ok(());
        };
        running.queue(batch);
        let mut out = Batch::new();
        out.set_received(batch.received());
        // What does not fit is collected.
        self.with(&mut out, Running::exchange);
        *batch = out;
        Ok(())
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<bool, BoxError> {
        Ok(self.with(batch, Running::collect))
    }

    fn close(&mut self, batch: &mut Batch) -> Result<bool, BoxError> {
        let more = self.with(batch, Running::finish);
        if !more {
            self.running = None;
        }
        Ok(more)
    }
}

#[cfg(test)]
mod tests;
