//! Stages: the steps between source and sinks.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::batch::Batch;
use super::{BoxError, BuildContext};
use crate::base::time::UnixNanos;

/// The configuration of a stage.
pub trait StageConfig: DeserializeOwned + Serialize + JsonSchema + Send + 'static {
    /// The value of `type` in the configuration file.
    const TYPE: &'static str;

    /// Returns keys that make an example, for `streamer plugins NAME`. By default none.
    fn example() -> Value {
        Value::Object(Map::new())
    }

    /// Builds the stage.
    ///
    /// # Errors
    /// A fault of the configuration, in words for its author.
    fn build(self, context: &BuildContext) -> Result<Box<dyn Stage>, BoxError>;
}

/// A step between source and sinks. Runs on the pipeline thread and may block it.
pub trait Stage: Send {
    /// Edits the batch in place.
    ///
    /// A single message that cannot be edited is not an error of the batch: see
    /// [`MessageVerdict::Fail`](super::batch::MessageVerdict::Fail) and [`Batch::expand`].
    ///
    /// # Errors
    /// The batch must then be unchanged: it continues as it is, and the failure is counted.
    fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError>;

    /// Moves messages that the stage held back and that are ready into the empty batch.
    ///
    /// Called after every batch and about once a second, and again as long as it returns
    /// [`DrainStatus::More`].
    ///
    /// # Errors
    /// Logged and counted.
    fn drain_ready(&mut self, batch: &mut Batch) -> Result<DrainStatus, BoxError> {
        let _ = batch;
        Ok(DrainStatus::Done)
    }

    /// Moves all messages that the stage held back into the empty batch. Called after the last
    /// batch, and again as long as it returns [`DrainStatus::More`].
    ///
    /// # Errors
    /// Work that the stage could not finish.
    fn close(&mut self, batch: &mut Batch) -> Result<DrainStatus, BoxError> {
        let _ = batch;
        Ok(DrainStatus::Done)
    }

    /// Returns whether [`Stage::drain_ready`] may return something when no batch came before, so
    /// that it is to be called about once a second. A stage that never holds messages back should
    /// return false: a quiet pipeline can sleep then.
    fn needs_ticks(&self) -> bool {
        true
    }

    /// Returns the receive time of the oldest message that the stage may hold back; `None`, the
    /// default, if it holds none. A recorder that is killed loses these messages.
    fn held_since(&self) -> Option<UnixNanos> {
        None
    }

    /// Returns whether the stage sets messages aside, see
    /// [`MessageVerdict::Reject`](super::batch::MessageVerdict::Reject).
    fn can_reject(&self) -> bool {
        false
    }

    /// Returns whether the stage reads [`Record::topic`](super::batch::Record::topic).
    fn wants_topics(&self) -> bool {
        false
    }
}

/// The state of a stage after it has moved messages that it held back into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainStatus {
    /// Nothing more is ready.
    Done,
    /// More is ready: the engine calls again with an empty batch.
    More,
}
