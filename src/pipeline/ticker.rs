//! What happens once a second: sinks are told the time, and what else the counters and the clock
//! say.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::pulse::Pulse;
use super::queue::Producer;
use crate::clock::{Clock, UnixNanos};
use crate::plugin::{DropCause, FeedEvent};
use crate::stats::Stats;

/// How often sinks are told the time.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// A machine that was suspended for less is not told of.
const NAP: Duration = Duration::from_secs(1);
/// A wall clock that differs by more from what a tick's monotonic time says has stepped. Slewing
/// (adjtime, 0.5 ms a second at most) stays below, and so does a leap second that is repeated.
const STEP: Duration = Duration::from_secs(2);

/// Tells the sinks of a pipeline the time.
pub(super) struct Ticker {
    producer: Producer,
    stats: Arc<Stats>,
    clock: Arc<dyn Clock>,
    pulse: Arc<Pulse>,
    /// The wall clock at the last tick, and when that was.
    last: (UnixNanos, Instant),
    /// For how long the machine had been suspended by then.
    suspended: Duration,
    /// What of the counters the sinks know.
    told: [u64; 2],
}

impl Ticker {
    pub(super) fn new(
        producer: Producer,
        stats: Arc<Stats>,
        clock: Arc<dyn Clock>,
        pulse: Arc<Pulse>,
    ) -> Self {
        let (last, suspended) = ((clock.now(), Instant::now()), clock.suspended());
        Self { producer, stats, clock, pulse, last, suspended, told: [0; 2] }
    }

    /// Ticks until the feed has ended, then tells what is left to tell.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while ended.run_until_cancelled(ticks.tick()).await.is_some() {
            self.tick();
        }
        self.tick();
    }

    fn tick(&mut self) {
        let (now, at) = (self.clock.now(), Instant::now());
        self.pulse.beat();
        let (before, then) = self.last;
        let suspended = self.clock.suspended();
        let slept = suspended.saturating_sub(self.suspended);
        self.suspended = suspended;
        let expected = before.plus(at - then).plus(slept);
        if slept > NAP {
            warn!(?slept, "the machine was suspended");
            self.producer.event(now, FeedEvent::Suspended { slept });
        }
        if now.abs_diff(expected) > STEP {
            warn!(%expected, %now, "the clock stepped");
            self.producer.event(now, FeedEvent::ClockStepped { from: expected });
        }
        for (told, counter, cause) in [
            (0, &self.stats.dropped, DropCause::Overflow),
            (1, &self.stats.undecodable, DropCause::Undecodable),
        ] {
            let Some(told) = self.told.get_mut(told) else { continue };
            let messages = counter.get() - *told;
            if messages > 0 {
                *told += messages;
                // A clock that stepped back must not make it end before it began.
                let since = before.min(now);
                self.producer.event(now, FeedEvent::Dropped { since, messages, cause });
            }
        }
        let (messages, since) = self.stats.take_lost_in_stages();
        if messages > 0 {
            let (since, cause) = (since.min(before).min(now), DropCause::Stage);
            self.producer.event(now, FeedEvent::Dropped { since, messages, cause });
        }
        self.producer.tick(now);
        self.stats.sample(self.producer.used());
        self.last = (now, at);
    }
}
