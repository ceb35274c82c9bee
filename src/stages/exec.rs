//! A stage that sends messages through an external program.

mod program_failure;
mod reply_mode;
mod running_program;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{error, info, warn};

use self::program_failure::ProgramFailure;
pub use self::reply_mode::ReplyMode;
use self::running_program::{PossibleLoss, RunningProgram};
use crate::base::backoff::Backoff;
use crate::base::command_line::CommandLine;
use crate::base::time::{Receipt, UnixNanos};
use crate::base::units::ConfigDuration;
use crate::metrics::{Counter, PipelineStats};
use crate::plugin::batch::{Batch, MessageVerdict};
use crate::plugin::{BoxError, BuildContext, DrainStatus, Stage, StageConfig};

/// Shortest time between two log messages about lines that are no UTF-8.
const GARBLED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends every message as a line through a program: the lines of its stdout go on.
///
/// A program that ends, or neither reads nor writes for `timeout` while messages wait for it, is
/// started again, after a longer delay each time. Meanwhile messages pass unchanged and count as
/// failed. Lines of the program's stderr go to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecStageConfig {
    /// The program and its arguments. The program must not buffer its output: `jq --unbuffered`,
    /// `grep --line-buffered`, `python -u`.
    command: CommandLine,
    /// Environment variables of the program, in addition to those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// The way in which the program answers.
    #[serde(default)]
    replies: ReplyMode,
    /// Longest time in which the program may neither read nor write while messages wait for it.
    /// More than 0.
    #[serde(default = "ExecStageConfig::default_timeout")]
    timeout: ConfigDuration,
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
    /// The running program; `None` before the first batch and after a failure.
    program: Option<Box<RunningProgram>>,
    backoff: Backoff,
    /// Earliest time of the next start.
    earliest_start: Instant,
    starts: Arc<Counter>,
    /// Lines of the program that are no UTF-8.
    garbled: Arc<Counter>,
    /// Time of the last log message about such lines.
    garbled_logged_at: Option<Instant>,
    stats: Arc<PipelineStats>,
}

impl ExecStage {
    fn program_name(&self) -> &str {
        self.config.command.name()
    }

    /// Starts the program for a batch with this receipt, if that is due. Returns
    /// `None` while there is no program.
    fn start_if_due(&mut self, first: Receipt) -> Option<Box<RunningProgram>> {
        if Instant::now() < self.earliest_start {
            return None;
        }
        match self.start(first) {
            Ok(running) => {
                self.starts.add(1);
                info!(program = self.program_name(), "program started");
                Some(Box::new(running))
            }
            Err(error) => {
                let retry_in = self.schedule_restart(Duration::ZERO);
                error!(program = self.program_name(), %error, ?retry_in, "the program cannot be started; messages pass unchanged");
                None
            }
        }
    }

    fn start(&self, first: Receipt) -> io::Result<RunningProgram> {
        let child = self.config.command.start(&self.config.env)?;
        child.set_nonblocking()?;
        let timeout = self.config.timeout.to_duration();
        Ok(RunningProgram::new(child, self.config.replies, timeout, first))
    }

    fn schedule_restart(&mut self, uptime: Duration) -> Duration {
        self.backoff.record_success(uptime);
        let delay = self.backoff.next_delay();
        self.earliest_start = Instant::now() + delay;
        delay
    }

    /// Exchanges messages with the program by `work`, which puts replies into the batch. A program
    /// that does not fail stays.
    fn with_program(
        &mut self,
        mut running: Box<RunningProgram>,
        batch: &mut Batch,
        work: impl FnOnce(&mut RunningProgram, &mut Batch) -> Result<DrainStatus, ProgramFailure>,
    ) -> DrainStatus {
        let result = work(&mut running, batch);
        self.record_garbled(running.drain_garbled(), running.oldest_receipt().sent_since());
        match result {
            Ok(status) => {
                self.program = Some(running);
                status
            }
            Err(failure) => {
                self.handle_failure(*running, &failure, batch);
                DrainStatus::Done
            }
        }
    }

    /// Kills the program. Messages that it has not processed with certainty go into the batch; the
    /// others count as possibly lost.
    fn handle_failure(
        &mut self,
        running: RunningProgram,
        failure: &ProgramFailure,
        batch: &mut Batch,
    ) {
        let uptime = running.uptime();
        let loss = running.recover_unprocessed(batch, &failure.to_string());
        if let Some(PossibleLoss { messages, since }) = loss {
            self.stats.record_stage_loss(messages, since);
        }
        let lost_at_most = loss.map_or(0, |loss| loss.messages);
        let retry_in = self.schedule_restart(uptime);
        warn!(program = self.program_name(), error = %failure, lost_at_most, ?retry_in, "the program failed and is started again");
    }

    /// Counts lines of the program that are no UTF-8, and logs them from time to time.
    fn record_garbled(&mut self, lines: u64, since: UnixNanos) {
        if lines == 0 {
            return;
        }
        self.garbled.add(lines);
        let consequence = match self.config.replies {
            ReplyMode::Any => {
                // Each line may have been a message.
                self.stats.record_stage_loss(lines, since);
                "these lines are left out"
            }
            ReplyMode::Each => "their messages pass unchanged",
        };
        if self.garbled_logged_at.is_none_or(|logged| logged.elapsed() >= GARBLED_LOG_INTERVAL) {
            self.garbled_logged_at = Some(Instant::now());
            let program = self.program_name();
            let garbled = self.garbled.get();
            warn!(program, garbled, "the program writes lines that are not UTF-8; {consequence}");
        }
    }
}

impl Stage for ExecStage {
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
        let running = self.program.take().or_else(|| self.start_if_due(batch.receipt()));
        let Some(mut running) = running else {
            batch.apply_verdicts(|_| MessageVerdict::Fail("the program is not running".into()));
            return Ok(());
        };
        running.enqueue(batch);
        let mut replies = Batch::new();
        replies.set_receipt(batch.receipt());
        // Replies beyond one batch come from `drain_ready`, which the engine calls next.
        self.with_program(running, &mut replies, RunningProgram::exchange);
        *batch = replies;
        Ok(())
    }

    fn drain_ready(&mut self, batch: &mut Batch) -> Result<DrainStatus, BoxError> {
        let Some(running) = self.program.take() else { return Ok(DrainStatus::Done) };
        Ok(self.with_program(running, batch, RunningProgram::collect))
    }

    fn held_since(&self) -> Option<UnixNanos> {
        self.program.as_ref()?.held_since()
    }

    fn close(&mut self, batch: &mut Batch) -> Result<DrainStatus, BoxError> {
        let Some(running) = self.program.take() else { return Ok(DrainStatus::Done) };
        let status = self.with_program(running, batch, RunningProgram::close_input_and_drain);
        if status == DrainStatus::Done {
            self.program = None;
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests;
