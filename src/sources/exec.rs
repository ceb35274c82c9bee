//! The source of lines that a program writes to its stdout.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::line_reader::{LineReader, ReadEnd, poll_readable};
use crate::base::child_process::{ChildProcess, describe_exit};
use crate::base::command_line::CommandLine;
use crate::base::json::Selector;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{
    BoxError, BuildContext, CloseStatus, ConnectionEvent, Disconnect, DownCause, Source,
    SourceConfig, SourceError, Subscription,
};

/// Maximum time for which a program that closed its stdout may take to exit.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);
/// Time between two checks of whether the program has exited.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Records every line that a program writes to its stdout as a message.
///
/// A program that exits is started again, after a delay that grows with every failure. With `restart:
/// false` the pipeline ends once the program exits successfully. Its stderr goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSourceConfig {
    /// The program and its arguments.
    command: CommandLine,
    /// Environment variables of the program, in addition to those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Set to start the program again after it exited successfully. After a failure it always is.
    #[serde(default = "ExecSourceConfig::default_restart")]
    restart: bool,
    /// Topics of the messages. The jsonl sink names its files after a single topic.
    #[serde(default)]
    topics: Vec<String>,
    /// Selector of the topic in a message.
    #[serde(default)]
    topic_pointer: Option<Selector>,
}

impl ExecSourceConfig {
    fn default_restart() -> bool {
        true
    }
}

impl SourceConfig for ExecSourceConfig {
    const TYPE: &'static str = "exec";

    fn example() -> Value {
        json!({ "command": ["tail", "-F", "/var/log/feed.jsonl"], "topics": ["feed"] })
    }

    fn topics(&self) -> &[String] {
        &self.topics
    }

    fn topic_selector(&self) -> Option<Selector> {
        self.topic_pointer.clone()
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        self.command.check()?;
        let stats = Arc::clone(&context.stats);
        Ok(Box::new(ExecSource { config: self, process: None, stats }))
    }
}

struct ExecSource {
    config: ExecSourceConfig,
    process: Option<RunningProcess>,
    stats: Arc<PipelineStats>,
}

/// A program that was started, and the reader of its stdout.
struct RunningProcess {
    child: ChildProcess,
    stdout: LineReader,
}

impl RunningProcess {
    fn spawn(config: &ExecSourceConfig, stats: Arc<PipelineStats>) -> std::io::Result<Self> {
        let mut child = config.command.start(&config.env)?;
        // A program that reads its stdin finds it empty.
        drop(child.stdin.take());
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let pipe = stdout.as_fd().try_clone_to_owned()?;
        let stdout = LineReader::spawn(stdout, move || poll_readable(&pipe), stats)?;
        Ok(Self { child, stdout })
    }

    /// Waits for the program to exit. Returns `None` if it does not within [`EXIT_TIMEOUT`].
    async fn wait_for_exit(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let started_at = tokio::time::Instant::now();
        let mut status = self.child.try_wait()?;
        while status.is_none() && started_at.elapsed() < EXIT_TIMEOUT {
            tokio::time::sleep(EXIT_POLL_INTERVAL).await;
            status = self.child.try_wait()?;
        }
        Ok(status)
    }
}

#[async_trait]
impl Source for ExecSource {
    fn endpoint(&self) -> String {
        format!("program {}", self.config.command.name())
    }

    async fn connect(&mut self) -> Result<Subscription, SourceError> {
        self.process = None;
        let process = RunningProcess::spawn(&self.config, Arc::clone(&self.stats));
        let process =
            process.map_err(|error| Disconnect::new(DownCause::Exited, error.to_string()))?;
        self.process = Some(process);
        Ok(Subscription::Complete)
    }

    async fn read(
        &mut self,
        batch: &mut Batch,
        _events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError> {
        let Some(process) = &mut self.process else {
            return Err(Disconnect::new(DownCause::Exited, "the program is not running").into());
        };
        let Err(end) = process.stdout.read_lines(batch).await else { return Ok(()) };
        match end {
            ReadEnd::Failed(error) => {
                self.process = None;
                Err(Disconnect::new(DownCause::Io, error.to_string()).into())
            }
            ReadEnd::Eof => {
                let status = process.wait_for_exit().await;
                self.process = None;
                let status = status
                    .map_err(|error| Disconnect::new(DownCause::Exited, error.to_string()))?;
                if !self.config.restart && status.is_some_and(|status| status.success()) {
                    return Err(SourceError::Ended);
                }
                Err(Disconnect::new(DownCause::Exited, describe_exit(status)).into())
            }
        }
    }

    fn close(&mut self) -> CloseStatus {
        match &mut self.process {
            Some(process) => {
                process.stdout.stop();
                process.child.kill();
                // Lines that the program wrote before it was killed are still in the pipe.
                CloseStatus::Draining
            }
            None => CloseStatus::Done,
        }
    }
}
