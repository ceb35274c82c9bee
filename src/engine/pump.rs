//! The pipeline thread: takes batches from the queue through the stages into the sinks.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::error;

use super::batch_number::BatchNumber;
use super::flush_scope::FlushScope;
use super::named_plugin::NamedPlugin;
use super::plugin_change::PluginChange;
use super::queue::{Consumer, Popped, QueueItem, batch_usage};
use super::sink_gone::SinkGone;
use super::sink_output::SinkOutput;
use super::stage_chain::StageChain;
use crate::base::error_chain::error_chain;
use crate::base::heartbeat::{beat, rest};
use crate::base::time::UnixNanos;
use crate::metrics::{PipelineStats, StageLoss};
use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, DropCause, SourceEvent, Stage, Tick};

/// The disk half of a pipeline.
pub(crate) struct Pump {
    stages: StageChain,
    output: SinkOutput,
    consumer: Consumer,
    stats: Arc<PipelineStats>,
    /// Events behind messages that stages hold back.
    held_events: VecDeque<HeldEvent>,
    /// The required sink that is gone, while the others still get what was received.
    lost_sink: Option<SinkGone>,
}

/// An event that waits for the messages before it.
struct HeldEvent {
    /// The last batch before it.
    behind: BatchNumber,
    at: UnixNanos,
    event: SourceEvent,
}

impl HeldEvent {
    /// Returns whether the event changes what sinks do with messages that come behind it.
    fn waits_for_messages(&self) -> bool {
        matches!(self.event, SourceEvent::ConfigChanged(_) | SourceEvent::Ended { .. })
    }
}

/// Returns whether a sink may conclude from the event that everything before it is written.
fn ends_or_begins_coverage(event: &SourceEvent) -> bool {
    matches!(
        event,
        SourceEvent::Up { .. }
            | SourceEvent::Subscribed { .. }
            | SourceEvent::Down { .. }
            | SourceEvent::TopicDown { .. }
    )
}

