//! One connection from its beginning to its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::connection_group::ConnectionGroup;
use crate::plugin::batch::Batch;
use crate::plugin::{CloseStatus, Disconnect, DownCause, Source, SourceError};

/// For how long after the stop what the peer has already sent is still read.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// What is noticed within this is noticed at once.
pub(super) const DETECTION_TOLERANCE: Duration = Duration::from_millis(100);
/// For how long a connection that is always ready goes on before others have their turn.
const YIELD_INTERVAL: Duration = Duration::from_millis(50);

/// A connection, to be run once.
pub(super) struct ConnectionTask {
    pub(super) group: Arc<ConnectionGroup>,
    pub(super) source: Box<dyn Source>,
    /// Its number among those of the group.
    pub(super) index: usize,
    /// Told when it has come so far.
    pub(super) events: Sender<(usize, ConnectionEvent)>,
    /// Ends it: the recorder stops, or the connection is replaced.
    pub(super) close_token: CancellationToken,
    pub(super) summary: ConnectionSummary,
    /// When something last came.
    pub(super) last_received: Instant,
    /// Up to when all was read that had come.
    pub(super) drained_at: Instant,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionEvent {
    /// It stands.
    Connected,
    /// All that it subscribes to is answered.
    Subscribed,
    /// Its server is known to send what was subscribed to.
    Delivering,
    /// Its server has announced the end.
    CloseAnnounced,
}

/// What a connection has been.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one connection")]
pub(super) struct ConnectionSummary {
    pub(super) duration: Duration,
    pub(super) messages: u64,
    /// Whether it has brought data.
    pub(super) has_data: bool,
    is_subscribed: bool,
    is_delivering: bool,
    close_announced: bool,
}

/// A connection that has ended.
pub(super) struct EndedConnection {
    pub(super) index: usize,
    pub(super) source: Box<dyn Source>,
    pub(super) summary: ConnectionSummary,
    /// `Ok` when it was told to end.
    pub(super) result: Result<CloseOutcome, SourceError>,
}

/// How a connection was left that was told to end, and since when it brings nothing.
#[derive(Debug)]
pub(super) enum CloseOutcome {
    /// The server has answered: all that it had sent is there.
    Clean(Disconnect),
    /// It has not: something may be missing.
    Unacknowledged(Disconnect),
}

impl ConnectionTask {
    pub(super) async fn run(mut self) -> EndedConnection {
        let begun = Instant::now();
        let how = self.run_connection().await;
        self.summary.duration = begun.elapsed();
        EndedConnection {
            index: self.index,
            source: self.source,
            summary: self.summary,
            result: how,
        }
    }

    async fn run_connection(&mut self) -> Result<CloseOutcome, SourceError> {
        let begun = Instant::now();
        match self.close_token.run_until_cancelled(self.source.connect()).await {
            None => return Ok(CloseOutcome::Clean(closed_by_recorder())),
            Some(connected) => connected?,
        }
        (self.last_received, self.drained_at) = (Instant::now(), Instant::now());
        self.group.on_connected(self.index);
        let took = begun.elapsed();
        info!(endpoint = %self.source.endpoint(), ?took, "connected");
        self.send_event(ConnectionEvent::Connected);
        if self.source.is_subscribed() {
            self.mark_subscribed();
        }
        let end = self.close_token.clone();
        let mut turn = Instant::now();
        loop {
            let mut batch = self.group.producer.take_spare();
            match end.run_until_cancelled(self.read(&mut batch)).await {
                None => return Ok(self.close_and_drain().await),
                Some(read) => {
                    self.poll_source_state();
                    read.map_err(|error| self.backdate(error))?;
                }
            }
            self.deliver(batch).await;
            // A connection that is always ready must not starve the status socket.
            tokio::task::consume_budget().await;
            if turn.elapsed() > YIELD_INTERVAL {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
        }
    }

    /// Reads, and takes note of how far: a read that has to wait has all that had come.
    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let mut read = self.source.read(batch);
        let mut waited = false;
        let done = poll_fn(|cx| {
            let polled = read.as_mut().poll(cx);
            // A task that has had its turn may have to wait though something is there.
            waited |= polled.is_pending() && has_budget_remaining();
            polled
        })
        .await;
        if waited {
            self.drained_at = self.group.stall_detector.last_responsive(Instant::now());
        }
        done
    }

