//! The engine: one pipeline from its source to its sinks.
//!
//! A task on the network thread keeps the source connected ([`feed`]), one plain thread runs
//! stages and sinks ([`pump`]), and exactly one bounded queue lies between them ([`queue`]).
//!
//! Stopping is a chain: the token is cancelled, the source is closed and drained, the queue
//! is closed, the thread empties the queue and closes the sinks.

mod backoff;
mod feed;
mod pump;
mod queue;
mod ticker;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::feed::Feed;
pub(crate) use self::pump::Named;
use self::pump::Pump;
use self::queue::{Limits, queue};
use self::ticker::Ticker;
use crate::clock::Clock;
use crate::plugin::{BoxError, Sink, Source, Stage};
use crate::stats::Stats;

/// What happens to messages that arrive while the queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overflow {
    /// Stop reading until there is room. TCP holds the server back; nothing is dropped here.
    #[default]
    Block,
    /// Drop the messages that do not fit, count them, and warn at most once a second.
    DropNewest,
}

/// A pipeline that is built and not yet running.
pub(crate) struct Pipeline {
    pub(crate) source: Box<dyn Source>,
    pub(crate) stages: Vec<Named<dyn Stage>>,
    pub(crate) sinks: Vec<Named<dyn Sink>>,
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
    pub(crate) overflow: Overflow,
    pub(crate) shutdown_timeout: Duration,
}

/// Why a pipeline did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PipelineError {
    #[error("cannot open {sink}")]
    Open { sink: String, source: BoxError },
    #[error("cannot start the pipeline thread")]
    Thread { source: std::io::Error },
    #[error("the source gave up")]
    Source { source: BoxError },
    #[error("the end of the recording could not be made safe")]
    Close { source: BoxError },
    #[error("the pipeline thread died; what was in the queue is lost, see the log")]
    Died,
    #[error(
        "not done {limit:?} after the stop (`shutdown_timeout`); {messages} messages in the queue are lost"
    )]
    Deadline { limit: Duration, messages: u64 },
}

impl Pipeline {
    /// Opens the sinks, in order.
    pub(crate) fn open(&mut self) -> Result<(), PipelineError> {
        for sink in &mut self.sinks {
            sink.plugin
                .open()
                .map_err(|source| PipelineError::Open { sink: sink.name.clone(), source })?;
        }
        Ok(())
    }

    /// Where messages go, for the log.
    pub(crate) fn destinations(&self) -> String {
        let sinks = self.sinks.iter().map(|sink| sink.plugin.destination());
        sinks.collect::<Vec<_>>().join(", ")
    }

    /// Records until `stop`, then drains and closes, at most for `shutdown_timeout`.
    pub(crate) async fn run(
        self,
        stats: Arc<Stats>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<(), PipelineError> {
        let limits = Limits { messages: self.max_messages, bytes: self.max_bytes };
        let (producer, consumer) = queue(limits);
        let (stages, sinks) = (self.stages, self.sinks);
        let pump = Pump { stages, sinks, consumer, stats: Arc::clone(&stats), told: None };
        let (done, mut pump_done) = oneshot::channel();
        std::thread::Builder::new()
            .name("pipeline".into())
            .spawn(move || {
                // The receiver is gone only when the deadline has passed and nobody asks.
                drop(done.send(pump.run()));
            })
            .map_err(|source| PipelineError::Thread { source })?;

        let feed = Feed {
            source: self.source,
            producer: producer.clone(),
            overflow: self.overflow,
            stats: Arc::clone(&stats),
            clock: Arc::clone(&clock),
            stop: stop.clone(),
            data_seen: false,
            connections: 0,
        };
        // A task of its own, so that the feed alone is looked at when data comes. Ends with the set.
        let mut beside = JoinSet::new();
        let feed_ended = CancellationToken::new();
        beside.spawn(Ticker::new(producer.clone(), stats, clock).run(feed_ended.clone()));
        let limit = self.shutdown_timeout;
        let whole = async {
            let fed = tokio::select! {
                fed = feed.run() => fed,
                // Before its queue is closed the thread ends by a panic only.
                ended = &mut pump_done => return (Ok(()), ended),
            };
            feed_ended.cancel();
            // Its last words go into the queue.
            drop(beside.join_next().await);
            producer.close();
            (fed, pump_done.await)
        };
        let deadline = async {
            stop.cancelled().await;
            sleep(limit).await;
        };
        let (fed, drained) = tokio::select! {
            ended = whole => ended,
            () = deadline => {
                let messages = producer.used().messages;
                return Err(PipelineError::Deadline { limit, messages });
            }
        };
        match drained {
            Err(_) => Err(PipelineError::Died),
            Ok(Err(source)) => Err(PipelineError::Close { source }),
            Ok(Ok(())) => fed.map_err(|source| PipelineError::Source { source }),
        }
    }
}

#[cfg(test)]
mod tests;
