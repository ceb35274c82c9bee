//! What happens once a second: sinks are told the time, and what else the counters and the clock
//! say.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::queue::Producer;
use super::stall_detector::StallDetector;
use crate::base::time::{Clock, UnixNanos};
use crate::metrics::PipelineStats;
use crate::plugin::{DropCause, SourceEvent};

/// How often sinks are told the time.
pub(super) const TICK_INTERVAL: Duration = Duration::from_secs(1);
/// A machine that was suspended for less is not told of.
const SUSPEND_THRESHOLD: Duration = Duration::from_secs(1);
/// A wall clock that differs by more from what a tick's monotonic time says has stepped. Slewing
/// (adjtime, 0.5 ms a second at most) stays below, and so does a leap second that is repeated.
const CLOCK_STEP_THRESHOLD: Duration = Duration::from_secs(2);

/// Tells the sinks of a pipeline the time.
pub(super) struct Ticker {
    producer: Producer,
    stats: Arc<PipelineStats>,
    clock: Arc<dyn Clock>,
    stall_detector: Arc<StallDetector>,
    /// The wall clock at the last tick, and when that was.
    last_tick: (UnixNanos, Instant),
    /// For how long the machine had been suspended by then.
    suspended_total: Duration,
    /// What of the counters the sinks know.
    reported_counts: [u64; 2],
}

impl Ticker {
    pub(super) fn new(
        producer: Producer,
        stats: Arc<PipelineStats>,
        clock: Arc<dyn Clock>,
        pulse: Arc<StallDetector>,
    ) -> Self {
        let (last, suspended) = ((clock.now(), Instant::now()), clock.suspended_total());
        Self {
            producer,
            stats,
            clock,
            stall_detector: pulse,
            last_tick: last,
            suspended_total: suspended,
            reported_counts: [0; 2],
        }
    }

    /// Ticks until the feed has ended, then tells what is left to tell.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        let mut ticks = interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while ended.run_until_cancelled(ticks.tick()).await.is_some() {
            self.tick();
        }
        self.tick();
    }

    fn tick(&mut self) {
        let (now, at) = (self.clock.now(), Instant::now());
        self.stall_detector.heartbeat();
        let (before, then) = self.last_tick;
        let suspended = self.clock.suspended_total();
        let slept = suspended.saturating_sub(self.suspended_total);
        self.suspended_total = suspended;
        let expected = before.saturating_add(at - then).saturating_add(slept);
        if slept > SUSPEND_THRESHOLD {
            warn!(?slept, "the machine was suspended");
            self.producer.push_event(now, SourceEvent::Suspended { slept });
        }
        if now.abs_diff(expected) > CLOCK_STEP_THRESHOLD {
            warn!(%expected, %now, "the clock stepped");
            self.producer.push_event(now, SourceEvent::ClockStepped { expected });
        }
        for (told, counter, cause) in [
            (0, &self.stats.dropped, DropCause::Overflow),
            (1, &self.stats.undecodable, DropCause::Undecodable),
        ] {
            let Some(told) = self.reported_counts.get_mut(told) else { continue };
            let messages = counter.get() - *told;
            if messages > 0 {
                *told += messages;
                // A clock that stepped back must not make it end before it began.
                let since = before.min(now);
                self.producer.push_event(now, SourceEvent::Dropped { since, messages, cause });
            }
        }
        let (messages, since) = self.stats.drain_stage_loss();
        if messages > 0 {
            let (since, cause) = (since.min(before).min(now), DropCause::Stage);
            self.producer.push_event(now, SourceEvent::Dropped { since, messages, cause });
        }
        self.producer.push_tick(now);
        self.stats.record_sample(self.producer.usage());
        self.last_tick = (now, at);
    }
}
