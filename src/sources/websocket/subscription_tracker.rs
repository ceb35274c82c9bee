//! Minds the conversation on a connection: what is asked for, what the server says to that, and how
//! long nothing has come.

mod answers;
mod unconfirmed;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::request_builder::{RequestBuilder, render_message};
use super::rules::Rules;
use super::silence_monitor::SilenceMonitor;
use super::subscription_table::{ANSWER_TIMEOUT, SubscriptionState, SubscriptionTable};
use crate::base::json::Selector;
use crate::base::secrets::Secrets;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{Disconnect, DownCause, SourceEvent};

/// For how long after the connect messages are looked at for what they are.
const INSPECT_WINDOW: Duration = Duration::from_secs(60);
/// How many topics a line of the log names.
const MAX_LOGGED_TOPICS: usize = 10;

/// The number of the next connection.
static NEXT_CONNECTION_ID: AtomicU64 = AtomicU64::new(0);

/// What does not change from one connection to the next.
#[derive(Debug, Clone)]
pub(super) struct ProtocolSettings {
    pub(super) requests: RequestBuilder,
    pub(super) rules: Rules,
    pub(super) opening_messages: Vec<serde_json::Value>,
    /// Whether something is waited for before the first request.
    pub(super) welcome: Option<Rules>,
    pub(super) topics_per_request: usize,
    pub(super) request_interval: Duration,
    pub(super) topic_pointer: Option<Selector>,
    /// Whether control messages are left out (`control: "skip"`).
    pub(super) skip_control: bool,
    pub(super) silence_timeout: Option<Duration>,
    pub(super) topic_silence: Option<Duration>,
    /// A server may repeat what we sent it.
    pub(super) secrets: Secrets,
    /// The number of the connection among those that share the topics.
    pub(super) shard: usize,
}

/// Looks at messages while something depends on what they are, and no longer: what is received at
/// full speed is not looked at.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one connection")]
pub(super) struct SubscriptionTracker {
    settings: Arc<ProtocolSettings>,
    subscriptions: SubscriptionTable,
    /// The places of topics, while their data is looked for.
    topic_indexes: HashMap<String, usize>,
    /// Requests wait for the server's welcome until then.
    welcome_deadline: Option<Instant>,
    next_request_at: Instant,
    inspect_until: Instant,
    has_data: bool,
    /// Answers to messages that are sent as they are, and until when they are waited for.
    unanswered_messages: usize,
    message_answer_deadline: Option<Instant>,
    /// Messages that are no answers, and of no topic that was asked for.
    untagged_messages: u32,
    /// Confirmations that may be of what was said first.
    opening_answers: usize,
    is_fully_answered: bool,
    /// Whether the server has announced that it will end the connection.
    pub(super) close_announced: bool,
    /// Whether something happened that is to be told at once.
    has_notice: bool,
    /// Its number among all connections, for the status.
    connection_id: u64,
    silence: SilenceMonitor,
    /// What is to be sent.
    replies: Vec<String>,
    events: Vec<SourceEvent>,
    stats: Arc<PipelineStats>,
}

impl SubscriptionTracker {
    pub(super) fn new(manners: &Arc<ProtocolSettings>, stats: Arc<PipelineStats>) -> Self {
        let now = Instant::now();
        let conversation = &manners.requests;
        let topics = conversation.topics();
        let planned = conversation.group_topics(manners.topics_per_request);
        let places = topics.iter().enumerate().map(|(place, topic)| (topic.clone(), place));
        let unnamed = conversation.fixed_messages().len();
        let mut watch = Self {
            subscriptions: SubscriptionTable::new(topics.len(), planned),
            topic_indexes: places.collect(),
            welcome_deadline: manners.welcome.as_ref().map(|_| now + ANSWER_TIMEOUT),
            next_request_at: now,
            inspect_until: now + INSPECT_WINDOW,
            has_data: false,
            unanswered_messages: unnamed,
            message_answer_deadline: (unnamed > 0).then_some(now + ANSWER_TIMEOUT),
            untagged_messages: 0,
            opening_answers: manners.opening_messages.len(),
            is_fully_answered: false,
            close_announced: false,
            has_notice: false,
            connection_id: NEXT_CONNECTION_ID.fetch_add(1, Ordering::Relaxed),
            silence: SilenceMonitor::new(manners, now),
            replies: Vec::new(),
            events: Vec::new(),
            settings: Arc::clone(manners),
            stats,
        };
        if unnamed > 0 {
            watch.subscriptions.mark_all_requested();
        }
        watch.report_topic_states();
        watch
    }

    /// What is said first, before any request.
    pub(super) fn opening_messages(&self) -> Vec<String> {
        let opening =
            self.settings.opening_messages.iter().map(|message| render_message(message, 0));
        opening.chain(self.settings.requests.fixed_messages()).collect()
    }