    /// Where the end was not seen at once, it may have come at any time since all had been read.
    fn backdate(&self, error: SourceError) -> SourceError {
        let behind = Some(self.drained_at.elapsed()).filter(|behind| *behind > DETECTION_TOLERANCE);
        match error {
            SourceError::Disconnected(lost) => {
                let silent_for = lost.silent_for.max(behind);
                SourceError::Disconnected(Disconnect { silent_for, ..lost })
            }
            other => other,
        }
    }

    /// Asks the peer to end and takes what it had sent by then.
    async fn close_and_drain(&mut self) -> CloseOutcome {
        self.poll_source_state();
        let now = Instant::now();
        let heard = self.source.silent_for().and_then(|silent| now.checked_sub(silent));
        self.last_received = self.last_received.max(heard.unwrap_or(self.last_received));
        if self.source.close() == CloseStatus::Done {
            return CloseOutcome::Clean(closed_by_recorder());
        }
        let begun = Instant::now();
        let deadline = begun + DRAIN_TIMEOUT;
        let unanswered = |detail| Some(Disconnect::new(DownCause::Idle, detail));
        let in_doubt = loop {
            let mut batch = self.group.producer.take_spare();
            let read = timeout_at(deadline, self.source.read(&mut batch)).await;
            self.poll_source_state();
            match read {
                Ok(Ok(())) => self.deliver(batch).await,
                Ok(Err(SourceError::Disconnected(lost))) => {
                    break (!matches!(
                        lost.cause,
                        DownCause::Closed | DownCause::Eof | DownCause::Exited
                    ))
                    .then_some(lost);
                }
                Ok(Err(_)) => break None,
                Err(_) => {
                    break unanswered(
                        "the server did not answer when the recorder closed the connection",
                    );
                }
            }
            // A source that is always ready leaves the timer no turn.
            if Instant::now() >= deadline {
                break unanswered("the server was still sending when the recorder stopped reading");
            }
        };
        match in_doubt {
            None => CloseOutcome::Clean(Disconnect {
                silent_for: Some(begun.elapsed()),
                ..closed_by_recorder()
            }),
            // It may have been dead for as long as it was silent.
            Some(lost) => CloseOutcome::Unacknowledged(Disconnect {
                silent_for: Some(self.last_received.elapsed()),
                ..lost
            }),
        }
    }

    async fn deliver(&mut self, batch: Batch) {
        if batch.is_empty() {
            return self.group.producer.recycle(batch);
        }
        self.last_received = Instant::now();
        self.summary.has_data |= batch.has_data();
        self.summary.messages += batch.len() as u64;
        self.group.deliver(self.index, batch, self.last_received).await;
    }

    /// Takes note of what the source has to tell beside messages.
    fn poll_source_state(&mut self) {
        for event in self.source.take_events() {
            self.group.on_source_event(self.index, event);
        }
        let topics = self.source.take_subscribed();
        if !topics.is_empty() {
            self.group.on_topics_active(self.index, topics);
        }
        if !self.summary.is_subscribed && self.source.is_subscribed() {
            self.mark_subscribed();
        }
        if !self.summary.is_delivering && self.source.is_delivering() {
            self.summary.is_delivering = true;
            self.group.on_delivering(self.index);
            self.send_event(ConnectionEvent::Delivering);
        }
        if !self.summary.close_announced && self.source.has_announced_close() {
            self.summary.close_announced = true;
            self.send_event(ConnectionEvent::CloseAnnounced);
        }
    }

    /// All that is subscribed to is answered.
    fn mark_subscribed(&mut self) {
        self.summary.is_subscribed = true;
        self.group.on_subscribed(self.index);
        self.send_event(ConnectionEvent::Subscribed);
    }

    fn send_event(&self, what: ConnectionEvent) {
        // Whoever made the connection outlives it, and listens.
        if self.events.try_send((self.index, what)).is_err() {
            debug!("nobody listens to a connection");
        }
    }
}

fn closed_by_recorder() -> Disconnect {
    Disconnect::new(DownCause::Closed, "closed by the recorder")
}
