//! All sinks of a thread, and what is done when one of them cannot do its part.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::error;

use super::aside::Aside;
use super::named::Named;
use super::persist::{Patience, persist};
use crate::batch::Batch;
use crate::clock::UnixNanos;
use crate::errors::error_chain;
use crate::plugin::{BoxError, DropCause, FeedEvent, Rejected, Sink};
use crate::stats::Stats;

/// For how long the end of the recording waits for sinks that are not required.
const ASIDE_PATIENCE: Duration = Duration::from_secs(3);

/// A sink whose destination is gone for good, or that was given up.
#[derive(Debug, thiserror::Error)]
#[error("{sink}")]
pub(crate) struct SinkGone {
    pub(super) sink: String,
    pub(super) source: BoxError,
}

/// The sinks of a thread.
pub(super) struct Sinks {
    /// Those that are required: messages wait for them.
    pub(super) all: Vec<Named<dyn Sink>>,
    /// Those that are not.
    pub(super) asides: Vec<Aside>,
    gone: Vec<Left>,
    /// When the last messages were received, and the first since all was flushed.
    last: UnixNanos,
    unflushed: Option<UnixNanos>,
    patience: Patience,
    stats: Arc<Stats>,
}

/// A sink that is gone. It is closed last, lest the others wait for that.
struct Left {
    sink: Named<dyn Sink>,
    /// What it did not get, and of what time.
    missed: u64,
    since: UnixNanos,
    until: UnixNanos,
}

impl Left {
    /// Tells it what it did not get, for its account, and closes it.
    fn close(&mut self) {
        let plugin = &mut self.sink.plugin;
        // It has said why it fails.
        drop(plugin.flush());
        let (messages, since, cause) =
            (self.missed + plugin.buffered(), self.since, DropCause::GivenUp);
        if messages > 0 {
            drop(plugin.event(self.until, &FeedEvent::Dropped { since, messages, cause }));
        }
        drop(plugin.close());
    }
}

impl Sinks {
    pub(super) fn new(all: Vec<Named<dyn Sink>>, patience: Patience, stats: Arc<Stats>) -> Self {
        let (asides, gone, last) = (Vec::new(), Vec::new(), UnixNanos::default());
        Self { all, asides, gone, last, unflushed: None, patience, stats }
    }

    /// Every sink opens what it needs, however long it takes.
    pub(super) fn open(&mut self) -> Result<(), SinkGone> {
        let (stats, patience) = (&self.stats, &mut self.patience);
        let mut all = self.all.iter_mut();
        all.try_for_each(|sink| persist(sink, stats, patience, false, "open", Sink::open))
    }

    /// Every sink takes the batch, however long it takes: meanwhile the queue fills and `overflow`
    /// decides. One that is gone is closed and left out from then on.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), SinkGone> {
        for aside in &mut self.asides {
            aside.write(batch);
        }
        let messages = batch.len() as u64;
        self.patience.look();
        self.last = batch.received();
        self.unflushed.get_or_insert(self.last);
        let written = self.persist_all(|sink| sink.write(batch), messages);
        for left in &mut self.gone {
            (left.missed, left.until) = (left.missed + messages, self.last);
        }
        written
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
        let flushed = self.persist_all(Sink::flush, 0);
        self.unflushed = None;
        flushed
    }

    fn persist_all(
        &mut self,
        mut attempt: impl FnMut(&mut (dyn Sink + 'static)) -> Result<(), BoxError>,
        messages: u64,
    ) -> Result<(), SinkGone> {
        let mut first = Ok(());
        let mut index = 0;
        while index < self.all.len() {
            let others = self.all.len() + self.asides.len() > 1;
            let Some(sink) = self.all.get_mut(index) else { break };
            let (stats, patience) = (&self.stats, &mut self.patience);
            match persist(sink, stats, patience, others, "write", &mut attempt) {
                Ok(()) => {
                    sink.stats.taken.add(messages);
                    count_given(sink);
                    index += 1;
                }
                Err(gone) => {
                    let (sink, until) = (self.all.remove(index), self.last);
                    let since = self.unflushed.unwrap_or(until);
                    self.gone.push(Left { sink, missed: 0, since, until });
                    first = first.and(Err(gone));
                }
            }
        }
        first
    }

    /// Whether no sink is left.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.asides.is_empty()
    }

    pub(super) fn tick(&mut self, now: UnixNanos) {
        self.patience.look();
        for aside in &mut self.asides {
            aside.tick(now);
        }
        self.each("tick", |sink| sink.tick(now));
    }

    pub(super) fn event(&mut self, at: UnixNanos, event: &FeedEvent) {
        self.patience.look();
        for left in &mut self.gone {
            // What it can note for its account it does.
            drop(left.sink.plugin.event(at, event));
        }
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
        self.gone.iter_mut().for_each(Left::close);
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
