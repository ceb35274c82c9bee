//! The engine: one pipeline from its source to its sinks.
//!
//! A task on the network thread keeps the source connected ([`feed`]), one plain thread runs
//! stages and sinks ([`pump`]), and exactly one bounded queue lies between them ([`queue`]).
//!
//! Stopping is a chain: the token is cancelled, the source is closed and drained, the queue
//! is closed, the thread empties the queue and closes the sinks.

mod aside;
mod feed;
mod group;
mod labels;
mod link;
mod named;
mod persist;
mod pulse;
mod pump;
mod queue;
mod sinks;
mod standing;
mod ticker;
mod twins;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use self::aside::aside;
use self::feed::Feed;
use self::group::Group;
use self::labels::Labels;
pub(crate) use self::named::Named;
use self::persist::Patience;
use self::pulse::Pulse;
use self::pump::{Pump, PumpError};
use self::queue::{Limits, queue};
use self::sinks::Sinks;
use self::ticker::Ticker;
use crate::batch::Batch;
use crate::clock::Clock;
use crate::json::Selector;
use crate::plugin::{BoxError, FeedEvent, Scope, Sink, Source, Stage};
use crate::stats::Stats;

/// A pipeline knows so many topics; messages of further ones are like such that have none. A pointer
/// at something that is new in every message must not fill the memory.
pub(crate) const MAX_TOPICS: usize = 10_000;

/// What stages recurse over may be deep. Memory is taken as far as it is used.
const STACK: usize = 64 << 20;

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
    /// `main`, unless the configuration gives it another.
    pub(crate) name: String,
    /// They share the topics; each has a connection of its own.
    pub(crate) sources: Vec<Box<dyn Source>>,
    /// Where messages say what their topic is.
    pub(crate) topic: Option<Selector>,
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
    #[error(transparent)]
    Pump(#[from] PumpError),
    #[error("the pipeline thread died; what was in the queue is lost, see the log")]
    Died,
    #[error(
        "not done {limit:?} after the stop (`shutdown_timeout`); {messages} messages in the queue, and what stages and sinks had kept back, are lost"
    )]
    Deadline { limit: Duration, messages: u64 },
}

impl Pipeline {
    /// Opens the sinks that are required, in order; the others do it when they can.
    pub(crate) fn open(&mut self) -> Result<(), PipelineError> {
        for sink in self.sinks.iter_mut().filter(|sink| sink.common.required) {
            sink.plugin
                .open()
                .map_err(|source| PipelineError::Open { sink: sink.name.clone(), source })?;
        }
        Ok(())
    }

    /// What is connected to, for the log.
    pub(crate) fn endpoint(&self) -> String {
        let first = self.sources.first().map(|source| source.endpoint()).unwrap_or_default();
        match self.sources.len() {
            0 | 1 => first,
            more => format!("{first} ({more} connections)"),
        }
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
        let wanted = self.sinks.iter().any(|sink| sink.plugin.wants_topics())
            || self.stages.iter().any(|stage| stage.plugin.wants_topics());
        let (required, others): (Vec<_>, Vec<_>) =
            self.sinks.into_iter().partition(|sink| sink.common.required);
        let asides = others.into_iter().map(|sink| aside(sink, limits, &stats));
        let asides = asides.collect::<Result<_, _>>();
        let asides = asides.map_err(|source| PipelineError::Thread { source })?;
        let labels = Labels::new(self.topic.filter(|_| wanted), Arc::clone(&stats));
        let patience = Patience::new(stop.clone(), self.shutdown_timeout);
        let mut sinks = Sinks::new(required, patience, Arc::clone(&stats));
        sinks.asides = asides;
        let pump = Pump {
            stages: self.stages,
            sinks,
            consumer,
            stats: Arc::clone(&stats),
            labels: labels.clone(),
            unwritten: (0, 0),
            kept: Batch::new(),
            gone: None,
            kept_since: None,
        };
        let span = Span::current();
        let (done, mut pump_done) = oneshot::channel();
        std::thread::Builder::new()
            .name("pipeline".into())
            .stack_size(STACK)
            .spawn(move || {
                let _within = span.enter();
                // The receiver is gone only when the deadline has passed and nobody asks.
                drop(done.send(pump.run()));
            })
            .map_err(|source| PipelineError::Thread { source })?;

        let sources = self.sources.len();
        let connections = Arc::default();
        let pulse = Arc::<Pulse>::default();
        let mut feeds = Vec::new();
        for (number, source) in self.sources.into_iter().enumerate() {
            let group = Group {
                scope: Scope { feed: number, feeds: sources, topics: source.topics().into() },
                producer: producer.clone(),
                overflow: self.overflow,
                labels: labels.clone(),
                stats: Arc::clone(&stats),
                clock: Arc::clone(&clock),
                stop: stop.clone(),
                connections: Arc::clone(&connections),
                pulse: Arc::clone(&pulse),
                state: Mutex::default(),
                order: tokio::sync::Mutex::default(),
            };
            feeds.append(&mut feed::of_group(group, source));
        }
        // A task of its own, so that the feed alone is looked at when data comes. Ends with the set.
        let mut beside = JoinSet::new();
        let feed_ended = CancellationToken::new();
        beside.spawn(
            Ticker::new(producer.clone(), stats, Arc::clone(&clock), pulse).run(feed_ended.clone()),
        );
        let limit = self.shutdown_timeout;
        let whole = async {
            let fed = tokio::select! {
                fed = run_feeds(feeds) => fed,
                // Before its queue is closed the thread ends by a panic, or when no sink is left.
                ended = &mut pump_done => return (Ok(()), ended),
            };
            producer.event(clock.now(), FeedEvent::Ended);
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
            Ok(Err(failed)) => Err(failed.into()),
            Ok(Ok(())) => fed.map_err(|source| PipelineError::Source { source }),
        }
    }
}

/// Runs until all have ended, and gives the first failure.
async fn run_feeds(feeds: Vec<Feed>) -> Result<(), BoxError> {
    let (mut several, mut first) = (JoinSet::new(), Ok(()));
    let alone = feeds.len() == 1;
    for (number, feed) in feeds.into_iter().enumerate() {
        if alone {
            // It needs no task: it is looked at when data comes.
            return feed.run().await;
        }
        several.spawn(feed.run().instrument(info_span!("connection", number)));
    }
    while let Some(ended) = several.join_next().await {
        first = first.and(ended.unwrap_or_else(|error| Err(error.into())));
    }
    first
}

#[cfg(test)]
mod tests;
