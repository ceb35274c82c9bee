//! Lines that a program says.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reading::{End, Reading, is_readable};
use crate::batch::Batch;
use crate::child::{Child, CommandLine, ending};
use crate::json::Selector;
use crate::plugin::{
    BoxError, BuildContext, Cause, Closing, Disconnect, Source, SourceConfig, SourceError,
};
use crate::stats::Stats;

/// A program that has closed its stdout may take so long to end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Every line that a program writes to its stdout is a message.
///
/// When it ends it is started again, later each time; with `restart: false`, and after a success, the
/// pipeline ends. What it says on stderr goes to the log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecConfig {
    /// The program and its arguments.
    command: CommandLine,
    /// Environment variables for it, beside those of the recorder.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Whether it is started again when it has ended well. It always is when it failed.
    #[serde(default = "ExecConfig::default_restart")]
    restart: bool,
    /// What the messages are of. The jsonl sink names its files after a single topic.
    #[serde(default)]
    topics: Vec<String>,
    /// Where a message says what its topic is.
    #[serde(default)]
    topic_pointer: Option<Selector>,
}

impl ExecConfig {
    fn default_restart() -> bool {
        true
    }
}

impl SourceConfig for ExecConfig {
    const TYPE: &'static str = "exec";

    fn example() -> Value {
        json!({ "command": ["tail", "-F", "/var/log/feed.jsonl"], "topics": ["feed"] })
    }

    fn topics(&self) -> &[String] {
        &self.topics
    }

    fn topic(&self) -> Option<Selector> {
        self.topic_pointer.clone()
    }

    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError> {
        self.command.check()?;
        let stats = Arc::clone(&context.stats);
        Ok(Box::new(Exec { config: self, running: None, stats }))
    }
}

struct Exec {
    config: ExecConfig,
    running: Option<(Child, Reading)>,
    stats: Arc<Stats>,
}

impl Exec {
    fn start(&self) -> std::io::Result<(Child, Reading)> {
        let mut child = self.config.command.start(&self.config.env)?;
        // It is asked nothing.
        drop(child.stdin.take());
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let pipe = stdout.as_fd().try_clone_to_owned()?;
        let stats = Arc::clone(&self.stats);
        Ok((child, Reading::start(stdout, move || is_readable(&pipe), stats)?))
    }
}

#[async_trait]
impl Source for Exec {
    fn endpoint(&self) -> String {
        format!("program {}", self.config.command.name())
    }

    async fn connect(&mut self) -> Result<(), SourceError> {
        self.running = None;
        let started = self.start();
        let failed = |error: std::io::Error| Disconnect::new(Cause::Exited, error.to_string());
        self.running = Some(started.map_err(failed)?);
        Ok(())
    }

    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let Some((child, reading)) = &mut self.running else {
            return Err(Disconnect::new(Cause::Exited, "the program is not running").into());
        };
        match reading.read(batch).await {
            Ok(()) => Ok(()),
            Err(End::Failed(error)) => {
                self.running = None;
                Err(Disconnect::new(Cause::Io, error.to_string()).into())
            }
            Err(End::Eof) => {
                let begun = tokio::time::Instant::now();
                let mut status = child.ended();
                while status.is_none() && begun.elapsed() < LAST_WORDS {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    status = child.ended();
                }
                self.running = None;
                if !self.config.restart && status.is_some_and(|status| status.success()) {
                    return Err(SourceError::Ended);
                }
                Err(Disconnect::new(Cause::Exited, ending(status)).into())
            }
        }
    }

    fn close(&mut self) -> Closing {
        // What it said before it was ended is still in the pipe.
        match &mut self.running {
            Some((child, reading)) => {
                reading.stop();
                child.kill();
                Closing::Draining
            }
            None => Closing::Done,
        }
    }
}
