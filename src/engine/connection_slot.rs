//! Keeps one connection established: makes it again when it is lost, and replaces it before it is
//! known to end.
//!
//! A replacement is made beside the current connection. The current one is closed
//! [`OVERLAP_DURATION`] after the new one is [delivering](Milestone::Delivering), so that
//! neither messages in flight are lost nor those that a slower server of the same venue has yet to
//! send.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::connection_group::ConnectionGroup;
use super::connection_requests::ConnectionRequests;
use super::connection_task::ConnectionTask;
use super::ended_connection::{CloseOutcome, ConnectionSummary, EndedConnection};
use super::line_index::LineIndex;
use super::milestone::{Milestone, MilestoneNotice};
use super::overlap::{ASSUME_DELIVERING_AFTER, OVERLAP_DURATION};
use super::running_connection::{Role, RunningConnection, next_ended_connection};
use super::slot_deadlines::SlotDeadlines;
use super::slot_notice::{Adoption, SlotNotice, SourceChange};
use crate::base::backoff::Backoff;
use crate::base::error_chain::error_chain;
use crate::plugin::{
    BoxError, ConnectionPolicy, Disconnect, DownCause, ReconnectPolicy, Source, SourceError,
    TopicsOutcome,
};

/// Minimum time between two replacements, in case a server announces its end at every connect.
const MIN_REPLACE_INTERVAL: Duration = Duration::from_secs(10);

/// Room for the notices to a slot: each of its two connections has at most four.
const NOTICE_CAPACITY: usize = 16;

/// Keeps one connection of a group established.
pub(crate) struct ConnectionSlot {
    group: Arc<ConnectionGroup>,
    /// The source that further connections are duplicated from. It is never connected itself.
    template: Option<Box<dyn Source>>,
    /// The source that is connected next; `None` to duplicate the template.
    next_source: Option<Box<dyn Source>>,
    current: Option<RunningConnection>,
    /// The connection that is to replace the current one.
    replacement: Option<RunningConnection>,
    /// Set if the replacement is polled before the current connection at the next turn.
    poll_replacement_first: bool,
    deadlines: SlotDeadlines,
    /// Time at which the replacement is to be replaced in turn, since its server has announced its
    /// end.
    next_replace_at: Option<Instant>,
    max_age: Option<Duration>,
    /// Time by which the first connection is replaced earlier than `max_age`.
    age_offset: Duration,
    last_replacement: Option<Instant>,
    reconnect: ReconnectPolicy,
    backoff: Backoff,
    notice_sender: Sender<SlotNotice>,
    notice_receiver: Receiver<SlotNotice>,
    /// Topics that the source has since it was built, if they were changed.
    topics: Option<Arc<[String]>>,
    /// Number of sources that have taken the place of the first one.
    generation: u64,
    /// Set once no connection is needed any more.
    is_retired: bool,
}

/// Creates a slot for each connection that the source wants at once.
pub(super) fn build_slots(
    group: &Arc<ConnectionGroup>,
    source: Box<dyn Source>,
) -> Vec<ConnectionSlot> {
    let policy = source.connection_policy();
    let ConnectionPolicy { connections, max_age, .. } = policy;
    let mut sources = vec![source];
    while sources.len() < connections
        && let Some(duplicate) = sources.first().and_then(|source| source.duplicate())
    {
        sources.push(duplicate);
    }
    group.stats.set_expected_connections(group.scope().shard, sources.len());
    let count = u32::try_from(sources.len()).unwrap_or(u32::MAX);
    let build = |(position, source)| {
        // The offsets keep the connections from reaching their maximum age together.
        let age_offset = max_age.unwrap_or_default() * position / (2 * count);
        ConnectionSlot::new(Arc::clone(group), source, policy, age_offset)
    };
    (0..).zip(sources).map(build).collect()
}

impl ConnectionSlot {
    fn new(
        group: Arc<ConnectionGroup>,
        source: Box<dyn Source>,
        policy: ConnectionPolicy,
        age_offset: Duration,
    ) -> Self {
        let ConnectionPolicy { max_age, reconnect, .. } = policy;
        let (notice_sender, notice_receiver) = channel(NOTICE_CAPACITY);
        Self {
            group,
            template: source.duplicate(),
            next_source: Some(source),
            current: None,
            replacement: None,
            poll_replacement_first: false,
            deadlines: SlotDeadlines { connect: Some(Instant::now()), ..SlotDeadlines::default() },
            next_replace_at: None,
            max_age,
            age_offset,
            last_replacement: None,
            reconnect,
            backoff: Backoff::new(reconnect.first),
            notice_sender,
            notice_receiver,
            topics: None,
            generation: 0,
            is_retired: false,
        }
    }

