//! A pipeline: connects sources, stages and sinks, and runs them until the stop.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error, info_span};

use super::connection_group::ConnectionGroup;
use super::connection_slot::{ConnectionSlot, build_slots};
use super::connection_task::drain_timeout;
use super::fixed_parts::FixedParts;
use super::inline_sinks::InlineSinks;
use super::named_plugin::NamedPlugin;
use super::optional_sink::spawn_optional_sink;
use super::overflow::Overflow;
use super::pipeline_control::{PipelineControl, RunningShard, RunningSources};
use super::pipeline_error::PipelineError;
use super::pump::{Pump, PumpExit};
use super::queue::{Producer, QueueLimits, batch_queue};
use super::read_frontiers::ReadFrontiers;
use super::retry_policy::RetryPolicy;
use super::shared_labeler::SharedLabeler;
use super::sink_output::SinkOutput;
use super::sinks::Sinks;
use super::stage_chain::StageChain;
use super::stall_detector::StallDetector;
use super::ticker::Ticker;
use crate::base::json::Selector;
use crate::base::time::{Clock, UnixNanos};
use crate::metrics::PipelineStats;
use crate::plugin::{
    BoxError, DETECTION_TOLERANCE, ShardIndex, Sink, Source, SourceEvent, SourceScope, Stage,
};

/// Size of the pipeline thread's stack, in bytes. Stages may recurse deeply; only the part that is
/// used takes memory.
const PIPELINE_STACK_BYTES: usize = 64 << 20;

/// Time after `shutdown_timeout` within which the pipeline thread may still finish. A connection that
/// nobody answers ends before `shutdown_timeout`; what is left then is the end of a write, and files
/// that are closed.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Pause after which a thread is asked for again.
const THREAD_RETRY_DELAY: Duration = Duration::from_secs(1);

/// A pipeline that is built and not yet running.
pub(crate) struct Pipeline {
    /// Name of the pipeline, by default `main`.
    pub(crate) name: String,
    /// Sources that share the topics, each with a connection of its own.
    pub(crate) sources: Vec<Box<dyn Source>>,
    /// Rule that finds the topic in a message.
    pub(crate) topic_selector: Option<Selector>,
    pub(crate) stages: Vec<NamedPlugin<dyn Stage>>,
    pub(crate) sinks: Vec<NamedPlugin<dyn Sink>>,
    /// Maximum number of messages in the queue.
    pub(crate) max_messages: usize,
    /// Maximum memory of the queue, in bytes.
    pub(crate) max_bytes: usize,
    pub(crate) overflow: Overflow,
    /// Time after the stop within which everything must be written and closed.
    pub(crate) shutdown_timeout: Duration,
    /// Changes the pipeline while it runs.
    pub(crate) control: Arc<PipelineControl>,
    /// Directory in which each sink writes hours, if it does.
    pub(crate) sink_dirs: Vec<Option<PathBuf>>,
}

impl Pipeline {
    /// Opens the required sinks, in order. The others open on their own threads.
    ///
    /// # Errors
    /// [`PipelineError::OpenSink`].
    pub(crate) fn open_required_sinks(&mut self) -> Result<(), PipelineError> {
        for sink in self.sinks.iter_mut().filter(|sink| sink.common.required) {
            sink.plugin
                .open()
                .map_err(|source| PipelineError::OpenSink { sink: sink.name.clone(), source })?;
        }
        Ok(())
    }

    /// Returns the endpoint of the sources, for the log.
    pub(crate) fn endpoint(&self) -> String {
        let first = self.sources.first().map(|source| source.endpoint()).unwrap_or_default();
        match self.sources.len() {
            0 | 1 => first,
            count => format!("{first} ({count} connections)"),
        }
    }

    /// Returns the destinations of the sinks, for the log.
    pub(crate) fn destinations(&self) -> String {
        let sinks = self.sinks.iter().map(|sink| sink.plugin.destination());
        sinks.collect::<Vec<_>>().join(", ")
    }

    /// Returns the parts that cannot change while the pipeline runs.
    pub(crate) fn fixed_parts(&self) -> FixedParts {
        let sinks_want = self.sinks.iter().any(|sink| sink.plugin.wants_topics());
        let stages_want = self.stages.iter().any(|stage| stage.plugin.wants_topics());
        FixedParts {
            labels_topics: self.topic_selector.is_some() && (sinks_want || stages_want),
            topic_selector: self.topic_selector.clone(),
            destinations: self.sinks.iter().map(|sink| sink.plugin.destination()).collect(),
        }
    }