    /// The next request, if one is due.
    pub(super) fn start_due_request(&mut self, now: Instant) -> Option<String> {
        if self.welcome_deadline.is_some() || now < self.next_request_at {
            return None;
        }
        let (id, places) = self.subscriptions.start_next_request(now)?;
        self.next_request_at = now + self.settings.request_interval;
        self.inspect_until = now + INSPECT_WINDOW;
        self.silence.arm_topics(&places, now);
        self.settings.requests.render_request(&places, id)
    }

    /// When the next request is due.
    pub(super) fn request_due_at(&self) -> Option<Instant> {
        let asks = self.subscriptions.has_planned() && self.welcome_deadline.is_none();
        asks.then_some(self.next_request_at)
    }

    /// When something is to be looked after next, requests aside.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let late =
            if self.is_fully_answered { None } else { self.subscriptions.next_answer_deadline() };
        [self.welcome_deadline, self.message_answer_deadline, late, self.silence.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what time asks for.
    pub(super) fn check_timeouts(&mut self, now: Instant) -> Result<(), Disconnect> {
        if self.welcome_deadline.is_some_and(|by| by <= now) {
            return Err(Disconnect::new(DownCause::Handshake, "the server did not greet"));
        }
        if !self.is_fully_answered
            && let Some(topics) = self.subscriptions.expire_requests(now)
        {
            self.mark_unconfirmed(&topics);
            self.check_fully_answered();
        }
        if self.message_answer_deadline.is_some_and(|by| by <= now) {
            (self.unanswered_messages, self.message_answer_deadline) = (0, None);
            let topics = self.subscriptions.assume_requested_active();
            self.mark_unconfirmed(&topics);
            if self.topic_indexes.is_empty() {
                self.events.push(SourceEvent::Unconfirmed { topics: Vec::new() });
            }
            self.check_fully_answered();
        }
        if let Some(places) = self.silence.check_deadlines(now)? {
            self.report_silent_topics(&places, now);
            // Messages that are sent as they are cannot be made of some of the topics.
            let messages = self.settings.requests.fixed_messages();
            if !messages.is_empty() {
                self.replies.extend(messages);
                self.message_answer_deadline = Some(now + ANSWER_TIMEOUT);
            }
            let groups = self.regroup(&places);
            self.is_fully_answered &= groups.is_empty();
            self.subscriptions.plan_resubscribe(groups);
        }
        Ok(())
    }

    /// Places in the groups in which they may be asked for.
    fn regroup(&self, places: &[usize]) -> Vec<Vec<usize>> {
        let topics = self.settings.requests.topics();
        let some = places.iter().filter_map(|place| topics.get(*place).cloned()).collect();
        let plan =
            self.settings.requests.with_topics(some).group_topics(self.settings.topics_per_request);
        let back = |group: Vec<usize>| {
            group.into_iter().filter_map(|index| places.get(index).copied()).collect()
        };
        plan.into_iter().map(back).collect()
    }

    /// Texts that are to be sent in answer.
    pub(super) fn take_replies(&mut self) -> Vec<String> {
        std::mem::take(&mut self.replies)
    }

    pub(super) fn take_events(&mut self) -> Vec<SourceEvent> {
        std::mem::take(&mut self.events)
    }

    /// Whether it is known of all topics whether they come; where there are none, whether anything does.
    pub(super) fn is_subscribed(&self) -> bool {
        self.subscriptions.is_fully_confirmed()
            && !self.subscriptions.is_fully_rejected()
            && (self.message_answer_deadline.is_none() || !self.topic_indexes.is_empty())
    }

    /// The topics of which that has become known, since this was last asked, and that do.
    pub(super) fn drain_newly_active(&mut self) -> Vec<String> {
        let topics = self.settings.requests.topics();
        let coming = self.subscriptions.drain_newly_active();
        coming.into_iter().filter_map(|place| topics.get(place).cloned()).collect()
    }

    /// Whether something is to be told at once.
    pub(super) fn has_notice(&self) -> bool {
        self.has_notice
    }

    /// Whether something is to be told though no message is there, since this was last asked.
    pub(super) fn take_notice(&mut self) -> bool {
        std::mem::take(&mut self.has_notice)
    }

    /// Whether the server is known to send what was asked for.
    pub(super) fn is_delivering(&self) -> bool {
        let confirmed = |standing: &SubscriptionState| *standing == SubscriptionState::Active;
        self.is_fully_answered
            && (self.has_data || self.subscriptions.states().iter().any(confirmed))
    }

    /// Counts the batch's control messages, leaves them out where they are not wanted, and finds
    /// answers. `Some` when the connection has no more use.
    pub(super) fn process_batch(&mut self, batch: &mut Batch) -> Option<Disconnect> {
        let now = Instant::now();
        let fresh = !self.has_data || !self.is_fully_answered || self.welcome_deadline.is_some();
        let open = !self.has_data || !self.subscriptions.is_fully_confirmed();
        let looked_at = fresh && now < self.inspect_until || open;
        let manners = Arc::clone(&self.settings);
        let silence = self.silence.is_enabled();
        if !looked_at && !manners.skip_control && !manners.rules.has_unsolicited && !silence {
            self.sample_batch(batch);
            return None;
        }
        let all = looked_at || manners.skip_control;
        let (mut control, mut over) = (0, None);
        let mut room = String::new();
        let mut look = |payload: &[u8]| {
            // Of many messages one is enough to know that data comes.
            let asked = all || (silence && !self.silence.has_recent_data(now));
            let rule = manners.rules.match_message(payload, asked);
            if let Some(welcome) =
                manners.welcome.as_ref().filter(|_| self.welcome_deadline.is_some())
                && welcome.match_message(payload, true).is_some()
            {
                self.welcome_deadline = None;
                self.next_request_at = now;
            }
            let Some(rule) = rule else {
                // What was not looked at may be a heartbeat.
                if asked {
                    self.on_data(payload, now, looked_at, &mut room);
                }
                return true;
            };
            control += 1;
            if let Some(lost) = self.on_answer(rule, payload, &mut room) {
                over.get_or_insert(lost);
            }
            false
        };
        if manners.skip_control {
            batch.retain(|record| look(record.payload));
            self.stats.control_skipped.add(control as u64);
        } else {
            for record in batch.records() {
                look(record.payload);
            }
            batch.set_control_count(control);
        }
        self.check_fully_answered();
        self.has_notice |= self.subscriptions.has_newly_active();
        over
    }

    /// While topics are unconfirmed a message of each batch is looked at: their data confirms them.
    fn sample_batch(&mut self, batch: &Batch) {
        if self.subscriptions.requested_count() == 0 {
            return;
        }
        let Some(pointer) = &self.settings.topic_pointer else { return };
        let mut room = String::new();
        let first = batch.records().next();
        let topic = first.and_then(|record| pointer.select(record.payload, &mut room));
        if let Some(place) = topic.and_then(|topic| self.topic_indexes.get(&*topic).copied())
            && self.subscriptions.record_data(place)
        {
            self.has_notice |= self.subscriptions.has_newly_active();
            self.report_topic_states();
        }
    }

    /// A message of data.
    fn on_data(&mut self, payload: &[u8], now: Instant, looked_at: bool, room: &mut String) {
        self.has_data = true;
        self.silence.record_data(now);
        if self.topic_indexes.is_empty() {
            self.message_answer_deadline = None;
        }
        if !looked_at && !self.silence.has_topic_timers() {
            return;
        }
        let pointer = self.settings.topic_pointer.as_ref();
        let topic = pointer.and_then(|pointer| pointer.select(payload, room));
        if let Some(place) = topic.and_then(|topic| self.topic_indexes.get(&*topic).copied()) {
            self.silence.record_topic_data(place, now);
            if looked_at && self.subscriptions.record_data(place) && self.is_fully_answered {
                self.report_topic_states();
            }
        } else if self.topic_indexes.len() == 1 {
            self.on_untagged_message();
        }
    }

    /// Tells how it stands when the last answer is in, or given up.
    fn check_fully_answered(&mut self) {
        if self.is_fully_answered
            || !self.subscriptions.is_fully_answered()
            || self.unanswered_messages > 0
        {
            return;
        }
        (self.is_fully_answered, self.has_notice) = (true, true);
        let rest = self.subscriptions.assume_requested_active();
        self.mark_unconfirmed(&rest);
        self.report_topic_states();
        let topics = self.settings.requests.topics();
        let standing = || topics.iter().zip(self.subscriptions.states());
        let asked = standing().filter(|(_, standing)| **standing == SubscriptionState::Requested);
        let unconfirmed: Vec<String> = asked.map(|(topic, _)| topic.clone()).collect();
        let confirmed =
            standing().filter(|(_, standing)| **standing == SubscriptionState::Active).count();
        if !unconfirmed.is_empty() {
            let some = unconfirmed.get(..MAX_LOGGED_TOPICS).unwrap_or(&unconfirmed);
            warn!(confirmed, unconfirmed = unconfirmed.len(), topics = ?some, "the server did not confirm these topics");
        } else if topics.len() > 1 {
            info!(confirmed, "all topics are answered");
        }
    }

    /// Tells the status how it stands.
    fn report_topic_states(&self) {
        let topics = self.settings.requests.topics();
        let standing = topics.iter().zip(self.subscriptions.states());
        self.stats.set_topic_replies(
            self.settings.shard,
            self.connection_id,
            standing.map(|(topic, standing)| {
                let standing = match standing {
                    SubscriptionState::Pending | SubscriptionState::Requested => None,
                    SubscriptionState::Active => Some(Ok(())),
                    SubscriptionState::Rejected(words) => Some(Err(words.clone())),
                };
                (topic.clone(), standing)
            }),
        );
    }
}

impl Drop for SubscriptionTracker {
    fn drop(&mut self) {
        self.stats.clear_topic_confirmations(self.settings.shard, self.connection_id);
    }
}
