//! Keeps a connection standing: makes it again when it is lost, and replaces it in good time where it
//! is known to end.
//!
//! A replacement is made beside the connection that stands. That one is closed when the new one is
//! [settled](Told::Settled) and has gone on for a moment, so that neither what is on its way is lost
//! nor what a slower server of the same venue has yet to send.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::connection_group::ConnectionGroup;
use super::connection_task::{
    CloseOutcome, ConnectionEvent, ConnectionSummary, ConnectionTask, DETECTION_TOLERANCE,
    EndedConnection,
};
use crate::base::backoff::Backoff;
use crate::base::error_chain::error_chain;
use crate::plugin::{BoxError, ConnectionPolicy, Disconnect, DownCause, Source, SourceError};

/// A new connection of which nothing is known is trusted after this.
pub(super) const ASSUME_DELIVERING_AFTER: Duration = Duration::from_secs(30);
/// For how long both go on when the new one is settled.
pub(super) const OVERLAP_DURATION: Duration = Duration::from_secs(2);
/// The least time between two replacements, should a server announce its end at every connect.
const MIN_REPLACE_INTERVAL: Duration = Duration::from_secs(10);

/// Each connection says four words in its life, and there are two.
const EVENT_CAPACITY: usize = 16;

/// Keeps one connection of a group.
pub(crate) struct ConnectionSlot {
    group: Arc<ConnectionGroup>,
    /// What makes further connections; never connected itself.
    template: Option<Box<dyn Source>>,
    /// The source that is connected next.
    next_source: Option<Box<dyn Source>>,
    /// The connection, and behind it the one that is to replace it.
    connections: Vec<RunningConnection>,
    /// Which of them is looked at first.
    poll_first: usize,
    /// When a link is to be started.
    connect_at: Option<Instant>,
    /// When the first is to be replaced.
    replace_at: Option<Instant>,
    /// When the second is to be replaced, once it is the first: its server has announced its end.
    next_replace_at: Option<Instant>,
    /// When it is to be closed, since it is replaced.
    retire_at: Option<Instant>,
    /// The age at which a connection is replaced, and how much less that is for the first.
    max_age: Option<Duration>,
    age_offset: Duration,
    last_replacement: Option<Instant>,
    backoff: Backoff,
    event_sender: Sender<(usize, ConnectionEvent)>,
    event_receiver: Receiver<(usize, ConnectionEvent)>,
}

struct RunningConnection {
    index: usize,
    is_connected: bool,
    close_token: CancellationToken,
    future: Pin<Box<dyn Future<Output = EndedConnection> + Send>>,
}

/// As many feeds as the source wants connections at once.
pub(super) fn build_slots(group: ConnectionGroup, source: Box<dyn Source>) -> Vec<ConnectionSlot> {
    let ConnectionPolicy { connections, max_age } = source.connection_policy();
    let mut sources = vec![source];
    while sources.len() < connections
        && let Some(again) = sources.first().and_then(|source| source.duplicate())
    {
        sources.push(again);
    }
    group.stats.set_expected_connections(group.scope.source_index, sources.len());
    let group = Arc::new(group);
    let all = u32::try_from(sources.len()).unwrap_or(u32::MAX);
    let feed = |(place, source)| {
        // So that they do not all come of age at once.
        let head_start = max_age.unwrap_or_default() * place / (2 * all);
        ConnectionSlot::new(Arc::clone(&group), source, max_age, head_start)
    };
    (0..).zip(sources).map(feed).collect()
}

impl ConnectionSlot {
    fn new(
        group: Arc<ConnectionGroup>,
        source: Box<dyn Source>,
        max_age: Option<Duration>,
        head_start: Duration,
    ) -> Self {
        let (tell, told) = channel(EVENT_CAPACITY);
        Self {
            group,
            template: source.duplicate(),
            next_source: Some(source),
            connections: Vec::new(),
            poll_first: 0,
            connect_at: Some(Instant::now()),
            replace_at: None,
            next_replace_at: None,
            retire_at: None,
            max_age,
            age_offset: head_start,
            last_replacement: None,
            backoff: Backoff::default(),
            event_sender: tell,
            event_receiver: told,
        }
    }

