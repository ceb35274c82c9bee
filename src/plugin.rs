//! The contract between the engine and its plugins: sources, stages and sinks.
//!
//! A plugin is two types. The *config* is what the user writes in the file: a struct that
//! deserializes, has a JSON Schema and a [`TYPE`](StageConfig::TYPE) name. Its `build` turns it
//! into the *running* type, which keeps only what it needs. Registering the config in a
//! [`Registry`](crate::Registry) is all it takes: loading, `streamer check`, suggestions for typos and the schema follow.

mod disconnect;
mod event;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::disconnect::{Cause, Disconnect};
pub use self::event::{DropCause, FeedEvent};
use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::pacing::Pacer;
use crate::secrets::Secrets;
use crate::stats::Stats;

/// Any error, on its way to a log line or to the user.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a plugin is given when it is built.
#[derive(Debug)]
#[non_exhaustive]
pub struct BuildContext {
    /// What the source of this pipeline subscribes to.
    pub topics: Vec<String>,
    /// The counters of this process.
    pub stats: Arc<Stats>,
    /// The most messages a batch should hold (`buffer_size`), at least 1.
    pub max_batch: usize,
    /// Where sources ask for a rest after a small read.
    pub pacer: Arc<Pacer>,
    /// What tells this recording from others.
    pub run: Run,
    secrets: Secrets,
}

impl BuildContext {
    /// A context for a pipeline whose source subscribes to `topics`.
    pub fn new(topics: Vec<String>, stats: Arc<Stats>, max_batch: usize) -> Self {
        let (pacer, secrets) = (Arc::default(), Secrets::default());
        let run = Run::default();
        Self { topics, stats, max_batch: max_batch.max(1), pacer, run, secrets }
    }

    /// The same with the pacer of the thread on which sources will run.
    #[must_use]
    pub fn with_pacer(mut self, pacer: Arc<Pacer>) -> Self {
        self.pacer = pacer;
        self
    }

    /// The same for a recording that is known so.
    #[must_use]
    pub fn with_run(mut self, run: Run) -> Self {
        self.run = run;
        self
    }

    /// The same with texts that [`BuildContext::mask`] hides.
    #[must_use]
    pub(crate) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// The text with every secret that came from `${NAME}` replaced by `***`, for logs.
    pub fn mask(&self, text: &str) -> String {
        self.secrets.mask(text)
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}

/// One recording: what its journals say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// A text that no other recording has.
    pub id: String,
    /// The SHA-256 of the resolved configuration, in which secrets are as in the file: `${NAME}`.
    pub config: String,
    /// What is connected to, see [`Source::endpoint`].
    pub source: String,
}

/// The configuration of a source.
pub trait SourceConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// What the source subscribes to. The jsonl sink names its files after a single topic.
    fn topics(&self) -> &[String] {
        &[]
    }

    /// Makes the source. Touches neither network nor disk but to read what the keys name.
    ///
    /// # Errors
    /// What cannot heal by waiting: a malformed URL, a missing certificate file.
    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError>;
}

/// The configuration of a stage.
pub trait StageConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// Makes the stage.
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for its author.
    fn build(self, context: &BuildContext) -> Result<Box<dyn Stage>, BoxError>;
}

/// The configuration of a sink.
pub trait SinkConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// Makes the sink. Touches no disk: that is [`Sink::open`]'s part.
    ///
    /// # Errors
    /// What is wrong with the configuration, in words for its author.
    fn build(self, context: &BuildContext) -> Result<Box<dyn Sink>, BoxError>;

    /// The directory in which the sink writes hour files as [`crate::archive`] knows them, so that
    /// they are sealed and aged out. By default there is none.
    fn archive_dir(&self) -> Option<&Path> {
        None
    }
}

/// Where messages come from: one connection, made and made again by the engine.
///
/// A source has no loop of its own and never waits between attempts: the engine backs off,
/// reconnects and stops.
#[async_trait]
pub trait Source: Send {
    /// What is connected to, for the log. Holds no secret.
    fn endpoint(&self) -> String;

    /// Connects and subscribes. Called again after every [`SourceError::Disconnected`].
    ///
    /// # Errors
    /// See [`SourceError`].
    ///
    /// # Cancel safety
    /// May be dropped at any await; the next call starts afresh.
    async fn connect(&mut self) -> Result<(), SourceError>;

    /// Waits for one message at least, then takes what is ready without waiting. `batch` is
    /// empty when called and holds at least one message when this returns `Ok`.
    ///
    /// # Errors
    /// See [`SourceError`]. Messages that came before the fault are handed over first.
    ///
    /// # Cancel safety
    /// Must be cancel-safe: when the future is dropped, no message is lost.
    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError>;

    /// Called once, when the recorder stops: ask the peer to end the stream.
    fn close(&mut self) -> Closing {
        Closing::Done
    }
}

/// What is left to do after [`Source::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Nothing more will come.
    Done,
    /// What is on its way can still be read. The engine goes on calling [`Source::read`], for a
    /// bounded time, until it fails.
    Draining,
}

/// How a source stops delivering. It steers the engine.
#[derive(Debug)]
pub enum SourceError {
    /// The source has come to its end: stop this feed.
    Ended,
    /// The connection is gone or could not be made: back off and connect again.
    Disconnected(Disconnect),
    /// Nothing that waiting could heal: stop the program.
    Fatal(BoxError),
}

/// A step between source and sinks. Runs on the pipeline thread and may block it.
pub trait Stage: Send {
    /// Edits the batch in place.
    ///
    /// # Errors
    /// The batch must then be as it was: it goes on unchanged and the failure is counted.
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError>;

    /// Called once, after the last batch.
    ///
    /// # Errors
    /// What the stage could not finish.
    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Where messages go. Runs on the pipeline thread and does plain blocking I/O.
pub trait Sink: Send {
    /// Where messages go, for the log and `streamer check`. Holds no secret.
    fn destination(&self) -> String;

    /// Called once, before the source connects: take locks, create directories.
    ///
    /// # Errors
    /// Stops the program before it has begun.
    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Takes a batch: all of it, or on error nothing of it.
    ///
    /// # Errors
    /// The engine logs it, waits, and calls again with the same batch.
    fn write(&mut self, batch: &Batch) -> Result<(), BoxError>;

    /// Called about once a second with the wall-clock time, also when nothing arrives.
    ///
    /// # Errors
    /// Logged and counted; the next tick comes all the same.
    fn tick(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        let _ = now;
        Ok(())
    }

    /// Called when something happens to the source, in its place between the batches.
    ///
    /// # Errors
    /// Logged and counted.
    fn event(&mut self, at: UnixNanos, event: &FeedEvent) -> Result<(), BoxError> {
        let _ = (at, event);
        Ok(())
    }

    /// The queue is empty: hand everything to the operating system.
    ///
    /// # Errors
    /// Logged and counted.
    fn flush(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Called once, last: make everything durable and complete.
    ///
    /// # Errors
    /// Makes the program end with exit code 1.
    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}
