//! The state that the connections of a source share: the way into the queue, the removal of
//! duplicates, and the knowledge of what is down.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::drop_log::DropLog;
use super::line_arbiter::LineArbiter;
use super::line_index::LineIndex;
use super::live_connection::{InactiveTopic, LiveConnection};
use super::overflow::Overflow;
use super::queue::{Producer, PushError};
use super::read_frontiers::ReadFrontiers;
use super::shared_labeler::SharedLabeler;
use super::stall_detector::StallDetector;
use crate::base::time::{Clock, Receipt, UnixNanos};
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{
    ConnectionEvent, ConnectionId, Disconnect, DownCause, SourceEvent, SourceScope,
};

/// The connections of one source.
pub(crate) struct ConnectionGroup {
    pub(crate) producer: Producer,
    pub(crate) overflow: Overflow,
    pub(crate) labeler: SharedLabeler,
    pub(crate) stats: Arc<PipelineStats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
    /// Longest time for which a connection is drained after the stop.
    pub(crate) drain_timeout: Duration,
    /// Number of connections that all sources of the pipeline have established.
    pub(crate) connection_counter: Arc<AtomicU64>,
    pub(crate) stall_detector: Arc<StallDetector>,
    pub(crate) read_frontiers: Arc<ReadFrontiers>,
    /// Time at which the stop closed the first connection of all sources of the pipeline.
    pub(crate) first_closed: Arc<OnceLock<UnixNanos>>,
    /// The part of the pipeline's source that this source is. A lock within which nothing is
    /// locked.
    pub(crate) scope: Mutex<SourceScope>,
    pub(crate) state: Mutex<GroupState>,
    /// Held from the time stamp of a batch until the batch is in the queue, so that no batch
    /// overtakes another. The lock is fair.
    pub(crate) delivery_order: tokio::sync::Mutex<()>,
}

/// The connections of a source, and what they have covered.
pub(crate) struct GroupState {
    arbiter: LineArbiter,
    live_connections: BTreeMap<LineIndex, LiveConnection>,
    /// Connections that were closed by the stop, while others still are.
    past_coverage: Vec<PastCoverage>,
    overflow_log: DropLog,
    /// Messages that arrive after the pipeline thread has ended.
    closed_log: DropLog,
}

/// The period that a closed connection has covered.
struct PastCoverage {
    connection: LiveConnection,
    from: Instant,
    /// `None` if the connection covered everything until it was closed.
    until: Option<Instant>,
}

impl Default for GroupState {
    fn default() -> Self {
        Self {
            arbiter: LineArbiter::default(),
            live_connections: BTreeMap::new(),
            past_coverage: Vec::new(),
            overflow_log: DropLog::new("buffer overflow: newest messages dropped"),
            closed_log: DropLog::new("the pipeline thread has ended: messages dropped"),
        }
    }
}

impl GroupState {
    /// Returns the connection of a line, on which it must have been established.
    fn connection_mut(&mut self, line: LineIndex) -> Option<&mut LiveConnection> {
        let connection = self.live_connections.get_mut(&line);
        if connection.is_none() {
            error!(?line, "internal error: an event of a connection that is not established");
        }
        connection
    }
}

