//! What the connections of a source share: the way into the queue, what comes twice, and when the
//! source is down.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Overflow;
use super::dedup::LineArbiter;
use super::live_connection::LiveConnection;
use super::queue::Producer;
use super::shared_labeler::SharedLabeler;
use super::stall_detector::StallDetector;
use crate::base::time::Clock;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{Disconnect, SourceEvent, SourceScope};

/// Dropped messages are reported at most this often.
const DROP_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of one source.
pub(crate) struct ConnectionGroup {
    pub(crate) producer: Producer,
    pub(crate) overflow: Overflow,
    pub(crate) labeler: SharedLabeler,
    pub(crate) stats: Arc<PipelineStats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
    /// Connections made so far, by all sources of the pipeline.
    pub(crate) connection_counter: Arc<AtomicU64>,
    pub(crate) stall_detector: Arc<StallDetector>,
    /// What of the source it is.
    pub(crate) scope: SourceScope,
    pub(crate) state: Mutex<GroupState>,
    /// Held until a batch is in the queue, so that none overtakes another. Whoever waits for it is served
    /// in turn; nothing is waited for between the stamp of a batch and that.
    pub(crate) delivery_order: tokio::sync::Mutex<()>,
}

/// How it stands with the connections.
#[derive(Default)]
pub(crate) struct GroupState {
    arbiter: LineArbiter,
    /// Those that stand, by their numbers.
    live_connections: BTreeMap<usize, LiveConnection>,
    /// Those that have come to their end, while all do.
    past_coverage: Vec<PastCoverage>,
    drop_log: DropLog,
}

/// What a connection that has ended had seen to.
struct PastCoverage {
    connection: LiveConnection,
    from: Instant,
    /// `None` where nothing is in doubt.
    until: Option<Instant>,
}

impl GroupState {
    /// Whether this comes over some connection.
    fn is_topic_active(&self, topic: &str) -> bool {
        self.live_connections.values().any(|standing| standing.is_active(topic))
    }
}

impl ConnectionGroup {
    fn lock_state(&self) -> MutexGuard<'_, GroupState> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is about to be made; gives its number.
    pub(super) fn add_connection(&self) -> usize {
        self.lock_state().arbiter.add_connection(Instant::now())
    }

    /// A connection stands.
    pub(super) fn on_connected(&self, number: usize) {
        let connection = self.connection_counter.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = self.lock_state();
        state.arbiter.mark_connected(number);
        state.live_connections.insert(number, LiveConnection::new(connection));
        self.stats.connects.add(1);
        self.stats.set_live_connections(self.scope.source_index, state.live_connections.len());
    }

    /// From now on these topics come over it, too.
    pub(super) fn on_topics_active(&self, number: usize, topics: Vec<String>) {
        if let Some(standing) = self.lock_state().live_connections.get_mut(&number) {
            self.send_topics_active(standing.id, topics.iter());
            standing.set_active(topics);
        }
    }

    /// All that it subscribes to is answered: what was not refused comes.
    pub(super) fn on_subscribed(&self, number: usize) {
        let mut state = self.lock_state();
        let now = Instant::now();
        state.arbiter.mark_subscribed(number, now);
        if let Some(standing) = state.live_connections.get_mut(&number) {
            standing.subscribed_at = Some(now);
            let rest = self.scope.topics.iter();
            let rest: Vec<_> =
                rest.filter(|topic| !standing.is_confirmed(topic)).cloned().collect();
            self.send_topics_active(standing.id, rest.iter());
            standing.set_active(rest);
            self.send_up(standing.id);
            self.report_rejected_topics(&mut state);
        }
    }

    /// The server is known to send what was subscribed to.
    pub(super) fn on_delivering(&self, number: usize) {
        let mut state = self.lock_state();
        state.arbiter.mark_delivering(number, Instant::now());
        if let Some(standing) = state.live_connections.get_mut(&number) {
            standing.is_delivering = true;
        }
    }