    /// Returns the sender of notices to the slot.
    pub(super) fn notices(&self) -> Sender<SlotNotice> {
        self.notice_sender.clone()
    }

    /// Runs until the recorder stops or the source ends. The queue may then still hold batches.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] of the source, or no source is left to connect.
    pub(crate) async fn run(mut self) -> Result<(), BoxError> {
        let result = self.run_until_ended().await;
        self.group.log_drops();
        if self.is_retired {
            self.group.stats.remove_shard(self.group.scope().shard);
        }
        result
    }

    async fn run_until_ended(&mut self) -> Result<(), BoxError> {
        let mut intake_stopped = false;
        loop {
            let is_idle = self.current.is_none();
            if is_idle && (intake_stopped || self.is_retired || self.group.stop.is_cancelled()) {
                return Ok(());
            }
            let stop = self.group.stop.clone();
            let group = Arc::clone(&self.group);
            let deadline = self.deadlines.next();
            tokio::select! {
                // A connection that has ended is handled before its last events, which then find no
                // connection, and before a timer that might make the next one.
                biased;
                (role, ended) = next_ended_connection(
                    &mut self.current,
                    &mut self.replacement,
                    &mut self.poll_replacement_first,
                ) => {
                    if let Some(result) = self.on_connection_ended(role, ended) {
                        return result;
                    }
                }
                Some(notice) = self.notice_receiver.recv() => match notice {
                    SlotNotice::Milestone(notice) => self.on_milestone(notice),
                    SlotNotice::Adopt(adoption) => self.adopt(adoption),
                    SlotNotice::Retire => self.retire(),
                },
                () = stop.cancelled(), if is_idle => {}
                () = group.producer.intake_stopped(), if !intake_stopped => {
                    intake_stopped = true;
                    self.close_all();
                }
                () = sleep_until_some(deadline) => self.on_timer()?,
            }
        }
    }

    /// Closes both connections, and makes no other.
    fn close_all(&mut self) {
        self.deadlines = SlotDeadlines::default();
        for connection in self.current.iter().chain(&self.replacement) {
            connection.requests.close();
        }
    }

    /// Takes over another source: its topics only, where the connections can do that, or else by a
    /// new connection, before which no other is closed.
    fn adopt(&mut self, Adoption { source, change }: Adoption) {
        if self.is_retired {
            return;
        }
        let topics: Arc<[String]> = source.topics().into();
        if change == SourceChange::Topics && self.set_topics(&topics) {
            return;
        }
        let ConnectionPolicy { max_age, reconnect, .. } = source.connection_policy();
        self.max_age = max_age;
        if self.reconnect != reconnect {
            self.reconnect = reconnect;
            self.backoff = Backoff::new(reconnect.first);
        }
        self.template = source.duplicate();
        self.next_source = Some(source);
        self.topics = None;
        self.generation += 1;
        let now = Instant::now();
        if self.replacement.is_some() {
            // It is of the former source as well.
            self.next_replace_at = Some(now);
        } else if self.template.is_some() && self.current.is_some() {
            self.schedule_replacement("its configuration was changed");
        } else {
            self.deadlines.connect = Some(now);
            if let Some(current) = &self.current {
                current.requests.close();
                self.deadlines.connect = None;
            }
        }
    }

    /// Changes the topics of the source and of its connections. Returns whether they can do that.
    fn set_topics(&mut self, topics: &Arc<[String]>) -> bool {
        let Some(template) = &mut self.template else { return false };
        if template.set_topics(topics) == TopicsOutcome::NeedsConnection {
            return false;
        }
        self.topics = Some(Arc::clone(topics));
        if let Some(source) = self.next_source.take() {
            self.set_next_source(source);
        }
        let connections = self.current.iter().chain(&self.replacement);
        for connection in connections.filter(|other| other.generation == self.generation) {
            connection.requests.set_topics(Arc::clone(topics));
        }
        true
    }

    /// Makes this copy of the template the source of the next connection.
    fn set_next_source(&mut self, mut source: Box<dyn Source>) {
        // Otherwise the copy of the template that is made instead has the topics.
        let takes = |topics: &Arc<[String]>| source.set_topics(topics) == TopicsOutcome::Changed;
        if self.topics.as_ref().is_none_or(takes) {
            self.next_source = Some(source);
        }
    }

