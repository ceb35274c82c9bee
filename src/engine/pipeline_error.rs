//! The errors of a pipeline.

use std::time::Duration;

use super::pump::PumpError;
use crate::plugin::BoxError;

/// The reason why a pipeline failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error("cannot open {sink}")]
    OpenSink { sink: String, source: BoxError },
    #[error("cannot start the pipeline thread")]
    SpawnThread { source: std::io::Error },
    #[error("the source gave up")]
    Source { source: BoxError },
    #[error(transparent)]
    Pump(#[from] PumpError),
    #[error("the pipeline thread died; what was in the queue is lost, see the log")]
    ThreadPanicked,
    #[error(
        "not done {limit:?} after the stop (`shutdown_timeout`): {}", describe_loss(*messages)
    )]
    ShutdownTimeout { limit: Duration, messages: u64 },
}

fn describe_loss(messages: u64) -> String {
    if messages > 0 {
        format!(
            "{messages} messages in the queue, and what stages and sinks had kept back, are lost"
        )
    } else {
        "every message has left the queue; what a stage or a sink that is not done had kept back is lost".to_owned()
    }
}