    /// A connection is gone, or could not be made. Where no other has seen to it that nothing is
    /// missing, the sinks are told.
    pub(super) fn on_lost(&self, number: usize, lost: &Disconnect) {
        let mut state = self.lock_state();
        state.arbiter.remove_connection(number);
        let stood = state.live_connections.remove(&number);
        self.stats.set_live_connections(self.scope.source_index, state.live_connections.len());
        let silent_for = lost.silent_for.unwrap_or_default();
        let covers = |other: &LiveConnection| stood.is_none() || other.has_covered(silent_for);
        let mut covered = state.live_connections.values().any(covers);
        let mut lost = lost.clone();
        if self.is_stopping() {
            // At the end they leave one after the other: each covers those that leave later.
            let now = Instant::now();
            let since = now.checked_sub(silent_for).unwrap_or(now);
            for cover in state.past_coverage.iter().filter(|cover| cover.from <= since) {
                covered |= cover.until.is_none();
                let doubtful = cover.until.map(|to| now - to);
                lost.silent_for = lost.silent_for.map(|own| doubtful.unwrap_or(own).min(own));
            }
            if let Some(standing) =
                stood.as_ref().filter(|standing| standing.has_covered(silent_for))
                && let Some(from) = standing.subscribed_at
            {
                state.past_coverage.push(PastCoverage {
                    connection: standing.clone(),
                    from,
                    until: Some(since),
                });
            }
        }
        if covered {
            if let Some(stood) = stood {
                self.report_uncovered_topics(&mut state, &stood, &lost);
            }
            return;
        }
        if let Some(stood) = stood.filter(|stood| stood.subscribed_at.is_none() && stood.has_data) {
            // Some of what was missing may have come.
            let open = self.scope.topics.iter().filter(|topic| !stood.is_confirmed(topic));
            self.send_event(SourceEvent::Unconfirmed { topics: open.cloned().collect() });
        }
        self.send_down(&lost);
        for other in state.live_connections.values() {
            self.send_topics_active(other.id, other.active_topics.iter());
        }
        let whole = state.live_connections.values().find(|other| other.subscribed_at.is_some());
        if let Some(other) = whole {
            self.send_up(other.id);
            self.report_rejected_topics(&mut state);
        }
    }

    /// Of which topics nothing comes though all is up, as far as that was not told.
    fn report_rejected_topics(&self, state: &mut GroupState) {
        let GroupState { live_connections: standing, .. } = state;
        if standing
            .values()
            .flat_map(|it| it.inactive_topics.values())
            .all(|absence| absence.is_reported)
        {
            return;
        }
        let brought: HashSet<String> =
            standing.values().flat_map(|it| it.active_topics.iter().cloned()).collect();
        for (topic, absence) in standing.values_mut().flat_map(|it| &mut it.inactive_topics) {
            if !absence.is_reported && !brought.contains(topic) {
                absence.is_reported = true;
                let (cause, detail) = (absence.cause, absence.detail.clone());
                let topic = topic.clone();
                self.send_event(SourceEvent::TopicDown { topic, cause, detail, silent_for: None });
            }
        }
    }

    /// What only this connection is known to have brought is down, though others stand.
    fn report_uncovered_topics(
        &self,
        state: &mut GroupState,
        gone: &LiveConnection,
        lost: &Disconnect,
    ) {
        let GroupState { live_connections: standing, past_coverage: covers, .. } = state;
        for topic in &gone.active_topics {
            let mut others = standing.values().chain(covers.iter().map(|cover| &cover.connection));
            if others.any(|other| other.is_active(topic)) {
                continue;
            }
            let covers = covers.iter_mut().map(|cover| &mut cover.connection);
            let others = standing.values_mut().chain(covers);
            let (mut cause, mut detail) = (lost.cause, lost.detail.clone());
            for absence in others.filter_map(|other| other.inactive_topics.get_mut(topic)) {
                absence.is_reported = true;
                (cause, detail) = (absence.cause, absence.detail.clone());
            }
            let (topic, silent_for) = (topic.clone(), lost.silent_for);
            self.send_event(SourceEvent::TopicDown { topic, cause, detail, silent_for });
        }
    }