    /// Ends the connections, and then the slot.
    fn retire(&mut self) {
        self.is_retired = true;
        self.close_all();
    }

    fn on_timer(&mut self) -> Result<(), BoxError> {
        let now = Instant::now();
        let is_due = |deadline: &mut Option<Instant>| deadline.take_if(|at| *at <= now).is_some();
        if is_due(&mut self.deadlines.connect) {
            self.start_connection()?;
        }
        if is_due(&mut self.deadlines.replace) {
            self.schedule_replacement("it is as old as `max_connection_age` allows");
        }
        // The current connection may have been lost since.
        if is_due(&mut self.deadlines.retire)
            && let Some(current) = &self.current
        {
            current.requests.close();
        }
        Ok(())
    }

    /// Starts the current connection, or its replacement if there is one.
    ///
    /// # Errors
    /// No source is left to connect.
    fn start_connection(&mut self) -> Result<(), BoxError> {
        if self.group.producer.is_intake_stopped() {
            return Ok(());
        }
        let free = match (&self.current, &self.replacement) {
            (None, _) => &mut self.current,
            (Some(_), None) => &mut self.replacement,
            (Some(_), Some(_)) => {
                error!("internal error: a slot would make a third connection");
                return Ok(());
            }
        };
        let duplicate = || self.template.as_ref().and_then(|template| template.duplicate());
        let Some(source) = self.next_source.take().or_else(duplicate) else {
            if self.current.is_some() {
                error!("the connection is not replaced, because the source cannot be duplicated");
                return Ok(());
            }
            return Err("no source is left to connect".into());
        };
        let line = self.group.add_connection();
        let requests = ConnectionRequests::new(&self.group.stop);
        let notices = self.notice_sender.clone();
        let task = ConnectionTask::new(
            Arc::clone(&self.group),
            source,
            line,
            notices,
            Arc::clone(&requests),
        );
        *free = Some(RunningConnection {
            line,
            is_connected: false,
            generation: self.generation,
            requests,
            future: Box::pin(task.run()),
        });
        Ok(())
    }

    /// Schedules a replacement of the current connection, unless one is under way.
    fn schedule_replacement(&mut self, why: &str) {
        let is_replaceable = self.current.is_some() && self.template.is_some();
        let is_under_way = self.replacement.is_some() || self.deadlines.connect.is_some();
        if !is_replaceable || is_under_way {
            return;
        }
        info!(why, "the connection is replaced: another is made before it is closed");
        let now = Instant::now();
        let earliest = self.last_replacement.map_or(now, |before| before + MIN_REPLACE_INTERVAL);
        self.deadlines.connect = Some(earliest.max(now));
        self.last_replacement = self.deadlines.connect;
    }

    fn on_milestone(&mut self, MilestoneNotice { line, milestone }: MilestoneNotice) {
        let is_of = |connection: &Option<RunningConnection>| {
            connection.as_ref().is_some_and(|connection| connection.line == line)
        };
        let (role, connection) = if is_of(&self.current) {
            (Role::Current, &mut self.current)
        } else if is_of(&self.replacement) {
            (Role::Replacement, &mut self.replacement)
        } else {
            // The connection has ended since it sent the event.
            return;
        };
        let now = Instant::now();
        match (milestone, role) {
            (Milestone::Connected, _) => {
                if let Some(connection) = connection {
                    connection.is_connected = true;
                }
                if role == Role::Current {
                    self.schedule_age_replacement(now);
                }
            }
            (Milestone::Subscribed | Milestone::Delivering, Role::Current) => {}
            (Milestone::Subscribed, Role::Replacement) => {
                self.deadlines.retire.get_or_insert(now + ASSUME_DELIVERING_AFTER);
            }
            (Milestone::Delivering, Role::Replacement) => {
                self.deadlines.retire = Some(now + OVERLAP_DURATION);
            }
            (Milestone::CloseAnnounced, Role::Current) => {
                self.schedule_replacement("its server has announced that it will end it");
            }
            (Milestone::CloseAnnounced, Role::Replacement) => {
                self.next_replace_at = Some(now + MIN_REPLACE_INTERVAL);
            }
        }
    }

    /// Schedules the replacement of the current connection, whose age counts from `now` on.
    fn schedule_age_replacement(&mut self, now: Instant) {
        let age_offset = std::mem::take(&mut self.age_offset);
        let aged_at = self.max_age.map(|max_age| now + max_age.saturating_sub(age_offset));
        let announced = self.next_replace_at.take();
        self.deadlines.replace = [announced, aged_at].into_iter().flatten().min();
    }

