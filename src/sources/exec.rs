//! Lines that a program says.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
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
    BoxError, BuildContext, CloseStatus, Disconnect, DownCause, Source, SourceConfig, SourceError,
};

/// A program that has closed its stdout may take so long to end.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Every line that a program writes to its stdout is a message.
///
/// When it ends it is started again, later each time; with `restart: false`, and after a success, the
/// pipeline ends. What it says on stderr goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSourceConfig {
    /// The program and its arguments.
    command: CommandLine,
    /// Environment variables for it, beside those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Whether it is started again when it has ended well. It always is when it failed.
    #[serde(default = "ExecSourceConfig::default_restart")]
    restart: bool,
    /// What the messages are of. The jsonl sink names its files after a single topic.
    #[serde(default)]
    topics: Vec<String>,
    /// Where a message says what its topic is.
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
    process: Option<(ChildProcess, LineReader)>,
    stats: Arc<PipelineStats>,
}

impl ExecSource {
    fn spawn(&self) -> std::io::Result<(ChildProcess, LineReader)> {
        let mut child = self.config.command.start(&self.config.env)?;
        // It is asked nothing.
        drop(child.stdin.take());
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let pipe = stdout.as_fd().try_clone_to_owned()?;
        let stats = Arc::clone(&self.stats);
        Ok((child, LineReader::spawn(stdout, move || poll_readable(&pipe), stats)?))
    }
}

#[async_trait]
impl Source for ExecSource {
    fn endpoint(&self) -> String {
        format!("program {}", self.config.command.name())
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.process = None;
        let started = self.spawn();
        let failed = |error: std::io::Error| Disconnect::new(DownCause::Exited, error.to_string());
        self.process = Some(started.map_err(failed)?);
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let Some((child, reading)) = &mut self.process else {
            return Err(Disconnect::new(DownCause::Exited, "the program is not running").into());
        };
        match reading.read_lines(batch).await {
            Ok(()) => Ok(()),
            Err(ReadEnd::Failed(error)) => {
                self.process = None;
                Err(Disconnect::new(DownCause::Io, error.to_string()).into())
            }
            Err(ReadEnd::Eof) => {
                let begun = tokio::time::Instant::now();
                let unknown =
                    |error: std::io::Error| Disconnect::new(DownCause::Exited, error.to_string());
                let mut status = child.try_wait().map_err(unknown)?;
                while status.is_none() && begun.elapsed() < EXIT_TIMEOUT {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    status = child.try_wait().map_err(unknown)?;
                }
                self.process = None;
                if !self.config.restart && status.is_some_and(|status| status.success()) {
                    return Err(SourceError::Ended);
                }
                Err(Disconnect::new(DownCause::Exited, describe_exit(status)).into())
            }
        }
    }

    fn close(&mut self) -> CloseStatus {
        // What it said before it was ended is still in the pipe.
        match &mut self.process {
            Some((child, reading)) => {
                reading.stop();
                child.kill();
                CloseStatus::Draining
            }
            None => CloseStatus::Done,
        }
    }
}
