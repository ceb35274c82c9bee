//! Sends messages through a program of any language.

mod running_program;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use self::running_program::{ProgramFailure, RunningProgram};
use crate::base::backoff::Backoff;
use crate::base::child_process::CommandLine;
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;
use crate::base::units::ConfigDuration;
use crate::metrics::{Counter, PipelineStats};
use crate::plugin::batch::{Batch, MessageVerdict};
use crate::plugin::{BoxError, BuildContext, DrainStatus, Stage, StageConfig};

/// What goes on is told again after this.
const GARBLED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends every message through a program: a line on its stdin, and its stdout's lines go on.
///
/// A program that ends, or does nothing for `timeout`, is started again, later each time; meanwhile
/// messages go on unchanged, counted as failed. What it says on stderr goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecStageConfig {
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
    #[serde(default = "ExecStageConfig::default_timeout")]
    timeout: ConfigDuration,
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

impl ExecStageConfig {
    fn default_timeout() -> ConfigDuration {
        ConfigDuration::from_secs(10)
    }
}

impl StageConfig for ExecStageConfig {
    const TYPE: &'static str = "exec";

    fn example() -> Value {
        json!({ "command": ["grep", "--line-buffered", "BTCUSDT"] })
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        self.command.check()?;
        if self.timeout.is_zero() {
            return Err("`timeout` is 0; it must be more".into());
        }
        Ok(Box::new(ExecStage {
            program: None,
            backoff: Backoff::default(),
            earliest_start: Instant::now(),
            config: self,
            starts: context.counter("starts"),
            garbled: context.counter("garbled"),
            garbled_logged_at: None,
            stats: Arc::clone(&context.stats),
        }))
    }
}

struct ExecStage {
    config: ExecStageConfig,
    program: Option<RunningProgram>,
    backoff: Backoff,
    /// Not before this is it started.
    earliest_start: Instant,
    starts: Arc<Counter>,
    /// Lines of it that are not UTF-8.
    garbled: Arc<Counter>,
    /// When the log was last told of such.
    garbled_logged_at: Option<Instant>,
    stats: Arc<PipelineStats>,
}

impl ExecStage {
    fn program_name(&self) -> &str {
        self.config.command.name()
    }

    /// The program, started if that is due.
    fn ensure_running(&mut self) -> Option<&mut RunningProgram> {
        if self.program.is_none() && Instant::now() >= self.earliest_start {
            match RunningProgram::start(&self.config) {
                Ok(running) => {
                    self.starts.add(1);
                    info!(program = self.program_name(), "program started");
                    self.program = Some(running);
                }
                Err(error) => {
                    let retry_in = self.schedule_restart(Duration::ZERO);
                    let error = error_chain(&error);
                    error!(program = self.program_name(), %error, ?retry_in, "the program cannot be started; messages go on unchanged");
                }
            }
        }
        self.program.as_mut()
    }

    fn schedule_restart(&mut self, lasted: Duration) -> Duration {
        self.backoff.record_success(lasted);
        let delay = self.backoff.next_delay(None);
        self.earliest_start = Instant::now() + delay;
        delay
    }

    /// Ends the program, and puts what it has certainly not dealt with into the batch.
    fn handle_failure(&mut self, failure: &ProgramFailure, batch: &mut Batch) {
        let Some(running) = self.program.take() else { return };
        let lasted = running.uptime();
        let (lost, since) = running.recover_unprocessed(batch, &failure.to_string());
        self.stats.record_stage_loss(lost, since);
        let retry_in = self.schedule_restart(lasted);
        warn!(program = self.program_name(), error = %failure, lost_at_most = lost, ?retry_in, "the program failed and is started again");
    }

    /// Lines of the program are not UTF-8.
    fn record_garbled(&mut self, lines: u64, since: UnixNanos) {
        if lines == 0 {
            return;
        }
        self.garbled.add(lines);
        let each = self.config.replies == Replies::Each;
        if !each {
            // Each may have been a message.
            self.stats.record_stage_loss(lines, since);
        }
        if self.garbled_logged_at.is_none_or(|told| told.elapsed() >= GARBLED_LOG_INTERVAL) {
            self.garbled_logged_at = Some(Instant::now());
            let (program, garbled) = (self.program_name(), self.garbled.get());
            let instead =
                if each { "the messages go on unchanged" } else { "these lines are left out" };
            warn!(program, garbled, "the program says lines that are not UTF-8; {instead}");
        }
    }

    /// Does something with the program, and puts into the batch what it answers; says whether there
    /// is more.
    fn with_program(
        &mut self,
        batch: &mut Batch,
        work: impl FnOnce(&mut RunningProgram, &mut Batch) -> Result<bool, ProgramFailure>,
    ) -> bool {
        let Some(running) = &mut self.program else { return false };
        let worked = work(running, batch);
        let (garbled, since) = (running.drain_garbled(), running.oldest_received());
        self.record_garbled(garbled, since);
        worked.unwrap_or_else(|failure| {
            self.handle_failure(&failure, batch);
            false
        })
    }
}

impl Stage for ExecStage {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        let Some(running) = self.ensure_running() else {
            batch.apply_verdicts(|_| MessageVerdict::Fail("the program is not running".into()));
            return Ok(());
        };
        running.enqueue(batch);
        let mut out = Batch::new();
        out.set_received(batch.received());
        // What does not fit is collected.
        self.with_program(&mut out, RunningProgram::exchange);
        *batch = out;
        Ok(())
    }

    fn drain_ready(&mut self, batch: &mut Batch) -> Result<DrainStatus, BoxError> {
        let more = self.with_program(batch, RunningProgram::collect);
        Ok(if more { DrainStatus::More } else { DrainStatus::Done })
    }

    fn close(&mut self, batch: &mut Batch) -> Result<DrainStatus, BoxError> {
        if self.with_program(batch, RunningProgram::close_input_and_drain) {
            return Ok(DrainStatus::More);
        }
        self.program = None;
        Ok(DrainStatus::Done)
    }
}

#[cfg(test)]
mod tests;
