//! Trying again what a sink cannot do, and when that has lasted long enough.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::named::{Named, REPORT_INTERVAL};
use super::sinks::SinkGone;
use crate::errors::error_chain;
use crate::plugin::{BoxError, Gone, Sink};
use crate::stats::Stats;

/// Pauses between attempts at a write that fails.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// For how long others wait for a sink that fails: as long as the recording goes on. When it is
/// stopped, something must be left of `shutdown_timeout` for them.
#[derive(Default)]
pub(super) struct Patience {
    stop: CancellationToken,
    after_stop: Duration,
    stopped: Option<Instant>,
}

impl Patience {
    pub(super) fn new(stop: CancellationToken, shutdown_timeout: Duration) -> Self {
        Self { stop, after_stop: shutdown_timeout / 2, stopped: None }
    }

    /// Takes note of the stop. To be called now and then.
    pub(super) fn look(&mut self) {
        if self.stopped.is_none() && self.stop.is_cancelled() {
            self.stopped = Some(Instant::now());
        }
    }

    /// Whether a sink that has failed for so long is given up: each has a part of the time.
    fn is_over(&mut self, failing: Duration) -> bool {
        self.look();
        let over = |stopped: Instant| stopped.elapsed() >= self.after_stop;
        self.stopped.is_some_and(over) && failing >= self.after_stop / 4
    }

    /// Waits so long, or until the recording is stopped.
    fn pause(&self, pause: Duration) {
        let begun = Instant::now();
        let was_stopped = self.stop.is_cancelled();
        let pause = if was_stopped { pause.min(self.after_stop / 4) } else { pause };
        while let Some(left) = pause.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())
            && self.stop.is_cancelled() == was_stopped
        {
            std::thread::sleep(left.min(FIRST_RETRY));
        }
    }
}

/// Tries until it is done. With `others` that wait, only as long as they can.
pub(super) fn persist(
    sink: &mut Named<dyn Sink>,
    stats: &Stats,
    patience: &mut Patience,
    others: bool,
    what: &str,
    mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
) -> Result<(), SinkGone> {
    let Err(mut error) = attempt(&mut *sink.plugin) else { return Ok(()) };
    let begun = Instant::now();
    let mut reported: Option<Instant> = None;
    let mut pause = FIRST_RETRY;
    loop {
        stats.sink_errors.add(1);
        sink.stats.errors.add(1);
        if error.is::<Gone>() || (others && patience.is_over(begun.elapsed())) {
            stats.resumed(&sink.name);
            return Err(SinkGone { sink: sink.name.clone(), source: error });
        }
        let words = error_chain(&*error);
        if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            let stalled_seconds = begun.elapsed().as_secs();
            let meanwhile = if sink.common.required {
                "messages wait in the buffer"
            } else {
                "what does not fit into its buffer is dropped, and the others go on"
            };
            error!(sink = sink.name, error = %words, stalled_seconds, "{what} failed, trying again; {meanwhile}");
            reported = Some(Instant::now());
        }
        stats.stalled(&sink.name, words);
        patience.pause(pause);
        pause = (pause * 2).min(LONGEST_RETRY);
        match attempt(&mut *sink.plugin) {
            Ok(()) => break,
            Err(again) => error = again,
        }
    }
    stats.resumed(&sink.name);
    info!(sink = sink.name, stalled_seconds = begun.elapsed().as_secs(), "writing again");
    Ok(())
}