impl ConnectionGroup {
    fn lock_state(&self) -> MutexGuard<'_, GroupState> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a group without connections, for another part of the same pipeline's source.
    pub(super) fn for_shard(&self, scope: SourceScope) -> Self {
        Self {
            producer: self.producer.clone(),
            overflow: self.overflow,
            labeler: self.labeler.clone(),
            stats: Arc::clone(&self.stats),
            clock: Arc::clone(&self.clock),
            stop: self.stop.clone(),
            drain_timeout: self.drain_timeout,
            connection_counter: Arc::clone(&self.connection_counter),
            stall_detector: Arc::clone(&self.stall_detector),
            read_frontiers: Arc::clone(&self.read_frontiers),
            first_closed: Arc::clone(&self.first_closed),
            scope: Mutex::new(scope),
            state: Mutex::default(),
            delivery_order: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the part of the pipeline's source that this source is.
    pub(super) fn scope(&self) -> SourceScope {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the topics of the source. The state of those that are gone is forgotten, so that nobody
    /// is told of them any more.
    pub(super) fn set_scope(&self, scope: SourceScope) {
        let wanted: HashSet<&String> = scope.topics.iter().collect();
        for connection in self.lock_state().live_connections.values_mut() {
            connection.retain_topics(|topic| wanted.contains(topic));
        }
        drop(wanted);
        *self.scope.lock().unwrap_or_else(PoisonError::into_inner) = scope;
    }

    /// Takes note that a connection has other topics.
    pub(super) fn on_topics_changed(&self, line: LineIndex, topics: &[String]) {
        if let Some(connection) = self.lock_state().connection_mut(line) {
            connection.topics = topics.into();
        }
    }

    /// Adds a line for a connection that is about to be made.
    pub(super) fn add_connection(&self) -> LineIndex {
        self.lock_state().arbiter.add_line(Instant::now())
    }

    /// Registers an established connection with these topics, and returns its number.
    pub(super) fn on_connected(&self, line: LineIndex, topics: &[String]) -> ConnectionId {
        // Relaxed: the counter orders nothing but itself.
        let id = ConnectionId::new(self.connection_counter.fetch_add(1, Ordering::Relaxed) + 1);
        let mut state = self.lock_state();
        state.arbiter.mark_connected(line);
        let activity = self.stats.add_connection(id, self.scope().shard);
        state.live_connections.insert(line, LiveConnection::new(id, topics, activity));
        self.stats.connects.add(1);
        self.record_live_connections(&state);
        self.read_frontiers.set(id, Instant::now());
        id
    }

    /// Handles what the source of a connection has learned.
    pub(super) fn on_event(&self, line: LineIndex, event: ConnectionEvent) {
        match event {
            ConnectionEvent::TopicsActive(topics) => self.on_topics_active(line, topics),
            ConnectionEvent::TopicDown { topic, cause, detail, silent_for } => {
                self.on_topic_down(line, topic, cause, detail, silent_for);
            }
            ConnectionEvent::Unconfirmed { topics } => {
                self.send_event(SourceEvent::Unconfirmed { topics });
            }
            ConnectionEvent::Subscribed => self.on_subscribed(line),
            ConnectionEvent::Delivering => self.on_delivering(line),
            // The slot replaces the connection.
            ConnectionEvent::CloseAnnounced => {}
        }
    }

    /// Marks topics as arriving over the connection.
    fn on_topics_active(&self, line: LineIndex, topics: Vec<String>) {
        if let Some(connection) = self.lock_state().connection_mut(line) {
            self.send_topics_active(connection.id, topics.iter());
            connection.set_active(topics);
        }
    }

    /// Marks all subscriptions of the connection answered: every topic arrives that was not
    /// refused.
    fn on_subscribed(&self, line: LineIndex) {
        let mut state = self.lock_state();
        let now = Instant::now();
        state.arbiter.mark_subscribed(line, now);
        if let Some(connection) = state.connection_mut(line) {
            connection.subscribed_at = Some(now);
            let open = connection.open_topics();
            self.send_topics_active(connection.id, open.iter());
            connection.set_active(open);
            self.send_up(connection.id);
            self.report_rejected_topics(&mut state);
        }
    }

    /// Marks the server of the connection as known to send the subscribed topics.
    fn on_delivering(&self, line: LineIndex) {
        let mut state = self.lock_state();
        state.arbiter.mark_delivering(line, Instant::now());
        if let Some(connection) = state.connection_mut(line) {
            connection.is_delivering = true;
        }
    }

    /// Removes a connection that is lost or could not be made. Sends the sinks a
    /// [`SourceEvent::Down`] unless another connection has covered the topics.
    pub(super) fn on_lost(&self, line: LineIndex, lost: &Disconnect) {
        let mut state = self.lock_state();
        // None if the connection could not be made.
        let gone = self.remove_connection(&mut state, line);
        let silent_for = lost.silent_for.unwrap_or_default();
        let covers = |other: &LiveConnection| gone.is_none() || other.has_covered(silent_for);
        let mut is_covered = state.live_connections.values().any(covers);
        let mut lost = lost.clone();
        if self.is_stopping() {
            // At the stop connections close one after the other. Each covers those that close
            // later.
            let now = Instant::now();
            let silent_since = now.checked_sub(silent_for).unwrap_or(now);
            for past in state.past_coverage.iter().filter(|past| past.from <= silent_since) {
                is_covered |= past.until.is_none();
                let uncovered = past.until.map(|until| now - until);
                lost.silent_for = lost.silent_for.map(|own| uncovered.unwrap_or(own).min(own));
            }
            if let Some(connection) = gone.as_ref().filter(|gone| gone.has_covered(silent_for))
                && let Some(from) = connection.subscribed_at
            {
                state.past_coverage.push(PastCoverage {
                    connection: connection.clone(),
                    from,
                    until: Some(silent_since),
                });
            }
        }
        if is_covered {
            if let Some(gone) = gone {
                self.report_uncovered_topics(&mut state, &gone, &lost);
            }
            return;
        }
        if let Some(gone) = gone.filter(|gone| gone.subscribed_at.is_none() && gone.has_data) {
            // Messages of topics whose subscription was not answered may have arrived.
            self.send_event(SourceEvent::Unconfirmed { topics: gone.open_topics() });
        }
        self.send_down(&lost);
        for other in state.live_connections.values() {
            self.send_topics_active(other.id, other.active_topics.iter());
        }
        let subscribed =
            state.live_connections.values().find(|other| other.subscribed_at.is_some());
        if let Some(other) = subscribed {
            self.send_up(other.id);
            self.report_rejected_topics(&mut state);
        }
    }

    /// Sends a [`SourceEvent::TopicDown`] for each topic that arrives over no connection, unless
    /// the sinks know.
    fn report_rejected_topics(&self, state: &mut GroupState) {
        let connections = &mut state.live_connections;
        let mut inactive = connections.values().flat_map(|it| it.inactive_topics.values());
        if inactive.all(|reason| reason.is_reported) {
            return;
        }
        let active: HashSet<String> =
            connections.values().flat_map(|it| it.active_topics.iter().cloned()).collect();
        for (topic, reason) in connections.values_mut().flat_map(|it| &mut it.inactive_topics) {
            if !reason.is_reported && !active.contains(topic) {
                reason.is_reported = true;
                self.send_event(SourceEvent::TopicDown {
                    topic: topic.clone(),
                    cause: reason.cause,
                    detail: reason.detail.clone(),
                    silent_for: None,
                });
            }
        }
    }

    /// Sends a [`SourceEvent::TopicDown`] for each topic that only the lost connection delivered.
    fn report_uncovered_topics(
        &self,
        state: &mut GroupState,
        gone: &LiveConnection,
        lost: &Disconnect,
    ) {
        let GroupState { live_connections, past_coverage, .. } = state;
        for topic in &gone.active_topics {
            let past = past_coverage.iter().map(|past| &past.connection);
            if live_connections.values().chain(past).any(|other| other.is_active(topic)) {
                continue;
            }
            let mut cause = lost.cause;
            let mut detail = &lost.detail;
            let past = past_coverage.iter_mut().map(|past| &mut past.connection);
            let others = live_connections.values_mut().chain(past);
            for reason in others.filter_map(|other| other.inactive_topics.get_mut(topic)) {
                reason.is_reported = true;
                cause = reason.cause;
                detail = &reason.detail;
            }
            self.send_event(SourceEvent::TopicDown {
                topic: topic.clone(),
                cause,
                detail: detail.clone(),
                silent_for: lost.silent_for,
            });
        }
    }

    /// Removes a connection that was closed in order.
    pub(super) fn on_closed(&self, line: LineIndex) {
        let mut state = self.lock_state();
        // None if the connection was still being made.
        let closed = self.remove_connection(&mut state, line);
        if closed.is_some() && self.is_stopping() {
            // Where the thread was held up, the server may have closed the connection at its start.
            let now = Instant::now();
            let alive_at = self.stall_detector.drained_at(now, now);
            let held_up = now.saturating_duration_since(alive_at);
            self.first_closed.get_or_init(|| self.clock.now().saturating_sub(held_up));
        }
        let trusted = closed.filter(|closed| closed.has_covered(Duration::ZERO));
        if let Some(connection) = trusted.filter(|_| self.is_stopping())
            && let Some(from) = connection.subscribed_at
        {
            state.past_coverage.push(PastCoverage { connection, from, until: None });
        }
    }

    /// Removes the connection of a line, and returns it if it was established.
    fn remove_connection(&self, state: &mut GroupState, line: LineIndex) -> Option<LiveConnection> {
        state.arbiter.remove_line(line);
        let removed = state.live_connections.remove(&line);
        self.record_live_connections(state);
        if let Some(connection) = &removed {
            self.read_frontiers.remove(connection.id);
            self.stats.remove_connection(connection.id);
        }
        removed
    }

    /// Puts messages of a connection that were read at `now` into the queue. Everything that had
    /// arrived by `drained_at` was read.
    pub(super) async fn deliver(
        &self,
        line: LineIndex,
        mut batch: Batch,
        now: Instant,
        drained_at: Instant,
    ) {
        let received = self.clock.now();
        let complete_until = received.saturating_sub(now.saturating_duration_since(drained_at));
        let receipt = Receipt { received, complete_until };
        batch.set_receipt(receipt);
        // Without a budget that may be spent, the first poll takes the place in line.
        let _in_order = tokio::task::unconstrained(self.delivery_order.lock()).await;
        let counts = {
            let mut state = self.lock_state();
            if let Some(connection) = state.connection_mut(line) {
                connection.has_data |= batch.has_data();
                connection.activity.record(now, batch.len() as u64, batch.control_count() as u64);
            }
            state.arbiter.remove_duplicates(line, &mut batch, now)
        };
        self.stats.duplicates.add(counts.duplicates);
        self.stats.unpaired.add(counts.unpaired);
        if batch.is_empty() {
            self.producer.recycle(batch);
            return;
        }
        self.labeler.assign_topic_ids(&mut batch);
        let messages = batch.len() as u64;
        self.stats.received.add(messages);
        self.stats.activity.record(now, messages, batch.control_count() as u64);
        self.stats.received_bytes.add(batch.as_lines().len() as u64);
        let pushed = match self.overflow {
            Overflow::Block => self.producer.push(batch).await.map_err(PushError::Closed),
            Overflow::DropNewest => self.producer.try_push(batch),
        };
        match pushed {
            // A log line that was too early for its turn may be due.
            Ok(()) if self.overflow == Overflow::DropNewest => {
                self.lock_state().overflow_log.log_due();
            }
            Ok(()) => {}
            Err(reason) => {
                self.stats.dropped_since.record(receipt.sent_since());
                self.stats.dropped.add(messages);
                let mut state = self.lock_state();
                let log = match reason {
                    PushError::Full(_) => &mut state.overflow_log,
                    PushError::Closed(_) => &mut state.closed_log,
                };
                log.record(messages);
                log.log_due();
            }
        }
    }

    /// Returns whether no further connection is to be made.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled() || self.producer.is_intake_stopped()
    }

    /// Logs the dropped messages that are not logged yet.
    pub(super) fn log_drops(&self) {
        let mut state = self.lock_state();
        state.overflow_log.log_now();
        state.closed_log.log_now();
    }

    /// Marks a topic as not arriving over the connection. Sends the sinks a
    /// [`SourceEvent::TopicDown`] unless another connection delivers it.
    fn on_topic_down(
        &self,
        line: LineIndex,
        topic: String,
        cause: DownCause,
        detail: String,
        silent_for: Option<Duration>,
    ) {
        let mut state = self.lock_state();
        let mut others = state.live_connections.iter().filter(|(other, _)| **other != line);
        let is_covered = others.any(|(_, connection)| connection.is_active(&topic));
        if let Some(connection) = state.connection_mut(line) {
            let reason = InactiveTopic { cause, detail: detail.clone(), is_reported: !is_covered };
            connection.set_inactive(&topic, reason);
        }
        if !is_covered {
            self.send_event(SourceEvent::TopicDown { topic, cause, detail, silent_for });
        }
    }

    fn record_live_connections(&self, state: &GroupState) {
        self.stats.set_live_connections(self.scope().shard, state.live_connections.len());
    }

    /// Sends the sinks an event, in its place behind the messages so far.
    fn send_event(&self, event: SourceEvent) {
        self.producer.push_event(self.clock.now(), event);
    }

    fn send_topics_active<'a>(
        &self,
        connection: ConnectionId,
        topics: impl Iterator<Item = &'a String>,
    ) {
        let topics: Arc<[String]> = topics.cloned().collect();
        if !topics.is_empty() {
            self.send_event(SourceEvent::Subscribed { connection, topics });
        }
    }

    fn send_up(&self, connection: ConnectionId) {
        self.send_event(SourceEvent::Up { connection, scope: self.scope() });
    }

    fn send_down(&self, lost: &Disconnect) {
        let now = self.clock.now();
        let event = SourceEvent::Down {
            cause: lost.cause,
            detail: lost.detail.clone(),
            silent_since: lost.silent_for.map(|silence| now.saturating_sub(silence)),
            scope: self.scope(),
        };
        self.producer.push_event(now, event);
    }
}
