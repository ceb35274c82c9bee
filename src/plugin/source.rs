//! Sources: where messages come from.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::batch::Batch;
use super::{BoxError, BuildContext, ConnectionEvent, ConnectionPolicy, SourceError, Subscription};
use crate::base::json::Selector;

/// The configuration of a source.
pub trait SourceConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// Returns keys that make an example, for `streamer plugins NAME`. By default none.
    fn example() -> Value {
        Value::Object(Map::new())
    }

    /// Returns the topics to which the source subscribes. The jsonl sink names its files after a
    /// single topic.
    fn topics(&self) -> &[String] {
        &[]
    }

    /// Returns the rule that finds the topic in a message, for plugins that ask for topics. By
    /// default none.
    fn topic_selector(&self) -> Option<Selector> {
        None
    }

    /// Returns whether the source reads stdin, which only one source can.
    fn uses_stdin(&self) -> bool {
        false
    }

    /// Builds the source. Reads the files that the keys name, and otherwise touches neither network
    /// nor disk.
    ///
    /// # Errors
    /// A fault that does not heal by waiting: a malformed URL, a missing certificate file.
    fn build(self, context: &BuildContext) -> Result<Box<dyn Source>, BoxError>;

    /// Builds several sources that share the topics, each with a connection of its own. By default
    /// there is one.
    ///
    /// # Errors
    /// See [`SourceConfig::build`].
    fn build_all(self, context: &BuildContext) -> Result<Vec<Box<dyn Source>>, BoxError> {
        Ok(vec![self.build(context)?])
    }
}

/// A source of messages: one connection, which the engine makes again when it is lost.
///
/// A source has no loop of its own and never waits between attempts: the engine backs off,
/// reconnects and stops.
#[async_trait]
pub trait Source: Send {
    /// Returns the name of the peer for the log. It holds no secret.
    fn endpoint(&self) -> String;

    /// Returns the topics of this source, where several share the topics of the configuration.
    fn topics(&self) -> &[String] {
        &[]
    }

    /// Changes the topics of this source, on its connection as well, if there is one: subscribes to
    /// those that are new, and ends the subscriptions to those that are gone. The next reads tell
    /// which topics arrive. Called between two reads.
    ///
    /// By default nothing changes, and another source with these topics is connected instead.
    fn set_topics(&mut self, topics: &[String]) -> TopicsOutcome {
        let _ = topics;
        TopicsOutcome::NeedsConnection
    }

    /// Connects and subscribes. Called again after every [`SourceError::Disconnected`].
    ///
    /// # Errors
    /// See [`SourceError`].
    ///
    /// # Cancel safety
    /// May be dropped at any await; the next call starts afresh.
    async fn connect(&mut self) -> Result<Subscription, SourceError>;

    /// Waits for at least one message, then appends all that are ready without waiting.
    ///
    /// `batch` is empty when called. It may stay empty when the read has other news: an event, or a
    /// sign of life of the peer. What the source has learned besides goes to the end of `events`.
    ///
    /// # Errors
    /// See [`SourceError`]. Messages that arrived before the fault are returned first; events that
    /// come with it are handled before it.
    ///
    /// # Cancel safety
    /// Must be cancel-safe: when the future is dropped, no message and no event is lost. Events may
    /// be in `events` by then.
    async fn read(
        &mut self,
        batch: &mut Batch,
        events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), SourceError>;

    /// Returns the time since the last sign of life of the peer, including those that are not
    /// messages, such as a pong; `None`, the default, if it is unknown. A peer that is silent may be
    /// dead.
    fn silent_for(&self) -> Option<Duration> {
        None
    }

    /// Asks the peer to end the stream. Called once, when the recorder stops or the connection is
    /// replaced.
    fn close(&mut self) -> CloseStatus {
        CloseStatus::Done
    }

    /// Returns the number of connections to keep, and their age limit. Called once, before the
    /// first connect.
    fn connection_policy(&self) -> ConnectionPolicy {
        ConnectionPolicy::default()
    }

    /// Returns another source of the same messages with a connection of its own, or `None`, the
    /// default, if there can be only one.
    fn duplicate(&self) -> Option<Box<dyn Source>> {
        None
    }
}

/// The result of [`Source::set_topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicsOutcome {
    /// The source has these topics from now on.
    Changed,
    /// Nothing has changed: it takes another connection.
    NeedsConnection,
}

/// The state of a connection after [`Source::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseStatus {
    /// No more messages arrive.
    Done,
    /// Messages that are in flight can still be read. The engine continues to call
    /// [`Source::read`] until it fails, for a bounded time.
    Draining,
}