    /// Records until `stop`, then drains and closes, for at most `shutdown_timeout` and
    /// [`CLOSE_GRACE`].
    ///
    /// The pipelines of a process have the same `ticks_from`, so that their ticks are one wake-up.
    ///
    /// # Errors
    /// [`PipelineError`]: what was received may then be lost.
    pub(crate) async fn run(
        self,
        stats: Arc<PipelineStats>,
        clock: Arc<dyn Clock>,
        ticks_from: Instant,
        stop: CancellationToken,
    ) -> Result<(), PipelineError> {
        let endpoint = self.sources.first().map(|source| source.endpoint()).unwrap_or_default();
        let fixed = self.fixed_parts();
        let limits = QueueLimits { messages: self.max_messages, bytes: self.max_bytes };
        let (producer, consumer) = batch_queue(limits);
        let sink_stats: Vec<_> = self.sinks.iter().map(|sink| Arc::clone(&sink.stats)).collect();
        let stage_stats = self.stages.iter().map(|stage| Arc::clone(&stage.stats));
        let stage_stats: Vec<_> = stage_stats.collect();
        stats.set_plugins([stage_stats.as_slice(), &sink_stats].concat());
        let labeler = SharedLabeler::new(self.topic_selector, Arc::clone(&stats));
        if fixed.labels_topics {
            labeler.enable();
        }
        let retry_policy = RetryPolicy::new(stop.clone(), self.shutdown_timeout);
        let sinks = start_sinks(self.sinks, limits, retry_policy, &stats)
            .map_err(|source| PipelineError::SpawnThread { source })?;
        let output = SinkOutput::new(sinks, Arc::clone(&stats));
        let stages = StageChain::new(self.stages, labeler.clone(), Arc::clone(&stats));
        let pump = Pump::new(stages, output, consumer, Arc::clone(&stats));
        let first_run =
            start_pump(pump).map_err(|(source, _)| PipelineError::SpawnThread { source })?;
        let mut pump_done = pin!(run_pump(first_run, producer.clone()));

        let stall_detector = Arc::<StallDetector>::default();
        let read_frontiers = Arc::<ReadFrontiers>::default();
        let shard_count = self.sources.len();
        let connection_counter = Arc::default();
        let first_closed = Arc::<OnceLock<UnixNanos>>::default();
        let mut slots = Vec::new();
        let mut shards = Vec::new();
        for (position, source) in self.sources.into_iter().enumerate() {
            let scope = SourceScope {
                shard: ShardIndex::new(position),
                shard_count,
                topics: source.topics().into(),
            };
            let group = ConnectionGroup {
                scope: Mutex::new(scope),
                producer: producer.clone(),
                overflow: self.overflow,
                labeler: labeler.clone(),
                stats: Arc::clone(&stats),
                clock: Arc::clone(&clock),
                stop: stop.clone(),
                drain_timeout: drain_timeout(self.shutdown_timeout),
                connection_counter: Arc::clone(&connection_counter),
                stall_detector: Arc::clone(&stall_detector),
                read_frontiers: Arc::clone(&read_frontiers),
                first_closed: Arc::clone(&first_closed),
                state: Mutex::default(),
                delivery_order: tokio::sync::Mutex::default(),
            };
            let group = Arc::new(group);
            let mut group_slots = build_slots(&group, source);
            shards.push(RunningShard::new(group, &group_slots));
            slots.append(&mut group_slots);
        }
        self.control.start(RunningSources::new(shards, endpoint, fixed, stage_stats, sink_stats));
        // A task of its own, so that a slot is polled only when data arrives. It ends with the set.
        let mut ticker_task = JoinSet::new();
        let sources_ended = CancellationToken::new();
        let ticker = Ticker::new(
            producer.clone(),
            stats,
            Arc::clone(&clock),
            stall_detector,
            read_frontiers,
        );
        ticker_task.spawn(ticker.run(ticks_from, sources_ended.clone()));
        let run_and_drain = async {
            let sources_result = tokio::select! {
                result = run_all_slots(slots, &self.control) => result,
                // Before its queue is closed the thread ends by a panic, or when no sink is left.
                result = &mut pump_done => return (Ok(()), result),
            };
            let now = clock.now();
            let is_earlier =
                |closed: &UnixNanos| now.saturating_since(*closed) > DETECTION_TOLERANCE;
            let since = first_closed.get().copied().filter(is_earlier);
            producer.push_event(now, SourceEvent::Ended { since });
            sources_ended.cancel();
            // The last tick must be in the queue before the queue is closed.
            drop(ticker_task.join_next().await);
            producer.finish();
            (sources_result, (&mut pump_done).await)
        };
        let limit = self.shutdown_timeout;
        let (sources_result, pump_result) = tokio::select! {
            results = run_and_drain => results,
            () = wait_for_deadline(&stop, limit + CLOSE_GRACE) => {
                return Err(shutdown_timeout(&producer, limit));
            }
        };
        pump_result?;
        sources_result.map_err(|source| PipelineError::Source { source })
    }
}