/// The reason why the pipeline thread failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpError {
    /// A required sink is gone.
    #[error(transparent)]
    SinkGone(#[from] SinkGone),
    /// A stage or a sink could not be closed.
    #[error("the end of the recording could not be made safe")]
    Close(#[source] BoxError),
}

/// The reason why a pump gave its thread up.
pub(super) enum PumpExit {
    /// Nothing came for some seconds, and nothing is to be done. The pump is to run on when
    /// something comes.
    Away(Box<Pump>),
    /// The queue is closed and empty, or a required sink is gone, or a stage or sink could not be
    /// closed; all are tried.
    Ended(Result<(), PumpError>),
}

/// The reason why a pump takes nothing more from the queue.
enum Drained {
    Away,
    Closed,
}

impl Pump {
    pub(super) fn new(
        stages: StageChain,
        output: SinkOutput,
        consumer: Consumer,
        stats: Arc<PipelineStats>,
    ) -> Self {
        Self { stages, output, consumer, stats, held_events: VecDeque::new(), lost_sink: None }
    }

    /// Runs until the queue is closed and empty, then closes the stages and the sinks in this
    /// order. Returns before when nothing is to be done for a while.
    pub(super) fn run(mut self) -> PumpExit {
        let _attached = self.stats.heartbeat.attach();
        let drained = match self.drain_queue() {
            Ok(Drained::Away) => return PumpExit::Away(Box::new(self)),
            Ok(Drained::Closed) => Ok(()),
            Err(gone) => Err(gone.into()),
        };
        // Sinks are closed side by side, each with its own time limit.
        PumpExit::Ended(drained.and(rest(|| self.close())))
    }

    fn drain_queue(&mut self) -> Result<Drained, SinkGone> {
        loop {
            beat();
            let item = match self.next_item()? {
                Popped::Item(item) => item,
                Popped::Away => return Ok(Drained::Away),
                Popped::Closed => {
                    return self.lost_sink.take().map_or(Ok(Drained::Closed), Err);
                }
            };
            match item {
                QueueItem::Batch(batch) => {
                    self.defer_sink_loss(|pump| pump.process_batch(batch))?;
                }
                QueueItem::Tick(tick) => {
                    self.defer_sink_loss(Self::drain_stages)?;
                    // Before a sink says how far the recording is complete.
                    self.report_stage_loss(tick.now);
                    let limit = self.stages.complete_until();
                    let complete_until = tick
                        .complete_until
                        // An event that is held back may tell of a loss before that time.
                        .filter(|_| self.held_events.is_empty())
                        .map(|until| limit.map_or(until, |limit| limit.min(until)));
                    self.output.tick(Tick { complete_until, ..tick });
                }
                QueueItem::Event(at, event) => {
                    if let SourceEvent::ClockStepped { expected } = &event {
                        self.stages.on_clock_step(*expected, at);
                    }
                    let behind = self.stages.last_number();
                    self.held_events.push_back(HeldEvent { behind, at, event });
                    self.release_events();
                }
                QueueItem::Plugins(at, change) => {
                    self.defer_sink_loss(|pump| pump.replace_plugins(at, change))?;
                }
            }
        }
    }

    /// Waits for the next item of the queue, and flushes the sinks before a long wait.
    fn next_item(&mut self) -> Result<Popped, SinkGone> {
        if let Some(scope) = self.output.flush_due() {
            self.flush(scope)?;
        }
        let mut next = self.consumer.try_pop();
        if next.is_none() && self.output.is_unflushed() {
            self.flush(FlushScope::Prompt)?;
            if self.output.is_unflushed() {
                // Many small writes cost more than a moment of waiting for more.
                next = self.consumer.pop_timeout();
            }
        }
        if let Some(item) = next {
            return Ok(Popped::Item(item));
        }
        self.flush(FlushScope::All)?;
        let idle_until = if self.stages.needs_ticks() { None } else { self.output.idle_until() };
        Ok(rest(|| self.consumer.pop_or_leave(idle_until)))
    }

    fn flush(&mut self, scope: FlushScope) -> Result<(), SinkGone> {
        let flushed = self.defer_sink_loss(|pump| pump.output.flush(scope));
        self.consumer.release_held();
        flushed
    }

    /// Runs `work`, and defers the loss of a sink until the others have what was received.
    fn defer_sink_loss(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), SinkGone>,
    ) -> Result<(), SinkGone> {
        let Err(gone) = work(self) else { return Ok(()) };
        if self.output.is_empty() {
            return Err(gone);
        }
        error!(error = %error_chain(&gone), "a required sink is gone; the others get what was received, then the recording ends");
        self.lost_sink.get_or_insert(gone);
        self.consumer.stop_intake();
        Ok(())
    }

    fn process_batch(&mut self, mut batch: Batch) -> Result<(), SinkGone> {
        let taken = batch_usage(&batch);
        let processed = self.stages.process(&mut batch, &mut self.output);
        self.consumer.recycle(batch, taken);
        if !self.output.holds_joined() {
            self.consumer.release_held();
        }
        processed?;
        self.drain_stages()
    }

    /// Replaces stages and sinks. What was received before goes through the former ones.
    fn replace_plugins(&mut self, at: UnixNanos, change: PluginChange) -> Result<(), SinkGone> {
        let PluginChange { stages, sinks } = change;
        if let Some(stages) = stages {
            self.replace_stages(stages)?;
        }
        if sinks.is_empty() {
            return Ok(());
        }
        self.flush(FlushScope::All)?;
        // A program may take its time to end.
        rest(|| self.output.replace_sinks(at, sinks))
    }

    /// Closes the stages, which write what they hold back, and goes on with others.
    fn replace_stages(&mut self, stages: Vec<NamedPlugin<dyn Stage>>) -> Result<(), SinkGone> {
        // A program may take its time to end. Its failure is logged and counted.
        let closed = rest(|| self.stages.close(&mut self.output)).map(drop);
        self.stages.replace(stages);
        self.release_events();
        closed
    }

    fn drain_stages(&mut self) -> Result<(), SinkGone> {
        let drained = self.stages.drain_ready(&mut self.output);
        self.release_events();
        drained
    }

    /// Sends the sinks the events. Most do not wait for messages that a stage holds back, perhaps for
    /// minutes; sinks are told of those before events from which they would conclude that all is
    /// written.
    fn release_events(&mut self) {
        while let Some(held) = self.held_events.front() {
            let is_behind = self.stages.holds_until(held.behind);
            if is_behind && held.waits_for_messages() {
                break;
            }
            let since = if is_behind { self.stages.complete_until() } else { None };
            let Some(HeldEvent { at, event, .. }) = self.held_events.pop_front() else { break };
            if let Some(since) = since
                && ends_or_begins_coverage(&event)
            {
                self.output.on_event(at, &SourceEvent::Behind { since });
            }
            self.output.on_event(at, &event);
        }
    }

    /// Sends the sinks the number of messages that stages lost since the last call.
    fn report_stage_loss(&mut self, now: UnixNanos) {
        if let Some(StageLoss { messages, since }) = self.stats.drain_stage_loss() {
            let since = since.min(now);
            let cause = DropCause::Stage;
            self.output.on_event(now, &SourceEvent::Dropped { since, messages, cause });
        }
    }

    fn close(&mut self) -> Result<(), PumpError> {
        let stages = self.stages.close(&mut self.output);
        for HeldEvent { at, event, .. } in std::mem::take(&mut self.held_events) {
            self.output.on_event(at, &event);
        }
        // Messages that a stage lost at its end: no tick follows that would report them.
        self.report_stage_loss(self.stages.last_received());
        let flushed = self.output.flush(FlushScope::All).map_err(PumpError::from);
        let sinks = self.output.close().map_err(PumpError::Close);
        flushed.and(stages?.map_or(Ok(()), |error| Err(PumpError::Close(error)))).and(sinks)
    }
}