    /// A connection has come to its end as it should.
    pub(super) fn on_closed(&self, number: usize) {
        let mut state = self.lock_state();
        state.arbiter.remove_connection(number);
        let stood = state.live_connections.remove(&number);
        let trusted = stood.filter(|standing| standing.has_covered(Duration::ZERO));
        if let Some(standing) = trusted.filter(|_| self.is_stopping())
            && let Some(from) = standing.subscribed_at
        {
            state.past_coverage.push(PastCoverage { connection: standing, from, until: None });
        }
        self.stats.set_live_connections(self.scope.source_index, state.live_connections.len());
    }

    /// Takes messages of a connection, read now, into the queue.
    pub(super) async fn deliver(&self, number: usize, mut batch: Batch, now: Instant) {
        batch.set_received(self.clock.now());
        let _in_order = self.delivery_order.lock().await;
        let paired = {
            let mut state = self.lock_state();
            if let Some(standing) = state.live_connections.get_mut(&number) {
                standing.has_data |= batch.has_data();
            }
            state.arbiter.remove_duplicates(number, &mut batch, now)
        };
        self.stats.duplicates.add(paired.duplicates);
        self.stats.unpaired.add(paired.unpaired);
        if batch.is_empty() {
            self.producer.recycle(batch);
            return;
        }
        self.labeler.assign_topic_ids(&mut batch);
        let messages = batch.len() as u64;
        self.stats.received.add(messages);
        self.stats.received_bytes.add(batch.as_lines().len() as u64);
        match self.overflow {
            Overflow::Block => self.producer.push(batch).await,
            Overflow::DropNewest => {
                let dropped = self.producer.try_push(batch).is_err();
                let mut state = self.lock_state();
                if dropped {
                    self.stats.dropped.add(messages);
                    state.drop_log.unlogged_messages += messages;
                }
                state.drop_log.log(false);
            }
        }
    }

    /// Whether no connection is to follow.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled() || self.producer.is_intake_stopped()
    }

    /// Speaks of the drops that were not yet spoken of.
    pub(super) fn log_drops(&self) {
        self.lock_state().drop_log.log(true);
    }

    /// Tells the sinks of something that happened to a connection. What does not come over it, and over
    /// another, is not lost.
    pub(super) fn on_source_event(&self, number: usize, event: SourceEvent) {
        let mut state = self.lock_state();
        let Some(standing) = state.live_connections.get_mut(&number) else {
            return self.send_event(event);
        };
        if let SourceEvent::TopicDown { topic, cause, detail, .. } = &event {
            standing.set_inactive(topic, *cause, detail);
            if state.is_topic_active(topic) {
                return;
            }
            let standing = state.live_connections.get_mut(&number);
            if let Some(absence) =
                standing.and_then(|standing| standing.inactive_topics.get_mut(topic))
            {
                absence.is_reported = true;
            }
        }
        self.send_event(event);
    }

    fn send_event(&self, event: SourceEvent) {
        self.producer.push_event(self.clock.now(), event);
    }

    fn send_topics_active<'a>(&self, connection: u64, topics: impl Iterator<Item = &'a String>) {
        let topics: Arc<[String]> = topics.cloned().collect();
        if !topics.is_empty() {
            self.send_event(SourceEvent::Subscribed { connection, topics });
        }
    }

    fn send_up(&self, connection: u64) {
        self.send_event(SourceEvent::Up { connection, scope: self.scope.clone() });
    }

    fn send_down(&self, lost: &Disconnect) {
        let now = self.clock.now();
        let (cause, detail) = (lost.cause, lost.detail.clone());
        let silent_since = lost.silent_for.map(|silence| now.saturating_sub(silence));
        let scope = self.scope.clone();
        self.producer.push_event(now, SourceEvent::Down { cause, detail, silent_since, scope });
    }
}

/// Messages dropped and not yet spoken of.
#[derive(Default)]
struct DropLog {
    unlogged_messages: u64,
    logged_at: Option<Instant>,
}

impl DropLog {
    fn log(&mut self, at_once: bool) {
        let due = at_once || self.logged_at.is_none_or(|at| at.elapsed() >= DROP_LOG_INTERVAL);
        if self.unlogged_messages > 0 && due {
            warn!(messages = self.unlogged_messages, "buffer overflow: newest messages dropped");
            self.unlogged_messages = 0;
            self.logged_at = Some(Instant::now());
        }
    }
}
