//! Sinks: where messages go.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::batch::Batch;
use super::{BoxError, BuildContext, RejectedMessage, SourceEvent, Tick};
use crate::base::time::UnixNanos;

/// The configuration of a sink.
pub trait SinkConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// Returns keys that make an example, for `streamer plugins NAME`. By default none.
    fn example() -> Value {
        Value::Object(Map::new())
    }

    /// Builds the sink. Does not touch the disk, which is the task of [`Sink::open`].
    ///
    /// # Errors
    /// A fault of the configuration, in words for its author.
    fn build(self, context: &BuildContext) -> Result<Box<dyn Sink>, BoxError>;

    /// Returns the directory in which the sink writes hour files of the archive format, so that
    /// they are sealed and aged out. By default none.
    fn archive_dir(&self) -> Option<&Path> {
        None
    }

    /// Returns whether the sink writes messages to stdout, so that the log must not.
    fn uses_stdout(&self) -> bool {
        false
    }
}

/// A destination of messages.
///
/// A sink does plain blocking I/O. It runs on the pipeline thread, or with `required: false` on a
/// thread of its own.
pub trait Sink: Send {
    /// Returns the name of the destination, for the log and `streamer check`. It holds no secret.
    fn destination(&self) -> String;

    /// Takes locks and creates directories. Called once, before the source connects.
    ///
    /// # Errors
    /// Stop the program before the recording begins.
    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Takes the whole batch, or on error nothing of it.
    ///
    /// # Errors
    /// The engine logs the error, waits, and calls again with the same batch, unless the error is
    /// [`DestinationGone`](super::DestinationGone).
    fn write(&mut self, batch: &Batch) -> Result<(), BoxError>;

    /// Returns the number of messages that the sink has taken and not yet handed to the operating
    /// system.
    fn buffered(&self) -> u64 {
        0
    }

    /// Returns the number of messages that the sink has taken since it was built and given up, since
    /// their file or destination does not take them. The sink reports them itself.
    fn discarded(&self) -> u64 {
        0
    }

    /// Takes messages that a stage set aside, in order.
    ///
    /// # Errors
    /// See [`Sink::write`].
    fn write_rejected(&mut self, rejected: &[RejectedMessage]) -> Result<(), BoxError> {
        let _ = rejected;
        Ok(())
    }

    /// Returns whether [`Sink::write_rejected`] stores the messages.
    fn wants_rejected(&self) -> bool {
        false
    }

    /// Takes note of the time, and of how far reading had got: everything until then is in the
    /// batches so far. Called about once a second, also when no message arrives.
    ///
    /// # Errors
    /// Logged and counted; the next tick follows all the same.
    fn tick(&mut self, tick: Tick) -> Result<(), BoxError> {
        let _ = tick;
        Ok(())
    }

    /// Returns the time before which the sink needs no [`Sink::tick`], unless it gets a batch or an
    /// event. It then gets the time before that. By default it needs every tick. Sinks that need
    /// none for a while let a quiet pipeline sleep.
    fn idle_until(&self) -> Option<UnixNanos> {
        None
    }

    /// Takes note of an event of the source, in order with the batches.
    ///
    /// # Errors
    /// Logged and counted.
    fn on_event(&mut self, at: UnixNanos, event: &SourceEvent) -> Result<(), BoxError> {
        let _ = (at, event);
        Ok(())
    }

    /// Returns whether [`Sink::flush`] costs so much that it pays to wait a moment for more
    /// messages, at most 200 ms. By default it is called as soon as no message waits, and messages
    /// in the memory of the sink count as waiting until then.
    fn wants_delayed_flush(&self) -> bool {
        false
    }

    /// Hands everything to the operating system. Called when the queue is empty.
    ///
    /// # Errors
    /// See [`Sink::write`]: the engine calls again.
    fn flush(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Makes everything durable and complete. Called once, last.
    ///
    /// # Errors
    /// Make the program end with exit code 1.
    fn close(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Returns whether the sink reads [`Batch::topics`].
    fn wants_topics(&self) -> bool {
        false
    }
}
