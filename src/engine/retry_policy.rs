//! Retries of failed sinks, and the time after which a sink is given up.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::named_plugin::NamedPlugin;
use super::sink_call::SinkCall;
use super::sink_gone::SinkGone;
use crate::base::error_chain::error_chain;
use crate::base::failure_log::FAILURE_LOG_INTERVAL;
use crate::base::heartbeat::rest;
use crate::metrics::PipelineStats;
use crate::plugin::{BoxError, DestinationGone, Sink};

/// Pause after the first failed attempt. Each further pause is twice as long.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The time for which a failing sink is retried: without limit as long as the recording runs.
///
/// After the stop a sink for which others wait is given up in time, so that they get a part of
/// `shutdown_timeout`. By default there is no stop.
#[derive(Default)]
pub(super) struct RetryPolicy {
    stop: CancellationToken,
    stop_grace: Duration,
    stopped_at: Option<Instant>,
}

/// The limit on the retries of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryLimit {
    /// The sink is retried until it succeeds.
    Unlimited,
    /// Others wait for the sink: after the stop it is given up in time.
    WhileOthersWait,
}

impl RetryPolicy {
    /// Creates a policy that leaves others half of `shutdown_timeout` after the stop.
    pub(super) fn new(stop: CancellationToken, shutdown_timeout: Duration) -> Self {
        Self { stop, stop_grace: shutdown_timeout / 2, stopped_at: None }
    }

    /// Records the time of the stop. To be called regularly.
    pub(super) fn observe_stop(&mut self) {
        if self.stopped_at.is_none() && self.stop.is_cancelled() {
            self.stopped_at = Some(Instant::now());
        }
    }

    /// Returns whether a sink that has failed for `failing` is given up: each gets a part of the
    /// time.
    fn is_exhausted(&self, failing: Duration) -> bool {
        let is_over = |stopped: Instant| stopped.elapsed() >= self.stop_grace;
        self.stopped_at.is_some_and(is_over) && failing >= self.stop_grace / 4
    }

    /// Sleeps for `pause`, or until the recording is stopped.
    fn sleep(&self, pause: Duration) {
        let started = Instant::now();
        let was_stopped = self.stop.is_cancelled();
        let pause = if was_stopped { pause.min(self.stop_grace / 4) } else { pause };
        while let Some(remaining) =
            pause.checked_sub(started.elapsed()).filter(|remaining| !remaining.is_zero())
            && self.stop.is_cancelled() == was_stopped
        {
            std::thread::sleep(remaining.min(MIN_RETRY_DELAY));
        }
    }
}

/// Repeats a call of a sink until it succeeds or the sink is given up.
///
/// # Errors
/// The destination is gone for good, or the limit is reached.
pub(super) fn retry_until(
    sink: &mut NamedPlugin<dyn Sink>,
    stats: &PipelineStats,
    policy: &mut RetryPolicy,
    limit: RetryLimit,
    call: SinkCall,
    mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
) -> Result<(), SinkGone> {
    let Err(mut error) = attempt(&mut *sink.plugin) else { return Ok(()) };
    let started = Instant::now();
    let mut logged_at: Option<Instant> = None;
    let mut pause = MIN_RETRY_DELAY;
    loop {
        stats.sink_errors.add(1);
        sink.stats.errors.add(1);
        policy.observe_stop();
        let is_given_up =
            limit == RetryLimit::WhileOthersWait && policy.is_exhausted(started.elapsed());
        if error.is::<DestinationGone>() || is_given_up {
            stats.clear_stall(&sink.name);
            return Err(SinkGone { sink: sink.name.clone(), source: error });
        }
        let message = error_chain(&*error);
        if logged_at.is_none_or(|at| at.elapsed() >= FAILURE_LOG_INTERVAL) {
            let stalled_seconds = started.elapsed().as_secs();
            let consequence = if sink.common.required {
                "messages wait in the buffer"
            } else {
                "messages that do not fit into its buffer are dropped, and the other sinks continue"
            };
            error!(sink = sink.name, error = %message, stalled_seconds, "{call} failed, trying again; {consequence}");
            logged_at = Some(Instant::now());
        }
        stats.record_stall(&sink.name, message);
        rest(|| policy.sleep(pause));
        pause = (pause * 2).min(MAX_RETRY_DELAY);
        match attempt(&mut *sink.plugin) {
            Ok(()) => break,
            Err(next) => error = next,
        }
    }
    stats.clear_stall(&sink.name);
    info!(sink = sink.name, stalled_seconds = started.elapsed().as_secs(), "writing again");
    Ok(())
}