    /// Runs until told to stop or the source ends, then returns; the queue may still hold
    /// batches.
    ///
    /// # Errors
    /// What the source calls fatal.
    pub(crate) async fn run(mut self) -> Result<(), BoxError> {
        let mut refused = false;
        loop {
            if self.connections.is_empty() && (refused || self.group.stop.is_cancelled()) {
                break;
            }
            let (stop, group) = (self.group.stop.clone(), Arc::clone(&self.group));
            let (idle, due) = (self.connections.is_empty(), self.next_deadline());
            tokio::select! {
                biased;
                ended = next_ended_connection(&mut self.connections, &mut self.poll_first) => {
                    if let Some(result) = self.on_connection_ended(ended) {
                        self.group.log_drops();
                        return result;
                    }
                }
                Some((number, told)) = self.event_receiver.recv() => self.on_connection_event(number, told),
                () = stop.cancelled(), if idle => {}
                () = group.producer.intake_stopped(), if !refused => {
                    refused = true;
                    (self.connect_at, self.replace_at, self.retire_at) = (None, None, None);
                    self.connections.iter().for_each(|link| link.close_token.cancel());
                }
                () = sleep_until_some(due) => self.on_timer(),
            }
        }
        self.group.log_drops();
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        [self.connect_at, self.replace_at, self.retire_at].into_iter().flatten().min()
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        if self.connect_at.is_some_and(|at| at <= now) {
            self.connect_at = None;
            self.start_connection();
        }
        if self.replace_at.is_some_and(|at| at <= now) {
            self.replace_at = None;
            self.schedule_replacement("it is as old as `max_connection_age` allows");
        }
        if self.retire_at.is_some_and(|at| at <= now) {
            self.retire_at = None;
            if let Some(first) = self.connections.first() {
                first.close_token.cancel();
            }
        }
    }

    fn start_connection(&mut self) {
        if self.group.producer.is_intake_stopped() {
            return;
        }
        let again = || self.template.as_ref().and_then(|seed| seed.duplicate());
        let Some(source) = self.next_source.take().or_else(again) else { return };
        let number = self.group.add_connection();
        let end = self.group.stop.child_token();
        let link = ConnectionTask {
            group: Arc::clone(&self.group),
            source,
            index: number,
            events: self.event_sender.clone(),
            close_token: end.clone(),
            summary: ConnectionSummary::default(),
            last_received: Instant::now(),
            drained_at: Instant::now(),
        };
        self.connections.push(RunningConnection {
            index: number,
            is_connected: false,
            close_token: end,
            future: Box::pin(link.run()),
        });
    }

    /// Sees to it that a second connection is made.
    fn schedule_replacement(&mut self, why: &str) {
        let pending = self.connections.len() != 1 || self.connect_at.is_some();
        if self.template.is_none() || pending {
            return;
        }
        info!(why, "the connection is replaced: another is made before it is closed");
        let now = Instant::now();
        let earliest = self.last_replacement.map_or(now, |before| before + MIN_REPLACE_INTERVAL);
        self.connect_at = Some(earliest.max(now));
        self.last_replacement = self.connect_at;
    }

    fn on_connection_event(&mut self, number: usize, told: ConnectionEvent) {
        let Some(place) = self.connections.iter().position(|link| link.index == number) else {
            return;
        };
        let now = Instant::now();
        match (told, place) {
            (ConnectionEvent::Connected, _) => {
                if let Some(link) = self.connections.get_mut(place) {
                    link.is_connected = true;
                }
                if place == 0 {
                    self.schedule_age_replacement(now);
                }
            }
            (ConnectionEvent::Subscribed | ConnectionEvent::Delivering, 0) => {}
            (ConnectionEvent::Subscribed, _) => {
                self.retire_at.get_or_insert(now + ASSUME_DELIVERING_AFTER);
            }
            (ConnectionEvent::Delivering, _) => self.retire_at = Some(now + OVERLAP_DURATION),
            (ConnectionEvent::CloseAnnounced, 0) => {
                self.schedule_replacement("its server announces its end")
            }
            // Its turn comes.
            (ConnectionEvent::CloseAnnounced, _) => {
                self.next_replace_at = Some(now + MIN_REPLACE_INTERVAL)
            }
        }
    }

