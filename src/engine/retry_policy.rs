//! Trying again what a sink cannot do, and when that has lasted long enough.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::named_plugin::{FAILURE_LOG_INTERVAL, NamedPlugin};
use super::sinks::SinkGone;
use crate::base::error_chain::error_chain;
use crate::metrics::PipelineStats;
use crate::plugin::{BoxError, DestinationGone, Sink};

/// Pauses between attempts at a write that fails.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// For how long others wait for a sink that fails: as long as the recording goes on. When it is
/// stopped, something must be left of `shutdown_timeout` for them.
#[derive(Default)]
pub(super) struct RetryPolicy {
    stop: CancellationToken,
    stop_grace: Duration,
    stopped_at: Option<Instant>,
}

impl RetryPolicy {
    pub(super) fn new(stop: CancellationToken, shutdown_timeout: Duration) -> Self {
        Self { stop, stop_grace: shutdown_timeout / 2, stopped_at: None }
    }

    /// Takes note of the stop. To be called now and then.
    pub(super) fn observe_stop(&mut self) {
        if self.stopped_at.is_none() && self.stop.is_cancelled() {
            self.stopped_at = Some(Instant::now());
        }
    }

    /// Whether a sink that has failed for so long is given up: each has a part of the time.
    fn check_exhausted(&mut self, failing: Duration) -> bool {
        self.observe_stop();
        let over = |stopped: Instant| stopped.elapsed() >= self.stop_grace;
        self.stopped_at.is_some_and(over) && failing >= self.stop_grace / 4
    }

    /// Waits so long, or until the recording is stopped.
    fn sleep(&self, pause: Duration) {
        let begun = Instant::now();
        let was_stopped = self.stop.is_cancelled();
        let pause = if was_stopped { pause.min(self.stop_grace / 4) } else { pause };
        while let Some(left) = pause.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())
            && self.stop.is_cancelled() == was_stopped
        {
            std::thread::sleep(left.min(MIN_RETRY_DELAY));
        }
    }
}

/// Tries until it is done. With `others` that wait, only as long as they can.
pub(super) fn retry_until(
    sink: &mut NamedPlugin<dyn Sink>,
    stats: &PipelineStats,
    patience: &mut RetryPolicy,
    others: bool,
    what: &str,
    mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
) -> Result<(), SinkGone> {
    let Err(mut error) = attempt(&mut *sink.plugin) else { return Ok(()) };
    let begun = Instant::now();
    let mut reported: Option<Instant> = None;
    let mut pause = MIN_RETRY_DELAY;
    loop {
        stats.sink_errors.add(1);
        sink.stats.errors.add(1);
        if error.is::<DestinationGone>() || (others && patience.check_exhausted(begun.elapsed())) {
            stats.clear_stall(&sink.name);
            return Err(SinkGone { sink: sink.name.clone(), source: error });
        }
        let words = error_chain(&*error);
        if reported.is_none_or(|at| at.elapsed() >= FAILURE_LOG_INTERVAL) {
            let stalled_seconds = begun.elapsed().as_secs();
            let meanwhile = if sink.common.required {
                "messages wait in the buffer"
            } else {
                "what does not fit into its buffer is dropped, and the others go on"
            };
            error!(sink = sink.name, error = %words, stalled_seconds, "{what} failed, trying again; {meanwhile}");
            reported = Some(Instant::now());
        }
        stats.record_stall(&sink.name, words);
        patience.sleep(pause);
        pause = (pause * 2).min(MAX_RETRY_DELAY);
        match attempt(&mut *sink.plugin) {
            Ok(()) => break,
            Err(again) => error = again,
        }
    }
    stats.clear_stall(&sink.name);
    info!(sink = sink.name, stalled_seconds = begun.elapsed().as_secs(), "writing again");
    Ok(())
}
