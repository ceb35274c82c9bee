//! The contract between the engine and its plugins: sources, stages and sinks.
//!
//! A plugin is two types. The *config* is what the user writes in the file: a struct that
//! deserializes, has a JSON Schema and a [`TYPE`](StageConfig::TYPE) name. Its `build` turns it
//! into the *running* type, which keeps only what it needs. Registering the config in a
//! [`Registry`](crate::Registry) is all it takes: loading, `streamer check`, suggestions for typos and the schema follow.

pub mod batch;
mod build_context;
mod connection_policy;
mod disconnect;
mod rejected_message;
mod source_event;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use self::batch::Batch;
pub use self::build_context::{BuildContext, RunInfo};
pub use self::connection_policy::ConnectionPolicy;
pub use self::disconnect::{Disconnect, DownCause};
pub use self::rejected_message::{DestinationGone, RejectedMessage};
pub use self::source_event::{DropCause, SourceEvent, SourceScope};
use crate::base::json::Selector;
use crate::base::time::UnixNanos;

/// Any error, on its way to a log line or to the user.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The configuration of a source.
pub trait SourceConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// Keys that make an example, for `streamer plugins NAME`. By default none.
    fn example() -> Value {
        Value::Object(Map::new())
    }

    /// What the source subscribes to. The jsonl sink names its files after a single topic.
    fn topics(&self) -> &[String] {
        &[]
    }

    /// Where a message says what its topic is, for those that ask. By default nowhere.
    fn topic_selector(&self) -> Option<Selector> {
        None
    }

    /// Whether the source reads stdin, so that no other can.
    fn uses_stdin(&self) -> bool {
        false
    }

    /// Makes the source. Touches neither network nor disk but to read what the keys name.
    ///
    /// # Errors
    /// What cannot heal by waiting: a malformed URL, a missing certificate file.
    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError>;

    /// Makes several sources that share the topics, each with a connection of its own. By default
    /// there is one.
    ///
    /// # Errors
    /// As [`SourceConfig::build`].
    fn build_all(self, context: &BuildContext) -> Result<Vec<Box<dyn Source>>, BoxError> {
        Ok(vec![self.build(context)?])
    }
}

/// The configuration of a stage.
pub trait StageConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// Keys that make an example, for `streamer plugins NAME`. By default none.
    fn example() -> Value {
        Value::Object(Map::new())
    }

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

    /// Keys that make an example, for `streamer plugins NAME`. By default none.
    fn example() -> Value {
        Value::Object(Map::new())
    }

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

    /// Whether the sink writes messages to stdout, so that the log must not.
    fn uses_stdout(&self) -> bool {
        false
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
    /// empty when called. It may stay so when there is something else to tell: events, or that the
    /// connection is settled or ending.
    ///
    /// # Errors
    /// See [`SourceError`]. Messages that came before the fault are handed over first.
    ///
    /// # Cancel safety
    /// Must be cancel-safe: when the future is dropped, no message is lost.
    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError>;

    /// What it subscribes to, where several share the topics of the configuration.
    fn topics(&self) -> &[String] {
        &[]
    }

    /// Whether all topics are asked for and answered: from then on all come that were not
    /// [down](FeedEvent::TopicDown), and a gap ends. Asked after the connect and after every read until
    /// it is so; by default it is so at once.
    fn is_subscribed(&self) -> bool {
        true
    }

    /// The topics of which it has become known since this was last asked that they come: for each of them
    /// the gap ends before that of all does. Asked after every read.
    fn take_subscribed(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What happened since this was last asked, beside messages and disconnects. Asked after every
    /// read.
    fn take_events(&mut self) -> Vec<SourceEvent> {
        Vec::new()
    }

    /// How it is kept connected. Asked once, before the first connect.
    fn connection_policy(&self) -> ConnectionPolicy {
        ConnectionPolicy::default()
    }

    /// Another source of the same messages, with a connection of its own; `None`, the default, where
    /// there can be only one.
    fn duplicate(&self) -> Option<Box<dyn Source>> {
        None
    }

    /// Whether the server is known to send what was subscribed to, so that an older connection is no
    /// longer needed. Asked after every read; by default it is so from the first.
    fn is_delivering(&self) -> bool {
        true
    }

    /// For how long nothing has come at all, also nothing that is no message, such as a pong; `None`
    /// where nobody knows. Asked before [`Source::close`]: what does not answer that may have been dead
    /// for as long.
    fn silent_for(&self) -> Option<Duration> {
        None
    }

    /// Whether the server has announced that it will end this connection. Asked after every read.
    fn has_announced_close(&self) -> bool {
        false
    }

    /// Called once, when the recorder stops or the connection is replaced: ask the peer to end the
    /// stream.
    fn close(&mut self) -> CloseStatus {
        CloseStatus::Done
    }
}

/// What is left to do after [`Source::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseStatus {
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
    /// A single message that cannot be edited is no error of the batch: see
    /// [`Verdict::Fail`](self::batch::Verdict::Fail) and [`Batch::expand`].
    ///
    /// # Errors
    /// The batch must then be as it was: it goes on unchanged and the failure is counted.
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError>;

    /// For stages that keep messages back: puts those that are ready by now into the empty batch.
    /// Called after every batch and about once a second, and again as long as it says that there is
    /// more.
    ///
    /// # Errors
    /// Logged and counted.
    fn drain_ready(&mut self, batch: &mut Batch) -> Result<bool, BoxError> {
        let _ = batch;
        Ok(false)
    }

    /// Called after the last batch: puts what it kept back into the empty batch, and says whether
    /// there is more, for which it is called again.
    ///
    /// # Errors
    /// What the stage could not finish.
    fn close(&mut self, batch: &mut Batch) -> Result<bool, BoxError> {
        let _ = batch;
        Ok(false)
    }

    /// Whether the stage sets messages aside, see [`Verdict::Reject`](self::batch::Verdict::Reject).
    fn can_reject(&self) -> bool {
        false
    }

    /// Whether the stage looks at [`Record::topic`](crate::Record).
    fn wants_topics(&self) -> bool {
        false
    }
}

/// Where messages go. Runs on the pipeline thread and does plain blocking I/O; with
/// `required: false` on a thread of its own.
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
    /// The engine logs it, waits, and calls again with the same batch; unless it is [`Gone`].
    fn write(&mut self, batch: &Batch) -> Result<(), BoxError>;

    /// How many of the messages that were taken are not yet handed to the operating system.
    fn buffered(&self) -> u64 {
        0
    }

    /// Takes messages that a stage set aside, in order.
    ///
    /// # Errors
    /// As [`Sink::write`].
    fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), BoxError> {
        let _ = rejected;
        Ok(())
    }

    /// Whether [`Sink::reject`] keeps what it is given.
    fn wants_rejected(&self) -> bool {
        false
    }

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
    fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) -> Result<(), BoxError> {
        let _ = (at, event);
        Ok(())
    }

    /// The queue is empty: hand everything to the operating system.
    ///
    /// # Errors
    /// As [`Sink::write`]: the engine calls again.
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

    /// Whether the sink looks at [`Batch::topics`].
    fn wants_topics(&self) -> bool {
        false
    }
}
