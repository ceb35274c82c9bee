//! The engine: one pipeline from its source to its sinks.
//!
//! A task on the network thread keeps the source connected ([`feed`]), one plain thread runs
//! stages and sinks ([`pump`]), and exactly one bounded queue lies between them ([`queue`]).
//!
//! Stopping is a chain: the token is cancelled, the source is closed and drained, the queue
//! is closed, the thread empties the queue and closes the sinks.

mod connection_group;
mod connection_slot;
mod connection_task;
mod dedup;
mod live_connection;
mod named_plugin;
mod optional_sink;
mod pump;
mod queue;
mod retry_policy;
mod shared_labeler;
mod sinks;
mod stall_detector;
mod ticker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, info_span};

use self::connection_group::ConnectionGroup;
use self::connection_slot::ConnectionSlot;
pub(crate) use self::named_plugin::NamedPlugin;
use self::optional_sink::spawn_optional_sink;
use self::pump::{Pump, PumpError};
use self::queue::{QueueLimits, batch_queue};
use self::retry_policy::RetryPolicy;
use self::shared_labeler::SharedLabeler;
use self::sinks::Sinks;
use self::stall_detector::StallDetector;
use self::ticker::Ticker;
use crate::base::json::Selector;
use crate::base::time::Clock;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, Sink, Source, SourceEvent, SourceScope, Stage};

/// A pipeline knows so many topics; messages of further ones are like such that have none. A pointer
/// at something that is new in every message must not fill the memory.
pub(crate) const MAX_TOPICS: usize = 10_000;

/// What stages recurse over may be deep. Memory is taken as far as it is used.
const PIPELINE_STACK_BYTES: usize = 64 << 20;

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
    pub(crate) topic_selector: Option<Selector>,
    pub(crate) stages: Vec<NamedPlugin<dyn Stage>>,
    pub(crate) sinks: Vec<NamedPlugin<dyn Sink>>,
    pub(crate) max_messages: usize,
    pub(crate) max_bytes: usize,
    pub(crate) overflow: Overflow,
    pub(crate) shutdown_timeout: Duration,
}

/// Why a pipeline did not end well.
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
        "not done {limit:?} after the stop (`shutdown_timeout`); {messages} messages in the queue, and what stages and sinks had kept back, are lost"
    )]
    ShutdownTimeout { limit: Duration, messages: u64 },
}

impl Pipeline {
    /// Opens the sinks that are required, in order; the others do it when they can.
    pub(crate) fn open_required_sinks(&mut self) -> Result<(), PipelineError> {
        for sink in self.sinks.iter_mut().filter(|sink| sink.common.required) {
            sink.plugin
                .open()
                .map_err(|source| PipelineError::OpenSink { sink: sink.name.clone(), source })?;
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
        stats: Arc<PipelineStats>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<(), PipelineError> {
        let limits = QueueLimits { messages: self.max_messages, bytes: self.max_bytes };
        let (producer, consumer) = batch_queue(limits);
        let wanted = self.sinks.iter().any(|sink| sink.plugin.wants_topics())
            || self.stages.iter().any(|stage| stage.plugin.wants_topics());
        let (required, others): (Vec<_>, Vec<_>) =
            self.sinks.into_iter().partition(|sink| sink.common.required);
        let asides = others.into_iter().map(|sink| spawn_optional_sink(sink, limits, &stats));
        let asides = asides.collect::<Result<_, _>>();
        let asides = asides.map_err(|source| PipelineError::SpawnThread { source })?;
        let labels = SharedLabeler::new(self.topic_selector.filter(|_| wanted), Arc::clone(&stats));
        let patience = RetryPolicy::new(stop.clone(), self.shutdown_timeout);
        let mut sinks = Sinks::new(required, patience, Arc::clone(&stats));
        sinks.optional = asides;
        let pump = Pump {
            stages: self.stages,
            sinks,
            consumer,
            stats: Arc::clone(&stats),
            labeler: labels.clone(),
            unwritten: (0, 0),
            stage_output: Batch::new(),
            lost_sink: None,
            unflushed_since: None,
        };
        let span = Span::current();
        let (done, mut pump_done) = oneshot::channel();
        std::thread::Builder::new()
            .name("pipeline".into())
            .stack_size(PIPELINE_STACK_BYTES)
            .spawn(move || {
                let _within = span.enter();
                // The receiver is gone only when the deadline has passed and nobody asks.
                drop(done.send(pump.run()));
            })
            .map_err(|source| PipelineError::SpawnThread { source })?;

        let sources = self.sources.len();
        let connections = Arc::default();
        let pulse = Arc::<StallDetector>::default();
        let mut feeds = Vec::new();
        for (number, source) in self.sources.into_iter().enumerate() {
            let group = ConnectionGroup {
                scope: SourceScope {
                    source_index: number,
                    source_count: sources,
                    topics: source.topics().into(),
                },
                producer: producer.clone(),
                overflow: self.overflow,
                labeler: labels.clone(),
                stats: Arc::clone(&stats),
                clock: Arc::clone(&clock),
                stop: stop.clone(),
                connection_counter: Arc::clone(&connections),
                stall_detector: Arc::clone(&pulse),
                state: Mutex::default(),
                delivery_order: tokio::sync::Mutex::default(),
            };
            feeds.append(&mut connection_slot::build_slots(group, source));
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
                fed = run_slots(feeds) => fed,
                // Before its queue is closed the thread ends by a panic, or when no sink is left.
                ended = &mut pump_done => return (Ok(()), ended),
            };
            producer.push_event(clock.now(), SourceEvent::Ended);
            feed_ended.cancel();
            // Its last words go into the queue.
            drop(beside.join_next().await);
            producer.finish();
            (fed, pump_done.await)
        };
        let deadline = async {
            stop.cancelled().await;
            sleep(limit).await;
        };
        let (fed, drained) = tokio::select! {
            ended = whole => ended,
            () = deadline => {
                let messages = producer.usage().messages;
                return Err(PipelineError::ShutdownTimeout { limit, messages });
            }
        };
        match drained {
            Err(_) => Err(PipelineError::ThreadPanicked),
            Ok(Err(failed)) => Err(failed.into()),
            Ok(Ok(())) => fed.map_err(|source| PipelineError::Source { source }),
        }
    }
}

/// Runs until all have ended, and gives the first failure.
async fn run_slots(feeds: Vec<ConnectionSlot>) -> Result<(), BoxError> {
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
