//! The task of one connection, from the connect to its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info};

use super::connection_group::ConnectionGroup;
use super::connection_requests::ConnectionRequests;
use super::ended_connection::{CloseOutcome, ConnectionSummary, EndedConnection};
use super::line_index::LineIndex;
use super::milestone::{Milestone, MilestoneNotice};
use super::slot_notice::SlotNotice;
use crate::plugin::batch::Batch;
use crate::plugin::{
    CloseStatus, ConnectionEvent, DETECTION_TOLERANCE, Disconnect, DownCause, Source, SourceError,
    Subscription, TopicsOutcome,
};

/// Longest time for which messages that the peer has already sent are read after a close.
const MAX_DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Time from the end of a connection to its notice that is not told.
const NOTICE_LATENCY: Duration = Duration::from_millis(5);
/// Time from the confirmation of a topic to its notice up to which the end of a gap is exact.
const CONFIRMATION_LATENCY: Duration = Duration::from_millis(25);
/// Time for which a connection that is always ready reads before it yields to other tasks.
const YIELD_INTERVAL: Duration = Duration::from_millis(50);

/// Returns the time for which a connection is drained when the recorder stops: the other half of
/// `shutdown_timeout` is for what was received.
pub(super) fn drain_timeout(shutdown_timeout: Duration) -> Duration {
    MAX_DRAIN_TIMEOUT.min(shutdown_timeout / 2)
}

/// The task of one connection. It runs once.
pub(super) struct ConnectionTask {
    group: Arc<ConnectionGroup>,
    source: Box<dyn Source>,
    line: LineIndex,
    notices: Sender<SlotNotice>,
    requests: Arc<ConnectionRequests>,
    summary: ConnectionSummary,
    /// News of the source that are not handled yet.
    events: Vec<ConnectionEvent>,
    /// The milestones of which the slot knows.
    reached: Vec<Milestone>,
    /// Time of the last sign of life.
    last_received: Instant,
    /// Time until which everything that had arrived is read.
    drained_at: Instant,
}

impl ConnectionTask {
    /// Creates the task of the connection on a line.
    pub(super) fn new(
        group: Arc<ConnectionGroup>,
        source: Box<dyn Source>,
        line: LineIndex,
        notices: Sender<SlotNotice>,
        requests: Arc<ConnectionRequests>,
    ) -> Self {
        Self {
            group,
            source,
            line,
            notices,
            requests,
            summary: ConnectionSummary::default(),
            events: Vec::new(),
            reached: Vec::new(),
            last_received: Instant::now(),
            drained_at: Instant::now(),
        }
    }

    /// Connects, reads until the connection ends or is closed, and returns the source.
    pub(super) async fn run(mut self) -> EndedConnection {
        let started = Instant::now();
        let result = self.run_connection().await;
        self.summary.duration = started.elapsed();
        EndedConnection { line: self.line, source: self.source, summary: self.summary, result }
    }

    async fn run_connection(&mut self) -> Result<CloseOutcome, SourceError> {
        let started = Instant::now();
        let close_token = self.requests.close_token();
        let subscription = match close_token.run_until_cancelled(self.source.connect()).await {
            None => return Ok(CloseOutcome::Clean(closed_by_recorder())),
            Some(connected) => connected?,
        };
        let connected_at = Instant::now();
        self.last_received = connected_at;
        self.drained_at = connected_at;
        let id = self.group.on_connected(self.line, self.source.topics());
        let took = connected_at - started;
        info!(endpoint = %self.source.endpoint(), ?took, "connected");
        self.send_notice(Milestone::Connected);
        if subscription == Subscription::Complete {
            self.on_event(ConnectionEvent::Subscribed);
        }
        let mut wake = self.requests.wake_token();
        let mut yielded_at = Instant::now();
        loop {
            let mut batch = self.group.producer.take_spare();
            match wake.run_until_cancelled(self.read(&mut batch)).await {
                None => {
                    let Some(topics) = self.requests.take_topics() else {
                        return Ok(self.close_and_drain().await);
                    };
                    wake = self.requests.wake_token();
                    self.set_topics(&topics);
                }
                Some(read) => {
                    if subscription == Subscription::Complete
                        && batch.has_data()
                        && !self.reached.contains(&Milestone::Delivering)
                    {
                        self.events.push(ConnectionEvent::Delivering);
                    }
                    self.handle_events();
                    read.map_err(|error| self.backdate(error))?;
                }
            }
            self.deliver(batch).await;
            // A server that is silent may be dead.
            self.group.read_frontiers.set(id, self.drained_at.min(self.last_heard()));
            // A connection that is always ready must not starve the status socket.
            tokio::task::consume_budget().await;
            if yielded_at.elapsed() > YIELD_INTERVAL {
                tokio::task::yield_now().await;
                yielded_at = Instant::now();
            }
        }
    }

    /// Changes the topics of the connection.
    fn set_topics(&mut self, topics: &[String]) {
        self.handle_events();
        match self.source.set_topics(topics) {
            TopicsOutcome::Changed => self.group.on_topics_changed(self.line, topics),
            TopicsOutcome::NeedsConnection => {
                error!("internal error: a connection does not take the topics that its copy took");
            }
        }
    }

    /// Reads a batch. If the read has to wait, everything that had arrived is read.
    async fn read(&mut self, batch: &mut Batch) -> Result<(), SourceError> {
        let ConnectionGroup { stall_detector, stats, clock, .. } = &*self.group;
        let undecodable = stats.undecodable.get();
        let mut read = self.source.read(batch, &mut self.events);
        let mut idle_at = None;
        let result = poll_fn(|cx| {
            let polled = read.as_mut().poll(cx);
            // A task without budget is pending although data may be ready.
            if polled.is_pending() && has_budget_remaining() {
                let now = Instant::now();
                stall_detector.record_idle_poll(now);
                idle_at = Some(now);
            }
            polled
        })
        .await;
        if let Some(idle_at) = idle_at {
            self.drained_at = stall_detector.drained_at(idle_at, Instant::now());
        }
        if stats.undecodable.get() > undecodable {
            // They may be those of another connection, which is then dated by this one as well.
            stats.undecodable_since.record(clock.now().saturating_sub(self.drained_at.elapsed()));
        }
        result
    }