    /// From now on it counts how old the first is.
    fn schedule_age_replacement(&mut self, now: Instant) {
        let age = self.max_age.map(|age| age.saturating_sub(std::mem::take(&mut self.age_offset)));
        let by_age = age.map(|age| now + age);
        self.replace_at = [self.next_replace_at.take(), by_age].into_iter().flatten().min();
    }

    /// A connection has ended. `Some` when the feed has, too.
    fn on_connection_ended(
        &mut self,
        (place, ended): (usize, EndedConnection),
    ) -> Option<Result<(), BoxError>> {
        self.connections.remove(place);
        self.retire_at = None;
        if place > 0 {
            self.next_replace_at = None;
        }
        let EndedConnection { index: number, source, summary: history, result: how } = ended;
        let lost = match how {
            Ok(left) if self.group.is_stopping() => {
                match left {
                    // It may have sent nothing more from the moment in which it was told to end.
                    CloseOutcome::Clean(left)
                        if left.silent_for.is_some_and(|it| it > DETECTION_TOLERANCE) =>
                    {
                        self.group.on_lost(number, &left);
                    }
                    CloseOutcome::Clean(_) => self.group.on_closed(number),
                    CloseOutcome::Unacknowledged(lost) => self.group.on_lost(number, &lost),
                }
                return None;
            }
            Ok(CloseOutcome::Clean(left) | CloseOutcome::Unacknowledged(left)) => {
                self.group.on_lost(number, &left);
                self.group.stats.replaced.add(1);
                info!(lasted = ?history.duration, "the connection is replaced");
                self.on_promoted();
                return None;
            }
            Err(SourceError::Ended) => {
                self.group.on_closed(number);
                return Some(Ok(()));
            }
            Err(SourceError::Fatal(error)) => {
                let lost = Disconnect::new(DownCause::Other, error_chain(&*error));
                self.group.stats.record_disconnect(&lost, self.group.clock.now());
                self.group.on_lost(number, &lost);
                return Some(Err(error));
            }
            Err(SourceError::Disconnected(lost)) => lost,
        };
        if history.has_data && lost.cause != DownCause::Refused {
            self.backoff.record_success(history.duration);
        }
        self.group.stats.record_disconnect(&lost, self.group.clock.now());
        self.group.on_lost(number, &lost);
        let replaced = place == 0 && !self.connections.is_empty();
        let retry_in = (!replaced).then(|| self.backoff.next_delay(lost.retry_after));
        log_disconnect(&source.endpoint(), &history, &lost, retry_in);
        if let Some(delay) = retry_in {
            self.connect_at = Some(Instant::now() + delay);
        }
        if self.connections.is_empty() {
            self.next_source = Some(source);
            self.replace_at = None;
        } else if replaced {
            self.on_promoted();
        }
        None
    }

    /// The second connection is now the first.
    fn on_promoted(&mut self) {
        if self.connections.first().is_some_and(|link| link.is_connected) {
            self.schedule_age_replacement(Instant::now());
        }
    }
}

/// Waits for the one that ends first. They take turns in being looked at first, so that none waits for
/// another that is always ready.
async fn next_ended_connection(
    links: &mut [RunningConnection],
    turn: &mut usize,
) -> (usize, EndedConnection) {
    poll_fn(|cx| {
        *turn = turn.wrapping_add(1);
        for step in 0..links.len() {
            let place = turn.wrapping_add(step) % links.len();
            if let Some(link) = links.get_mut(place)
                && let Poll::Ready(ended) = link.future.as_mut().poll(cx)
            {
                return Poll::Ready((place, ended));
            }
        }
        Poll::Pending
    })
    .await
}

async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn log_disconnect(
    endpoint: &str,
    history: &ConnectionSummary,
    lost: &Disconnect,
    retry_in: Option<Duration>,
) {
    let cause = lost.cause.as_str();
    // Debug quotes the server's words and escapes what a terminal would obey.
    let detail = &lost.detail;
    let ConnectionSummary { duration: lasted, messages, .. } = history;
    let retry_in = retry_in.unwrap_or_default();
    if lost.cause == DownCause::Refused {
        // What a person must look at: waiting alone is unlikely to heal it.
        error!(endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
    } else {
        warn!(endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
    }
}
