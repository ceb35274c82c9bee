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
use super::labels::Labels;
use super::pulse::Pulse;
use super::queue::Producer;
use super::standing::Standing;
use super::twins::Twins;
use crate::batch::Batch;
use crate::clock::Clock;
use crate::plugin::{Disconnect, FeedEvent, Scope};
use crate::stats::Stats;

/// Dropped messages are reported at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of one source.
pub(crate) struct Group {
    pub(crate) producer: Producer,
    pub(crate) overflow: Overflow,
    pub(crate) labels: Labels,
    pub(crate) stats: Arc<Stats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
    /// Connections made so far, by all sources of the pipeline.
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) pulse: Arc<Pulse>,
    /// What of the source it is.
    pub(crate) scope: Scope,
    pub(crate) state: Mutex<State>,
    /// Held until a batch is in the queue, so that none overtakes another. Whoever waits for it is served
    /// in turn; nothing is waited for between the stamp of a batch and that.
    pub(crate) order: tokio::sync::Mutex<()>,
}

/// How it stands with the connections.
#[derive(Default)]
pub(crate) struct State {
    twins: Twins,
    /// Those that stand, by their numbers.
    standing: BTreeMap<usize, Standing>,
    /// Those that have come to their end, while all do.
    covers: Vec<Cover>,
    drops: Drops,
}

/// What a connection that has ended had seen to.
struct Cover {
    standing: Standing,
    from: Instant,
    /// `None` where nothing is in doubt.
    to: Option<Instant>,
}

impl State {
    /// Whether this comes over some connection.
    fn brings(&self, topic: &str) -> bool {
        self.standing.values().any(|standing| standing.brings(topic))
    }
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection is about to be made; gives its number.
    pub(super) fn join(&self) -> usize {
        self.state().twins.join(Instant::now())
    }

    /// A connection stands.
    pub(super) fn up(&self, number: usize) {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = self.state();
        state.twins.up(number);
        state.standing.insert(number, Standing::new(connection));
        self.stats.connects.add(1);
        self.stats.set_standing(self.scope.feed, state.standing.len());
    }

    /// From now on these topics come over it, too.
    pub(super) fn come(&self, number: usize, topics: Vec<String>) {
        if let Some(standing) = self.state().standing.get_mut(&number) {
            self.tell_coming(standing.connection, topics.iter());
            standing.comes(topics);
        }
    }

    /// All that it subscribes to is answered: what was not refused comes.
    pub(super) fn subscribed(&self, number: usize) {
        let mut state = self.state();
        let now = Instant::now();
        state.twins.subscribed(number, now);
        if let Some(standing) = state.standing.get_mut(&number) {
            standing.subscribed = Some(now);
            let rest = self.scope.topics.iter();
            let rest: Vec<_> = rest.filter(|topic| !standing.is_answered(topic)).cloned().collect();
            self.tell_coming(standing.connection, rest.iter());
            standing.comes(rest);
            self.tell_up(standing.connection);
            self.tell_absent(&mut state);
        }
    }

    /// The server is known to send what was subscribed to.
    pub(super) fn settled(&self, number: usize) {
        let mut state = self.state();
        state.twins.settled(number, Instant::now());
        if let Some(standing) = state.standing.get_mut(&number) {
            standing.settled = true;
        }
    }

    /// A connection is gone, or could not be made. Where no other has seen to it that nothing is
    /// missing, the sinks are told.
    pub(super) fn left(&self, number: usize, lost: &Disconnect) {
        let mut state = self.state();
        state.twins.leave(number);
        let stood = state.standing.remove(&number);
        self.stats.set_standing(self.scope.feed, state.standing.len());
        let silent_for = lost.silent_for.unwrap_or_default();
        let covers = |other: &Standing| stood.is_none() || other.covers(silent_for);
        let mut covered = state.standing.values().any(covers);
        let mut lost = lost.clone();
        if self.is_ending() {
            // At the end they leave one after the other: each covers those that leave later.
            let now = Instant::now();
            let since = now.checked_sub(silent_for).unwrap_or(now);
            for cover in state.covers.iter().filter(|cover| cover.from <= since) {
                covered |= cover.to.is_none();
                let doubtful = cover.to.map(|to| now - to);
                lost.silent_for = lost.silent_for.map(|own| doubtful.unwrap_or(own).min(own));
            }
            if let Some(standing) = stood.as_ref().filter(|standing| standing.covers(silent_for))
                && let Some(from) = standing.subscribed
            {
                state.covers.push(Cover { standing: standing.clone(), from, to: Some(since) });
            }
        }
        if covered {
            if let Some(stood) = stood {
                self.tell_orphans(&mut state, &stood, &lost);
            }
            return;
        }
        if let Some(stood) = stood.filter(|stood| stood.subscribed.is_none() && stood.data_seen) {
            // Some of what was missing may have come.
            let open = self.scope.topics.iter().filter(|topic| !stood.is_answered(topic));
            self.tell(FeedEvent::Unconfirmed { topics: open.cloned().collect() });
        }
        self.tell_down(&lost);
        for other in state.standing.values() {
            self.tell_coming(other.connection, other.coming.iter());
        }
        let whole = state.standing.values().find(|other| other.subscribed.is_some());
        if let Some(other) = whole {
            self.tell_up(other.connection);
            self.tell_absent(&mut state);
        }
    }