    /// Handles the end of a connection. Returns the result of the slot if it ends, too.
    fn on_connection_ended(
        &mut self,
        role: Role,
        ended: EndedConnection,
    ) -> Option<Result<(), BoxError>> {
        self.deadlines.retire = None;
        let own = match role {
            Role::Current => &self.current,
            Role::Replacement => &self.replacement,
        };
        let is_up_to_date = own.as_ref().is_some_and(|own| own.generation == self.generation);
        match role {
            Role::Current => self.current = self.replacement.take(),
            Role::Replacement => {
                self.replacement = None;
                self.next_replace_at = None;
            }
        }
        let EndedConnection { line, source, summary, result } = ended;
        if self.is_retired {
            self.group.on_closed(line);
            return None;
        }
        let lost = match result {
            Ok(outcome) => {
                self.on_connection_closed(line, &summary, &outcome);
                return None;
            }
            Err(SourceError::Ended) => {
                self.group.on_closed(line);
                return Some(Ok(()));
            }
            Err(SourceError::Fatal(error)) => {
                let lost = Disconnect::new(DownCause::Other, error_chain(&*error));
                self.group.stats.record_disconnect(
                    lost.cause.as_str(),
                    &lost.detail,
                    self.group.clock.now(),
                );
                self.group.on_lost(line, &lost);
                return Some(Err(error));
            }
            Err(SourceError::Disconnected(lost)) => lost,
        };
        if summary.has_data && lost.cause != DownCause::Refused {
            self.backoff.record_success(summary.duration);
        }
        self.group.stats.record_disconnect(
            lost.cause.as_str(),
            &lost.detail,
            self.group.clock.now(),
        );
        self.group.on_lost(line, &lost);
        let is_replaced = role == Role::Current && self.current.is_some();
        let retry_in = (!is_replaced).then(|| {
            let pause = lost.retry_after.unwrap_or_default();
            self.backoff.next_delay_after(pause, self.reconnect.max_after(&lost))
        });
        log_disconnect(&source.endpoint(), &summary, &lost, retry_in);
        if let Some(delay) = retry_in {
            let next_connect = Instant::now() + delay;
            self.deadlines.connect = Some(next_connect);
            let shard = self.group.scope().shard;
            let cause = format!("{}: {}", lost.cause.as_str(), lost.detail);
            self.group.stats.set_next_connect(shard, next_connect, &cause);
        }
        if self.current.is_none() {
            if is_up_to_date {
                self.set_next_source(source);
            }
            self.deadlines.replace = None;
        } else if is_replaced {
            self.on_promoted();
        }
        None
    }

    /// Handles the end of a connection that the recorder closed.
    fn on_connection_closed(
        &mut self,
        line: LineIndex,
        summary: &ConnectionSummary,
        outcome: &CloseOutcome,
    ) {
        let (CloseOutcome::Clean(closed)
        | CloseOutcome::Delayed(closed)
        | CloseOutcome::Unacknowledged(closed)) = outcome;
        if !self.group.is_stopping() {
            self.group.on_lost(line, closed);
            self.group.stats.replaced.add(1);
            info!(lasted = ?summary.duration, "the connection is replaced");
            if self.current.is_none() {
                self.deadlines.connect = Some(Instant::now());
            }
            self.on_promoted();
        } else if matches!(outcome, CloseOutcome::Clean(_)) {
            self.group.on_closed(line);
        } else {
            self.group.on_lost(line, closed);
        }
    }

    /// Takes note that the replacement has become the current connection.
    fn on_promoted(&mut self) {
        if self.current.as_ref().is_some_and(|current| current.is_connected) {
            self.schedule_age_replacement(Instant::now());
        }
    }
}

async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

fn log_disconnect(
    endpoint: &str,
    summary: &ConnectionSummary,
    lost: &Disconnect,
    retry_in: Option<Duration>,
) {
    let cause = lost.cause.as_str();
    // Debug quotes the server's words and escapes what a terminal would obey.
    let detail = &lost.detail;
    let lasted = summary.duration;
    let messages = summary.messages;
    let retry_in = retry_in.unwrap_or_default();
    if lost.cause == DownCause::Refused {
        // A person must look at a refusal: waiting alone is unlikely to heal it.
        error!(endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
    } else {
        warn!(endpoint, cause, ?detail, ?lasted, messages, ?retry_in, "disconnected");
    }
}
