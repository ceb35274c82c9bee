//! Detects that the network thread was held up: what arrived meanwhile was not noticed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use signal_hook::SigId;
use signal_hook::consts::SIGCONT;
use tokio::time::Instant;
use tracing::warn;

/// Interval of the pipeline's ticks, each of which is a heartbeat.
pub(super) const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// Delay of a heartbeat beyond which the thread counts as held up.
const STALL_THRESHOLD: Duration = Duration::from_millis(50);

/// Time after a stall within which a poll that finds nothing does not count.
const SETTLE_TIME: Duration = Duration::from_millis(20);

/// Detects stalls of the thread that sends the heartbeats and polls the connections: that the
/// process was stopped (`SIGSTOP`), however briefly, or that a heartbeat is late.
#[derive(Debug)]
pub(crate) struct StallDetector {
    /// Set by the signal handler when the process goes on after a stop.
    resumed: Arc<AtomicBool>,
    handler: Option<SigId>,
    state: Mutex<DetectorState>,
}

#[derive(Debug)]
struct DetectorState {
    heartbeat_at: Instant,
    /// Time at which the thread last looked for events.
    alive_at: Instant,
    stall: Option<Stall>,
}

/// A time in which the thread did not look for events.
#[derive(Debug, Clone, Copy)]
struct Stall {
    from: Instant,
    until: Instant,
}

impl Default for StallDetector {
    /// Returns a detector that takes note of `SIGCONT`, beside all others who do.
    fn default() -> Self {
        let resumed = Arc::<AtomicBool>::default();
        let handler = signal_hook::flag::register(SIGCONT, Arc::clone(&resumed))
            .inspect_err(|error| warn!(%error, "cannot notice that the process is stopped"));
        let now = Instant::now();
        let state = DetectorState { heartbeat_at: now, alive_at: now, stall: None };
        Self { resumed, handler: handler.ok(), state: Mutex::new(state) }
    }
}

impl Drop for StallDetector {
    fn drop(&mut self) {
        if let Some(handler) = self.handler {
            signal_hook::low_level::unregister(handler);
        }
    }
}

impl StallDetector {
    /// Records a tick.
    pub(super) fn heartbeat(&self) {
        let now = Instant::now();
        let mut state = self.check(now);
        state.heartbeat_at = now;
        state.alive_at = now;
    }

    /// Records that a connection was polled at `now`, and nothing had arrived on it.
    pub(super) fn record_idle_poll(&self, now: Instant) {
        self.check(now).alive_at = now;
    }

    /// Returns the time until which everything that had arrived on a connection is read, if
    /// something is ready to be read at `now`, and nothing was at `idle_at`.
    ///
    /// That is now, unless the thread was held up since: more may have arrived than one read takes.
    pub(super) fn drained_at(&self, idle_at: Instant, now: Instant) -> Instant {
        let state = self.check(now);
        match state.stall {
            // At its end timers wake tasks before the runtime knows what has arrived: that nothing
            // was ready at that moment means nothing.
            Some(stall)
                if idle_at <= stall.until + SETTLE_TIME && now < stall.until + TICK_INTERVAL =>
            {
                stall.from
            }
            _ => now,
        }
    }

    /// Returns the state, in which a stall that has just ended is recorded.
    fn check(&self, now: Instant) -> MutexGuard<'_, DetectorState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: the handler runs on this thread or on another, and orders nothing but the flag.
        let was_stopped =
            self.resumed.load(Ordering::Relaxed) && self.resumed.swap(false, Ordering::Relaxed);
        let since_heartbeat = now.saturating_duration_since(state.heartbeat_at);
        let is_late = since_heartbeat > TICK_INTERVAL + STALL_THRESHOLD;
        if was_stopped || is_late {
            // Until the next heartbeat it is the same stall, though connections were polled again.
            let lasts = state.stall.filter(|stall| stall.until > state.heartbeat_at);
            let from = lasts.filter(|_| is_late).map_or(state.alive_at, |stall| stall.from);
            state.stall = Some(Stall { from, until: now });
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_late_heartbeat_is_a_stall_for_connections_that_were_idle_before() {
        let detector = StallDetector::default();
        let idle_at = Instant::now();
        detector.record_idle_poll(idle_at);
        tokio::time::advance(TICK_INTERVAL).await;
        detector.heartbeat();
        assert_eq!(detector.drained_at(idle_at, Instant::now()), Instant::now());
        let alive_at = Instant::now();
        tokio::time::advance(3 * TICK_INTERVAL).await;
        assert_eq!(detector.drained_at(idle_at, Instant::now()), alive_at);
        detector.heartbeat();
        let idle_since = Instant::now();
        assert_eq!(detector.drained_at(idle_at, idle_since), alive_at, "it was not read since");
        tokio::time::advance(TICK_INTERVAL / 2).await;
        detector.record_idle_poll(Instant::now());
        let idle_at = Instant::now();
        tokio::time::advance(TICK_INTERVAL / 2).await;
        assert_eq!(detector.drained_at(idle_at, Instant::now()), Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_process_is_a_stall_however_short() {
        let detector = StallDetector::default();
        let idle_at = Instant::now();
        detector.record_idle_poll(idle_at);
        tokio::time::advance(TICK_INTERVAL / 10).await;
        detector.resumed.store(true, Ordering::Relaxed);
        assert_eq!(detector.drained_at(idle_at, Instant::now()), idle_at);
        let at_its_end = Instant::now();
        detector.record_idle_poll(at_its_end);
        assert_eq!(detector.drained_at(at_its_end, Instant::now()), idle_at, "a timer was first");
        tokio::time::advance(TICK_INTERVAL / 10).await;
        let idle_at = Instant::now();
        detector.record_idle_poll(idle_at);
        tokio::time::advance(TICK_INTERVAL / 10).await;
        assert_eq!(detector.drained_at(idle_at, Instant::now()), Instant::now());
        detector.heartbeat();
        tokio::time::advance(TICK_INTERVAL).await;
        assert_eq!(detector.drained_at(at_its_end, Instant::now()), Instant::now());
    }
}