    /// Of which topics nothing comes though all is up, as far as that was not told.
    fn tell_absent(&self, state: &mut State) {
        let State { standing, .. } = state;
        if standing.values().flat_map(|it| it.absent.values()).all(|absence| absence.told) {
            return;
        }
        let brought: HashSet<String> =
            standing.values().flat_map(|it| it.coming.iter().cloned()).collect();
        for (topic, absence) in standing.values_mut().flat_map(|it| &mut it.absent) {
            if !absence.told && !brought.contains(topic) {
                absence.told = true;
                let (cause, detail) = (absence.cause, absence.detail.clone());
                let topic = topic.clone();
                self.tell(FeedEvent::TopicDown { topic, cause, detail, silent_for: None });
            }
        }
    }

    /// What only this connection is known to have brought is down, though others stand.
    fn tell_orphans(&self, state: &mut State, gone: &Standing, lost: &Disconnect) {
        let State { standing, covers, .. } = state;
        for topic in &gone.coming {
            let mut others = standing.values().chain(covers.iter().map(|cover| &cover.standing));
            if others.any(|other| other.brings(topic)) {
                continue;
            }
            let covers = covers.iter_mut().map(|cover| &mut cover.standing);
            let others = standing.values_mut().chain(covers);
            let (mut cause, mut detail) = (lost.cause, lost.detail.clone());
            for absence in others.filter_map(|other| other.absent.get_mut(topic)) {
                absence.told = true;
                (cause, detail) = (absence.cause, absence.detail.clone());
            }
            let (topic, silent_for) = (topic.clone(), lost.silent_for);
            self.tell(FeedEvent::TopicDown { topic, cause, detail, silent_for });
        }
    }

    /// A connection has come to its end as it should.
    pub(super) fn ended(&self, number: usize) {
        let mut state = self.state();
        state.twins.leave(number);
        let stood = state.standing.remove(&number);
        let trusted = stood.filter(|standing| standing.covers(Duration::ZERO));
        if let Some(standing) = trusted.filter(|_| self.is_ending())
            && let Some(from) = standing.subscribed
        {
            state.covers.push(Cover { standing, from, to: None });
        }
        self.stats.set_standing(self.scope.feed, state.standing.len());
    }

    /// Takes messages of a connection, read now, into the queue.
    pub(super) async fn deliver(&self, number: usize, mut batch: Batch, now: Instant) {
        batch.set_received(self.clock.now());
        let _in_order = self.order.lock().await;
        let paired = {
            let mut state = self.state();
            if let Some(standing) = state.standing.get_mut(&number) {
                standing.data_seen |= batch.has_data();
            }
            state.twins.filter(number, &mut batch, now)
        };
        self.stats.duplicates.add(paired.duplicates);
        self.stats.unpaired.add(paired.unpaired);
        if batch.is_empty() {
            self.producer.put_back(batch);
            return;
        }
        self.labels.number(&mut batch);
        let messages = batch.len() as u64;
        self.stats.received.add(messages);
        self.stats.received_bytes.add(batch.as_lines().len() as u64);
        match self.overflow {
            Overflow::Block => self.producer.push(batch).await,
            Overflow::DropNewest => {
                let dropped = self.producer.try_push(batch).is_err();
                let mut state = self.state();
                if dropped {
                    self.stats.dropped.add(messages);
                    state.drops.count += messages;
                }
                state.drops.report(false);
            }
        }
    }

    /// Whether no connection is to follow.
    pub(super) fn is_ending(&self) -> bool {
        self.stop.is_cancelled() || self.producer.is_refused()
    }

    /// Speaks of the drops that were not yet spoken of.
    pub(super) fn report_drops(&self) {
        self.state().drops.report(true);
    }

    /// Tells the sinks of something that happened to a connection. What does not come over it, and over
    /// another, is not lost.
    pub(super) fn tell_of(&self, number: usize, event: FeedEvent) {
        let mut state = self.state();
        let Some(standing) = state.standing.get_mut(&number) else { return self.tell(event) };
        if let FeedEvent::TopicDown { topic, cause, detail, .. } = &event {
            standing.brings_not(topic, *cause, detail);
            if state.brings(topic) {
                return;
            }
            let standing = state.standing.get_mut(&number);
            if let Some(absence) = standing.and_then(|standing| standing.absent.get_mut(topic)) {
                absence.told = true;
            }
        }
        self.tell(event);
    }

    fn tell(&self, event: FeedEvent) {
        self.producer.event(self.clock.now(), event);
    }

    fn tell_coming<'a>(&self, connection: u64, topics: impl Iterator<Item = &'a String>) {
        let topics: Arc<[String]> = topics.cloned().collect();
        if !topics.is_empty() {
            self.tell(FeedEvent::Subscribed { connection, topics });
        }
    }

    fn tell_up(&self, connection: u64) {
        self.tell(FeedEvent::Up { connection, scope: self.scope.clone() });
    }

    fn tell_down(&self, lost: &Disconnect) {
        let now = self.clock.now();
        let (cause, detail) = (lost.cause, lost.detail.clone());
        let silent_since = lost.silent_for.map(|silence| now.before(silence));
        let scope = self.scope.clone();
        self.producer.event(now, FeedEvent::Down { cause, detail, silent_since, scope });
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