/// Starts the threads of the sinks that are not required.
fn start_sinks(
    sinks: Vec<NamedPlugin<dyn Sink>>,
    limits: QueueLimits,
    retry_policy: RetryPolicy,
    stats: &Arc<PipelineStats>,
) -> std::io::Result<Sinks> {
    let (required, optional): (Vec<_>, Vec<_>) =
        sinks.into_iter().partition(|sink| sink.common.required);
    let optional = optional.into_iter().map(|sink| spawn_optional_sink(sink, limits, stats));
    let optional = optional.collect::<Result<Vec<_>, _>>()?;
    let required = InlineSinks::new(required, optional.len(), retry_policy, Arc::clone(stats));
    Ok(Sinks::new(required, optional, limits, Arc::clone(stats)))
}

/// Receives the pump's reason to end a thread, and is closed if the thread panics.
type PumpRun = oneshot::Receiver<PumpExit>;

/// Starts a pipeline thread. Returns the pump if the system has no thread for it.
fn start_pump(pump: Pump) -> Result<PumpRun, (std::io::Error, Box<Pump>)> {
    let span = Span::current();
    let (exit_sender, exit) = oneshot::channel();
    let (pump_sender, pumps) = sync_channel::<Pump>(1);
    let thread = std::thread::Builder::new().name("pipeline".into());
    let started = thread.stack_size(PIPELINE_STACK_BYTES).spawn(move || {
        let _within = span.enter();
        if let Ok(pump) = pumps.recv() {
            // The receiver is gone only after the deadline, when nobody asks for the result.
            drop(exit_sender.send(pump.run()));
        }
    });
    if let Err(error) = started {
        return Err((error, Box::new(pump)));
    }
    // The thread waits for exactly one pump.
    drop(pump_sender.send(pump));
    Ok(exit)
}

/// Runs the pump on a thread while there is something to do, until it has ended.
///
/// A quiet pipeline has no thread, and one that hangs has its own.
async fn run_pump(first_run: PumpRun, producer: Producer) -> Result<(), PipelineError> {
    let mut run = first_run;
    loop {
        let mut pump = match run.await {
            Err(_) => return Err(PipelineError::ThreadPanicked),
            Ok(PumpExit::Ended(result)) => return Ok(result?),
            Ok(PumpExit::Away(pump)) => pump,
        };
        producer.consumer_wanted().await;
        run = loop {
            match start_pump(*pump) {
                Ok(run) => break run,
                Err((error, back)) => {
                    error!(%error, "the system has no thread for the pipeline, trying again; messages wait in the buffer");
                    pump = back;
                    sleep(THREAD_RETRY_DELAY).await;
                }
            }
        };
    }
}

async fn wait_for_deadline(stop: &CancellationToken, limit: Duration) {
    stop.cancelled().await;
    sleep(limit).await;
}

fn shutdown_timeout(producer: &Producer, limit: Duration) -> PipelineError {
    PipelineError::ShutdownTimeout { limit, messages: producer.usage().messages }
}

/// Runs the slots, and those that are added meanwhile, until all have ended. Returns the first
/// failure.
async fn run_all_slots(
    slots: Vec<ConnectionSlot>,
    control: &PipelineControl,
) -> Result<(), BoxError> {
    let mut first = run_slots(slots).await;
    while let Some(mut added) = control.take_added() {
        while let Some(ended) = added.join_next().await {
            first = first.and(ended.unwrap_or_else(|error| Err(error.into())));
        }
    }
    first
}

/// Runs the slots until all have ended, and returns the first failure.
async fn run_slots(mut slots: Vec<ConnectionSlot>) -> Result<(), BoxError> {
    if slots.len() == 1
        && let Some(slot) = slots.pop()
    {
        // A single slot needs no task, and is polled only when data arrives.
        return slot.run().await;
    }
    let mut tasks = JoinSet::new();
    for (number, slot) in slots.into_iter().enumerate() {
        tasks.spawn(slot.run().instrument(info_span!("connection", number)));
    }
    let mut first = Ok(());
    while let Some(ended) = tasks.join_next().await {
        first = first.and(ended.unwrap_or_else(|error| Err(error.into())));
    }
    first
}

#[cfg(test)]
mod tests;
