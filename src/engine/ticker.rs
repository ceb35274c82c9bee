//! The regular work of a pipeline, once a second: sends sinks the time, and reports drops, clock
//! steps and suspends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::queue::Producer;
use super::read_frontiers::ReadFrontiers;
use super::stall_detector::{StallDetector, TICK_INTERVAL};
use crate::base::time::{Clock, UnixNanos, read_together};
use crate::metrics::{EarliestTime, PipelineStats};
use crate::plugin::{DropCause, SourceEvent, Tick};

/// Longest suspend of the machine that is not reported.
const SUSPEND_THRESHOLD: Duration = Duration::from_secs(1);
/// Largest deviation of the wall clock from monotonic time within a tick that is not a step.
///
/// Slewing (adjtime, at most 0.5 ms a second) stays below, and so does a repeated leap second.
const CLOCK_STEP_THRESHOLD: Duration = Duration::from_secs(2);

/// Does the regular work of a pipeline.
pub(super) struct Ticker {
    producer: Producer,
    stats: Arc<PipelineStats>,
    clock: Arc<dyn Clock>,
    stall_detector: Arc<StallDetector>,
    read_frontiers: Arc<ReadFrontiers>,
    last_tick: ClockSample,
    /// Dropped messages that the sinks know of.
    reported_dropped: u64,
    /// Undecodable messages that the sinks know of.
    reported_undecodable: u64,
}

/// The clocks at one moment.
#[derive(Debug, Clone, Copy)]
struct ClockSample {
    wall: UnixNanos,
    monotonic: Instant,
    /// Time for which the machine had been suspended since it booted.
    suspended_total: Duration,
}

impl ClockSample {
    fn now(clock: &dyn Clock) -> Self {
        let (monotonic, wall) = read_together(Instant::now, || clock.now());
        Self { wall, monotonic, suspended_total: clock.suspended_total() }
    }
}

impl Ticker {
    pub(super) fn new(
        producer: Producer,
        stats: Arc<PipelineStats>,
        clock: Arc<dyn Clock>,
        stall_detector: Arc<StallDetector>,
        read_frontiers: Arc<ReadFrontiers>,
    ) -> Self {
        let last_tick = ClockSample::now(&*clock);
        Self {
            producer,
            stats,
            clock,
            stall_detector,
            read_frontiers,
            last_tick,
            reported_dropped: 0,
            reported_undecodable: 0,
        }
    }

    /// Ticks until the sources have ended, and once more to report the rest.
    pub(super) async fn run(mut self, ticks_from: Instant, sources_ended: CancellationToken) {
        let mut ticks = interval_at(ticks_from, TICK_INTERVAL);
        // In step with the tickers of the other pipelines, after a delay as well.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while sources_ended.run_until_cancelled(ticks.tick()).await.is_some() {
            self.tick();
        }
        self.tick();
        self.stats.log_undecodable_now();
    }

    fn tick(&mut self) {
        self.stall_detector.heartbeat();
        let last = self.last_tick;
        let now = ClockSample::now(&*self.clock);
        self.last_tick = now;
        self.report_suspend_and_step(last, now);
        self.report_drops(last.wall, now.wall);
        let frontier = self.read_frontiers.oldest();
        let complete_until =
            frontier.map(|at| now.wall.saturating_sub(now.monotonic.saturating_duration_since(at)));
        self.producer.push_tick(Tick { now: now.wall, complete_until });
        self.stats.record_sample(self.producer.usage());
        self.stats.log_undecodable_due();
        self.stats.check_silence();
    }

    fn report_suspend_and_step(&self, last: ClockSample, now: ClockSample) {
        let slept = now.suspended_total.saturating_sub(last.suspended_total);
        if slept > SUSPEND_THRESHOLD {
            warn!(?slept, "the machine was suspended");
            self.producer.push_event(now.wall, SourceEvent::Suspended { slept });
        }
        let elapsed = now.monotonic - last.monotonic;
        let expected = last.wall.saturating_add(elapsed).saturating_add(slept);
        if now.wall.abs_diff(expected) > CLOCK_STEP_THRESHOLD {
            warn!(%expected, now = %now.wall, "the clock stepped");
            self.producer.push_event(now.wall, SourceEvent::ClockStepped { expected });
        }
    }

    /// Reports the messages that were lost since the last tick.
    fn report_drops(&mut self, last: UnixNanos, now: UnixNanos) {
        // What was sent before may have waited to be read.
        let since = |earliest: &EarliestTime| earliest.take().map_or(last, |time| time.min(last));
        let dropped = self.stats.dropped.get() - self.reported_dropped;
        self.reported_dropped += dropped;
        let dropped_since = since(&self.stats.dropped_since);
        self.send_dropped(dropped, dropped_since, now, DropCause::Overflow);
        let undecodable = self.stats.undecodable.get() - self.reported_undecodable;
        self.reported_undecodable += undecodable;
        let undecodable_since = since(&self.stats.undecodable_since);
        self.send_dropped(undecodable, undecodable_since, now, DropCause::Undecodable);
    }

    fn send_dropped(&self, messages: u64, since: UnixNanos, now: UnixNanos, cause: DropCause) {
        if messages > 0 {
            // After a step back of the clock the period must not end before it begins.
            let since = since.min(now);
            self.producer.push_event(now, SourceEvent::Dropped { since, messages, cause });
        }
    }
}
