//! All sinks of a thread, and what is done when one of them cannot do its part.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::aside::Aside;
use super::named::{Named, REPORT_INTERVAL};
use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::errors::error_chain;
use crate::plugin::{BoxError, FeedEvent, Gone, Rejected, Sink};
use crate::stats::Stats;

/// Pauses between attempts at a write that fails.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// For how long the end of the recording waits for sinks that are not required.
const ASIDE_PATIENCE: Duration = Duration::from_secs(3);

/// A sink whose destination is gone for good.
#[derive(Debug, thiserror::Error)]
#[error("{sink}")]
pub(crate) struct SinkGone {
    sink: String,
    source: BoxError,
}

/// The sinks of a thread.
pub(super) struct Sinks {
    /// Those that are required: messages wait for them.
    pub(super) all: Vec<Named<dyn Sink>>,
    /// Those that are not.
    pub(super) asides: Vec<Aside>,
    pub(super) stats: Arc<Stats>,
}

impl Sinks {
    /// Every sink opens what it needs, however long it takes.
    pub(super) fn open(&mut self) -> Result<(), SinkGone> {
        self.all.iter_mut().try_for_each(|sink| persist(sink, &self.stats, "open", Sink::open))
    }

    /// Every sink takes the batch, however long it takes: meanwhile the queue fills and `overflow`
    /// decides. One that is gone is closed and left out from then on.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkGone> {
        for aside in &mut self.asides {
            aside.write(batch);
        }
        self.persist_all(|sink| sink.write(batch), batch.len() as u64)
    }

    /// Those sinks that keep what stages set aside take it.
    pub(super) fn reject(&mut self, rejected: &[Rejected]) -> Result<(), SinkGone> {
        if rejected.is_empty() {
            return Ok(());
        }
        self.persist_all(
            |sink| if sink.keeps_rejected() { sink.reject(rejected) } else { Ok(()) },
            0,
        )
    }

    /// Every sink hands to the operating system what it has.
    pub(super) fn flush(&mut self) -> Result<(), SinkGone> {
        self.persist_all(Sink::flush, 0)
    }

    fn persist_all(
        &mut self,
        mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
        messages: u64,
    ) -> Result<(), SinkGone> {
        let mut gone = Ok(());
        let stats = &self.stats;
        self.all.retain_mut(|sink| match persist(sink, stats, "write", &mut attempt) {
            Ok(()) => {
                sink.stats.taken.add(messages);
                count_given(sink);
                true
            }
            Err(lost) => {
                // It has said why.
                drop(sink.plugin.close());
                let failed: Result<(), SinkGone> = Err(lost);
                if gone.is_ok() {
                    gone = failed;
                }
                false
            }
        });
        gone
    }

    /// Whether no sink is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.asides.is_empty()
    }

    pub(super) fn tick(&mut self, now: UnixNanos) {
        for aside in &mut self.asides {
            aside.tick(now);
        }
        self.each("tick", |sink| sink.tick(now));
    }

    pub(super) fn event(&mut self, at: UnixNanos, event: &FeedEvent) {
        for aside in &mut self.asides {
            aside.event(at, event);
        }
        self.each("event", |sink| sink.event(at, event));
    }

    /// The most messages that one of them has and that are not with the operating system.
    pub(super) fn buffered(&self) -> u64 {
        self.all.iter().map(|sink| sink.plugin.buffered()).max().unwrap_or(0)
    }

    /// Closes all of them and gives the first failure.
    pub(super) fn close(&mut self) -> Result<(), BoxError> {
        // They end while the others do.
        self.asides.iter_mut().for_each(Aside::end);
        let mut first = Ok(());
        for sink in &mut self.all {
            if let Err(error) = sink.plugin.close() {
                error!(sink = sink.name, error = %error_chain(&*error), "close failed");
                first = first.and(Err(error));
            }
            count_given(sink);
        }
        let deadline = Instant::now() + ASIDE_PATIENCE;
        for aside in &mut self.asides {
            aside.wait(deadline);
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
