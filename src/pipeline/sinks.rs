//! All sinks of a thread, and what is done when one of them cannot do its part.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::named::{Named, REPORT_INTERVAL};
use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::errors::error_chain;
use crate::plugin::{BoxError, FeedEvent, Gone, Rejected, Sink};
use crate::stats::Stats;

/// Pauses between attempts at a write that fails.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// A sink whose destination is gone for good.
#[derive(Debug, thiserror::Error)]
#[error("{sink}: {source}")]
pub(crate) struct SinkGone {
    sink: String,
    source: BoxError,
}

/// The sinks of a thread.
pub(super) struct Sinks {
    pub(super) all: Vec<Named<dyn Sink>>,
    pub(super) stats: Arc<Stats>,
}

impl Sinks {
    /// Every sink opens what it needs, however long it takes.
    pub(super) fn open(&mut self) -> Result<(), SinkGone> {
        self.all.iter_mut().try_for_each(|sink| persist(sink, &self.stats, "open", Sink::open))
    }

    /// Every sink takes the batch, however long it takes: meanwhile the queue fills and `overflow`
    /// decides.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkGone> {
        for sink in &mut self.all {
            persist(sink, &self.stats, "write", |sink| sink.write(batch))?;
            sink.stats.taken.add(batch.len() as u64);
            count_given(sink);
        }
        Ok(())
    }

    /// Those sinks that keep what stages set aside take it.
    pub(super) fn reject(&mut self, rejected: &[Rejected]) -> Result<(), SinkGone> {
        let keep = self.all.iter_mut().filter(|sink| sink.plugin.keeps_rejected());
        for sink in keep {
            persist(sink, &self.stats, "write", |sink| sink.reject(rejected))?;
        }
        Ok(())
    }

    /// Every sink hands to the operating system what it has.
    pub(super) fn flush(&mut self) -> Result<(), SinkGone> {
        for sink in &mut self.all {
            persist(sink, &self.stats, "write", Sink::flush)?;
            count_given(sink);
        }
        Ok(())
    }

    pub(super) fn tick(&mut self, now: UnixNanos) {
        self.each("tick", |sink| sink.tick(now));
    }

    pub(super) fn event(&mut self, at: UnixNanos, event: &FeedEvent) {
        self.each("event", |sink| sink.event(at, event));
    }

    /// The most messages that one of them has and that are not with the operating system.
    pub(super) fn buffered(&self) -> u64 {
        self.all.iter().map(|sink| sink.plugin.buffered()).max().unwrap_or(0)
    }

    /// Closes all of them and gives the first failure.
    pub(super) fn close(&mut self) -> Result<(), BoxError> {
        let mut first = Ok(());
        for sink in &mut self.all {
            if let Err(error) = sink.plugin.close() {
                error!(sink = sink.name, error = %error_chain(&*error), "close failed");
                first = first.and(Err(error));
            }
            count_given(sink);
        }
        first
    }

    fn each(
        &mut self,
        what: &str,
        mut call: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
    ) {
        for sink in &mut self.all {
            if let Err(error) = call(&mut *sink.plugin) {
                self.stats.sink_errors.add(1);
                sink.stats.errors.add(1);
                let words = error_chain(&*error);
                // What fails every second is told once a minute.
                if sink.is_news(&words) {
                    error!(sink = sink.name, error = %words, "{what} failed");
                }
            }
        }
    }
}

/// What the sink has taken and not kept in memory.
fn count_given(sink: &Named<dyn Sink>) {
    let given = sink.stats.taken.get().saturating_sub(sink.plugin.buffered());
    sink.stats.given.add(given.saturating_sub(sink.stats.given.get()));
}

/// Tries until it is done.
fn persist(
    sink: &mut Named<dyn Sink>,
    stats: &Stats,
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
        if error.is::<Gone>() {
            stats.resumed(&sink.name);
            return Err(SinkGone { sink: sink.name.clone(), source: error });
        }
        let words = error_chain(&*error);
        if reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            let stalled_seconds = begun.elapsed().as_secs();
            error!(sink = sink.name, error = %words, stalled_seconds, "{what} failed, trying again; messages wait in the buffer");
            reported = Some(Instant::now());
        }
        stats.stalled(&sink.name, words);
        std::thread::sleep(pause);
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
