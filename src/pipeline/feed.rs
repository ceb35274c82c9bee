//! Keeps one source connected and moves its batches into the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Overflow;
use super::queue::Producer;
use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::clock::{Clock, UnixNanos};
use crate::errors::error_chain;
use crate::plugin::{BoxError, Cause, Closing, Disconnect, FeedEvent, Scope, Source, SourceError};
use crate::stats::Stats;

/// For how long after the stop what the peer has already sent is still read.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// For how long a feed that is always ready goes on before others have their turn.
const TURN: Duration = Duration::from_millis(50);
/// Dropped messages are reported at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The network half of a pipeline.
pub(crate) struct Feed {
    pub(crate) source: Box<dyn Source>,
    pub(crate) producer: Producer,
    pub(crate) overflow: Overflow,
    pub(crate) stats: Arc<Stats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
    /// Whether this connection has brought data.
    pub(crate) data_seen: bool,
    /// Connections made so far, by all feeds of the pipeline.
    pub(crate) connections: Arc<AtomicU64>,
    /// What of the source it is.
    pub(crate) scope: Scope,
}

impl Feed {
    /// Runs until told to stop or the source ends, then returns; the queue may still hold
    /// batches.
    ///
    /// # Errors
    /// What the source calls fatal.
    pub(crate) async fn run(mut self) -> Result<(), BoxError> {
        let mut backoff = Backoff::default();
        let mut drops = Drops::default();
        loop {
            let begun = Instant::now();
            let received = self.stats.received.get();
            self.data_seen = false;
            let lost = match self.connection(&mut drops).await {
                Ok(()) => break,
                Err(SourceError::Ended) => {
                    self.stats.feed_ended(self.scope.feed);
                    break;
                }
                Err(SourceError::Fatal(error)) => {
                    let lost = Disconnect::new(Cause::Other, error_chain(&*error));
                    self.stats.disconnected(self.scope.feed, &lost, self.clock.now());
                    self.tell_down(&lost);
                    return Err(error);
                }
                Err(SourceError::Disconnected(lost)) => lost,
            };
            if self.producer.consumer_gone() {
                break;
            }
            let messages = self.stats.received.get() - received;
            if self.data_seen && lost.cause != Cause::Refused {
                backoff.worked(begun.elapsed());
            }
            let delay = backoff.next(lost.retry_after);
            self.report(&lost, begun.elapsed(), messages, delay);
            if self.stop.run_until_cancelled(sleep(delay)).await.is_none() {
                break;
            }
        }
        drops.report(true);
        Ok(())
    }

    /// One connection from its beginning to its end. `Ok` means that the recorder stops.
    async fn connection(&mut self, drops: &mut Drops) -> Result<(), SourceError> {
        let begun = Instant::now();
        match self.stop.run_until_cancelled(self.source.connect()).await {
            None => return Ok(()),
            Some(connected) => connected?,
        }
        self.stats.connected(self.scope.feed);
        let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let up = FeedEvent::Up { connection, scope: self.scope.clone() };
        self.producer.event(self.clock.now(), up);
        let took = begun.elapsed();
        info!(endpoint = %self.source.endpoint(), ?took, "connected");
        let mut turn = Instant::now();
        while !self.producer.consumer_gone() {
            let mut batch = self.producer.spare();
            match self.stop.run_until_cancelled(self.source.read(&mut batch)).await {
                None => {
                    self.drain(drops).await;
                    return Ok(());
                }
                Some(read) => {
                    self.tell_events();
                    read?;
                }
            }
            self.data_seen |= batch.has_data();
            self.deliver(batch, drops).await;
            // A feed that is always ready must not starve the status socket.
            tokio::task::consume_budget().await;
            if turn.elapsed() > TURN {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
        }
        Ok(())
    }

    /// Asks the peer to end and takes what it had sent by then.
    async fn drain(&mut self, drops: &mut Drops) {
        if self.source.close() == Closing::Done {
            return;
        }
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        loop {
            let mut batch = self.producer.spare();
            match timeout_at(deadline, self.source.read(&mut batch)).await {
                Ok(Ok(())) => self.deliver(batch, drops).await,
                Ok(Err(_)) | Err(_) => return,
            }
            // A source that is always ready leaves the timer no turn.
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    async fn deliver(&mut self, mut batch: Batch, drops: &mut Drops) {
        batch.set_received(self.clock.now());
        let messages = batch.len() as u64;
        self.stats.received.add(messages);
        self.stats.received_bytes.add(batch.as_lines().len() as u64);
        match self.overflow {
            Overflow::Block => self.producer.push(batch).await,
            Overflow::DropNewest => {
                if self.producer.try_push(batch).is_err() {
                    self.stats.dropped.add(messages);
                    drops.count += messages;
                }
                drops.report(false);
            }
        }
    }

    fn tell_events(&mut self) {
        for event in self.source.events() {
            self.producer.event(self.clock.now(), event);
        }
    }

    fn tell_down(&self, lost: &Disconnect) {
        let now = self.clock.now();
        let before = |silence: Duration| {
            let silence = u64::try_from(silence.as_nanos()).unwrap_or(u64::MAX);
            UnixNanos::new(now.nanos().saturating_sub(silence))
        };
        let (cause, detail) = (lost.cause, lost.detail.clone());
        let silent_since = lost.silent_for.map(before);
        let scope = self.scope.clone();
        self.producer.event(now, FeedEvent::Down { cause, detail, silent_since, scope });
    }

    fn report(&self, lost: &Disconnect, lasted: Duration, messages: u64, retry_in: Duration) {
        self.stats.disconnected(self.scope.feed, lost, self.clock.now());
        self.tell_down(lost);
        let endpoint = self.source.endpoint();
        let cause = lost.cause.as_str();
        // Debug quotes the server's words and escapes what a terminal would obey.
        let detail = &lost.detail;
        if lost.cause == Cause::Refused {
            // What a person must look at: waiting alone is unlikely to heal it.
            error!(%endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
        } else {
            warn!(%endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
        }
    }
}

/// Messages dropped and not yet spoken of.
#[derive(Default)]
struct Drops {
    count: u64,
    reported: Option<Instant>,
}

impl Drops {
    fn report(&mut self, at_once: bool) {
        let due = at_once || self.reported.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL);
        if self.count > 0 && due {
            warn!(messages = self.count, "buffer overflow: newest messages dropped");
            self.count = 0;
            self.reported = Some(Instant::now());
        }
    }
}
