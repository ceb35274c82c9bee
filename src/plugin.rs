//! The contract between the engine and its plugins: sources, stages and sinks.
//!
//! A plugin is two types. The *config* is what the user writes in the file: a struct that
//! deserializes, has a JSON Schema and a [`TYPE`](StageConfig::TYPE) name. Its `build` turns it
//! into the *running* type, which keeps only what it needs. Registering the config in a
//! [`Registry`](crate::Registry) is all it takes: loading, `streamer check`, suggestions for typos and the schema follow.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

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
    secrets: Secrets,
}

impl BuildContext {
    /// A context for a pipeline whose source subscribes to `topics`.
    pub fn new(topics: Vec<String>, stats: Arc<Stats>, max_batch: usize) -> Self {
        let (pacer, secrets) = (Arc::default(), Secrets::default());
        Self { topics, stats, max_batch: max_batch.max(1), pacer, secrets }
    }

    /// The same with the pacer of the thread on which sources will run.
    #[must_use]
    pub fn with_pacer(mut self, pacer: Arc<Pacer>) -> Self {
        self.pacer = pacer;
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

/// Why a connection is gone, for the log, the status and the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// The kind of cause, by which disconnects are counted.
    pub cause: Cause,
    /// The particulars in words. May quote the server.
    pub detail: String,
    /// The pause that the server asked for.
    pub retry_after: Option<Duration>,
}

impl Disconnect {
    /// A disconnect of this kind.
    ///
    /// Control characters, which a terminal might obey, are escaped in `detail`.
    pub fn new(cause: Cause, detail: impl AsRef<str>) -> Self {
        let mut plain = String::new();
        for char in detail.as_ref().chars() {
            if char.is_control() {
                plain.extend(char.escape_default());
            } else {
                plain.push(char);
            }
        }
        Self { cause, detail: plain, retry_after: None }
    }
}

impl From<Disconnect> for SourceError {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnected(disconnect)
    }
}

/// The kinds of causes by which disconnects are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The host name could not be resolved.
    Dns,
    /// The TCP connection was refused or the host is unreachable.
    Connect,
    /// Connecting took longer than `connect_timeout`.
    ConnectTimeout,
    /// TLS: an untrusted certificate, a wrong name, a protocol error.
    Tls,
    /// The server answered the handshake with an HTTP status other than 101.
    Http,
    /// The server's answer to the handshake breaks RFC 6455 or HTTP.
    Handshake,
    /// The server refused the subscription.
    Refused,
    /// The server sent a close frame.
    Closed,
    /// The connection ended without a close frame.
    Eof,
    /// The connection was reset or failed in another way.
    Io,
    /// No frame for `idle_timeout`.
    Idle,
    /// A frame that breaks RFC 6455.
    Protocol,
    /// A text message that is not UTF-8.
    Utf8,
    /// A message longer than `max_message_size`.
    TooLarge,
    /// Anything else a plugin may meet.
    Other,
}

impl Cause {
    /// The cause as it is spelled in log and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Handshake => "handshake",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Eof => "eof",
            Self::Io => "io",
            Self::Idle => "idle",
            Self::Protocol => "protocol",
            Self::Utf8 => "utf8",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }
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