    /// Dates the loss of a connection back to the time until which everything was read, if the loss
    /// was not noticed at once.
    fn backdate(&self, error: SourceError) -> SourceError {
        let unread_for = Some(self.drained_at.elapsed());
        let unread_for = unread_for.filter(|unread_for| *unread_for > NOTICE_LATENCY);
        match error {
            SourceError::Disconnected(lost) => {
                let silent_for = lost.silent_for.max(unread_for);
                SourceError::Disconnected(Disconnect { silent_for, ..lost })
            }
            other => other,
        }
    }

    /// Asks the peer to end the stream and reads what it had sent by then.
    async fn close_and_drain(&mut self) -> CloseOutcome {
        self.handle_events();
        self.last_received = self.last_heard();
        if self.source.close() == CloseStatus::Done {
            return CloseOutcome::Clean(closed_by_recorder());
        }
        let asked_at = Instant::now();
        let mut deadline = asked_at + MAX_DRAIN_TIMEOUT;
        let stop = self.group.stop.clone();
        let mut is_stopping = false;
        let unanswered = |detail| Some(Disconnect::new(DownCause::Idle, detail));
        let fault = loop {
            if !is_stopping && self.group.is_stopping() {
                // A connection that is being replaced has less time from the stop on.
                is_stopping = true;
                deadline = deadline.min(Instant::now() + self.group.drain_timeout);
            }
            let mut batch = self.group.producer.take_spare();
            let read = tokio::select! {
                biased;
                read = timeout_at(deadline, self.read(&mut batch)) => read,
                () = stop.cancelled(), if !is_stopping => continue,
            };
            self.handle_events();
            match read {
                Ok(Ok(())) => self.deliver(batch).await,
                Ok(Err(SourceError::Disconnected(lost))) => {
                    let is_orderly = matches!(
                        lost.cause,
                        DownCause::Closed | DownCause::Eof | DownCause::Exited
                    );
                    break (!is_orderly).then_some(lost);
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
        match fault {
            None => {
                let answered_in = asked_at.elapsed();
                let closed = closed_by_recorder().with_silent_for(answered_in);
                if answered_in > DETECTION_TOLERANCE {
                    CloseOutcome::Delayed(closed)
                } else {
                    CloseOutcome::Clean(closed)
                }
            }
            // The connection may have been dead for as long as it was silent. What arrived since
            // everything was read may be unread.
            Some(lost) => {
                let silent_since = self.last_received.min(self.drained_at);
                CloseOutcome::Unacknowledged(lost.with_silent_for(silent_since.elapsed()))
            }
        }
    }

    async fn deliver(&mut self, batch: Batch) {
        if batch.is_empty() {
            return self.group.producer.recycle(batch);
        }
        self.last_received = Instant::now();
        self.summary.has_data |= batch.has_data();
        self.summary.messages += batch.len() as u64;
        self.group.deliver(self.line, batch, self.last_received, self.drained_at).await;
    }

    /// Returns the time of the last sign of life.
    fn last_heard(&self) -> Instant {
        let silent_for = self.source.silent_for();
        let last_sign = silent_for.and_then(|silent| Instant::now().checked_sub(silent));
        last_sign.map_or(self.last_received, |last_sign| last_sign.max(self.last_received))
    }

    /// Handles what the source has learned.
    fn handle_events(&mut self) {
        if self.events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut self.events);
        let is_late = self.drained_at.elapsed() > CONFIRMATION_LATENCY;
        for event in events.drain(..) {
            let late_topics = match &event {
                ConnectionEvent::TopicsActive(topics) if is_late => Some(topics.clone()),
                ConnectionEvent::Subscribed if is_late => Some(self.source.topics().to_vec()),
                _ => None,
            };
            if let Some(topics) = late_topics {
                // They may have arrived at any time since everything was read.
                self.group.on_event(self.line, ConnectionEvent::Unconfirmed { topics });
            }
            self.on_event(event);
        }
        self.events = events;
    }

    /// Tells the group of an event, and the slot of a milestone, unless they know.
    fn on_event(&mut self, event: ConnectionEvent) {
        let milestone = match &event {
            ConnectionEvent::Subscribed => Some(Milestone::Subscribed),
            ConnectionEvent::Delivering => Some(Milestone::Delivering),
            ConnectionEvent::CloseAnnounced => Some(Milestone::CloseAnnounced),
            _ => None,
        };
        if milestone.is_some_and(|milestone| self.reached.contains(&milestone)) {
            return;
        }
        self.group.on_event(self.line, event);
        if let Some(milestone) = milestone {
            self.reached.push(milestone);
            self.send_notice(milestone);
        }
    }

    fn send_notice(&self, milestone: Milestone) {
        let notice = MilestoneNotice { line: self.line, milestone };
        match self.notices.try_send(SlotNotice::Milestone(notice)) {
            Ok(()) => {}
            Err(TrySendError::Closed(_)) => debug!(?notice, "the slot has ended"),
            // The channel has room for every event of the connections that a slot has at once.
            Err(TrySendError::Full(_)) => {
                error!(?notice, "internal error: a slot does not receive its events");
            }
        }
    }
}

fn closed_by_recorder() -> Disconnect {
    Disconnect::new(DownCause::Closed, "closed by the recorder")
}
