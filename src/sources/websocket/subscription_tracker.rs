//! The conversation on a connection: the subscriptions, the server's answers to them, and silence.

mod event_queue;
mod fixed_message_answers;
mod topic_resolver;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use self::event_queue::EventQueue;
use self::fixed_message_answers::FixedMessageAnswers;
use self::topic_resolver::{TopicResolver, text_at};
use super::answer_rule::{AnswerRule, RuleAction};
use super::config::ControlMessages;
use super::protocol_settings::ProtocolSettings;
use super::quote::{mask_and_shorten, quote};
use super::request_id::RequestId;
use super::request_purpose::RequestPurpose;
use super::rules::{MAX_ANSWER_BYTES, RuleScope};
use super::silence_monitor::{RECENT, SilenceMonitor};
use super::subscription_table::{
    AnswerSubject, NOT_ACCEPTED, StartedRequest, SubscriptionState, SubscriptionTable,
};
use super::template::fill_placeholders;
use super::topic_vec::{TopicIndex, TopicVec};
use super::wire_message::{render_message, wire_text};
use crate::base::json::Pointer;
use crate::base::rate_limited_log::RateLimitedLog;
use crate::metrics::{PipelineStats, SubscriptionReply, TrackerId};
use crate::plugin::batch::Batch;
use crate::plugin::{ConnectionEvent, Disconnect, DownCause, Subscription};

/// Time after a connect or a request in which every message is examined.
const INSPECT_WINDOW: Duration = Duration::from_secs(60);
/// Time for which the server's welcome is awaited.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of topics in a line of the log.
const MAX_LOGGED_TOPICS: usize = 10;

/// Tracks the subscriptions of one connection.
///
/// Messages are examined only while the result matters: a connection that delivers at full speed is
/// not slowed down.
pub(super) struct SubscriptionTracker {
    settings: Arc<ProtocolSettings>,
    subscriptions: SubscriptionTable,
    resolver: TopicResolver,
    silence: SilenceMonitor,
    fixed_answers: FixedMessageAnswers,
    events: EventQueue,
    /// Messages that are to be sent.
    replies: Vec<String>,
    /// Time until which requests wait for the server's welcome.
    welcome_deadline: Option<Instant>,
    next_request_at: Instant,
    inspect_until: Instant,
    has_data: bool,
    /// Time of the last message that is known to be data.
    last_data: Option<Instant>,
    /// Number of messages of data that are not about one of the topics.
    untagged_messages: u32,
    /// Number of confirmations without a subject that can be answers to the opening messages.
    opening_answers: usize,
    /// Set once every request is answered or late.
    is_fully_answered: bool,
    close_announced: bool,
    notice_log: RateLimitedLog,
    refusal_log: RateLimitedLog,
    reported: ReportedSteps,
    /// Id of the connection in the status.
    id: TrackerId,
    stats: Arc<PipelineStats>,
}

/// The steps of a connection that are reported.
#[derive(Debug, Default)]
struct ReportedSteps {
    subscribed: bool,
    delivering: bool,
    close_announced: bool,
}

impl SubscriptionTracker {
    pub(super) fn new(settings: &Arc<ProtocolSettings>, stats: Arc<PipelineStats>) -> Self {
        let now = Instant::now();
        let requests = &settings.requests;
        let topics = requests.topics();
        let groups = requests.group_topics(
            topics.indexes(),
            settings.topics_per_request,
            RequestPurpose::Subscribe,
        );
        let fixed_answers = FixedMessageAnswers::new(requests.fixed_messages().len(), now);
        let mut subscriptions = SubscriptionTable::new(topics.len(), groups);
        if fixed_answers.has_outstanding() {
            subscriptions.mark_all_requested();
        }
        let tracker = Self {
            subscriptions,
            resolver: TopicResolver::new(topics, settings.topic_pointer.clone()),
            silence: SilenceMonitor::new(settings, now),
            fixed_answers,
            events: EventQueue::default(),
            replies: Vec::new(),
            welcome_deadline: settings.welcome.as_ref().map(|_| now + WELCOME_TIMEOUT),
            next_request_at: now,
            inspect_until: now + INSPECT_WINDOW,
            has_data: false,
            last_data: None,
            untagged_messages: 0,
            opening_answers: settings.opening_messages.len(),
            is_fully_answered: false,
            close_announced: false,
            notice_log: RateLimitedLog::default(),
            refusal_log: RateLimitedLog::default(),
            reported: ReportedSteps::default(),
            id: TrackerId::next(),
            settings: Arc::clone(settings),
            stats,
        };
        tracker.publish_topic_states();
        tracker
    }

    /// Returns the messages that are sent before any request.
    pub(super) fn opening_messages(&self) -> Vec<String> {
        let opening = self.settings.opening_messages.iter();
        let opening = opening.map(|message| render_message(message, RequestId::UNTRACKED));
        opening.chain(self.settings.requests.fixed_messages()).collect()
    }

    /// Starts the next request if it is due, and returns the message to send.
    pub(super) fn start_due_request(&mut self, now: Instant) -> Option<String> {
        if self.welcome_deadline.is_some() || now < self.next_request_at {
            return None;
        }
        let request = self.subscriptions.start_next_request(now)?;
        self.next_request_at = now + self.settings.request_interval;
        self.inspect_until = now + INSPECT_WINDOW;
        self.silence.arm_topics(&request.topics, now);
        let StartedRequest { id, topics, purpose } = request;
        Some(self.settings.requests.render_request(&topics, id, purpose))
    }

    /// Begins and ends subscriptions, so that the topics become those of `settings`.
    ///
    /// Topics that are removed keep their indexes: messages of them may be on their way.
    pub(super) fn set_topics(&mut self, settings: &ProtocolSettings, now: Instant) {
        let wanted = settings.requests.topics().as_slice();
        let kept: HashSet<&String> = wanted.iter().collect();
        let mut topics = self.topics().clone();
        let mut removed = Vec::new();
        for index in topics.indexes() {
            if !self.subscriptions.is_unsubscribed(index)
                && !kept.contains(&topics[index])
                && self.subscriptions.remove_topic(index)
            {
                removed.push(index);
            }
        }
        let mut added = Vec::new();
        for topic in wanted {
            match self.resolver.index_of(topic) {
                Some(index) if !self.subscriptions.is_unsubscribed(index) => {}
                Some(index) => added.push(self.subscriptions.add_topic(Some(index))),
                None => {
                    topics.push(topic.clone());
                    let index = self.subscriptions.add_topic(None);
                    self.resolver.add(topic.clone(), index);
                    added.push(index);
                }
            }
        }
        self.resolver.set_topic_count(wanted.len());
        let requests = settings.requests.with_topics(topics.as_slice().to_vec());
        let settings = Arc::new(ProtocolSettings { requests, ..settings.clone() });
        self.silence.on_topics_changed(&settings, &removed, now);
        self.settings = settings;
        info!(added = added.len(), removed = removed.len(), "topics of the connection changed");
        self.is_fully_answered &= added.is_empty();
        // First, in case that the server allows no more topics than there are.
        self.plan(removed, RequestPurpose::Unsubscribe);
        self.plan(added, RequestPurpose::Subscribe);
        self.check_fully_answered();
        self.publish_topic_states();
    }

    fn plan(&mut self, topics: Vec<TopicIndex>, purpose: RequestPurpose) {
        let max_topics = self.settings.topics_per_request;
        let groups = self.settings.requests.group_topics(topics.into_iter(), max_topics, purpose);
        self.subscriptions.plan(groups, purpose);
    }

    /// Returns the time at which the next request is due, if there is one.
    pub(super) fn request_due_at(&self) -> Option<Instant> {
        let has_request = self.subscriptions.has_planned() && self.welcome_deadline.is_none();
        has_request.then_some(self.next_request_at)
    }

    /// Returns the time at which [`Self::check_timeouts`] must be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let answer_deadline =
            if self.is_fully_answered { None } else { self.subscriptions.next_answer_deadline() };
        let deadlines = [
            self.welcome_deadline,
            self.fixed_answers.deadline(),
            answer_deadline,
            self.silence.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Gives up awaiting late answers, and plans to subscribe to silent topics again.
    ///
    /// # Errors
    /// The server sent no welcome, or no data after subscribing again.
    pub(super) fn check_timeouts(&mut self, now: Instant) -> Result<(), Disconnect> {
        if self.welcome_deadline.is_some_and(|deadline| deadline <= now) {
            let detail = format!("the server sent no welcome within {WELCOME_TIMEOUT:?}");
            return Err(Disconnect::new(DownCause::Handshake, detail));
        }
        if !self.is_fully_answered
            && let Some(topics) = self.subscriptions.expire_requests(now)
        {
            self.report_unconfirmed(&topics);
            self.report_unheard(&topics);
            self.check_fully_answered();
        }
        if self.fixed_answers.expire(now) {
            let topics = self.subscriptions.assume_requested_active();
            self.report_unconfirmed(&topics);
            self.report_unheard(&topics);
            if self.resolver.topic_count() == 0 {
                self.events.report_unconfirmed_connection();
            }
            self.check_fully_answered();
        }
        if let Some(topics) = self.silence.check_deadlines(now)? {
            self.resubscribe(&topics, now);
        }
        Ok(())
    }

    /// Plans to subscribe again: to these topics, or to all of them if the messages are fixed.
    fn resubscribe(&mut self, topics: &[TopicIndex], now: Instant) {
        self.report_silent(topics, now);
        let requests = &self.settings.requests;
        if requests.has_fixed_messages() {
            self.replies.extend(requests.fixed_messages());
            self.fixed_answers.await_again(now);
        }
        let max_topics = self.settings.topics_per_request;
        let topics = topics.iter().copied();
        let topics = topics.filter(|topic| !self.subscriptions.is_unsubscribed(*topic));
        let groups = requests.group_topics(topics, max_topics, RequestPurpose::Resubscribe);
        self.is_fully_answered &= groups.is_empty();
        self.subscriptions.plan_resubscribe(groups);
    }

    /// Drains the messages that are to be sent.
    pub(super) fn take_replies(&mut self) -> Vec<String> {
        std::mem::take(&mut self.replies)
    }

    /// Returns the state of the subscriptions right after the connect.
    pub(super) fn initial_subscription(&mut self) -> Subscription {
        self.reported.subscribed = self.is_subscribed();
        if self.reported.subscribed { Subscription::Complete } else { Subscription::Pending }
    }

    /// Moves the events since the last call to the end of `events`.
    pub(super) fn drain_events(&mut self, events: &mut Vec<ConnectionEvent>) {
        self.events.drain_into(events);
        let active = self.subscriptions.drain_newly_active();
        if !active.is_empty() {
            events.push(ConnectionEvent::TopicsActive(self.topic_names(&active)));
        }
        if !self.reported.subscribed && self.is_subscribed() {
            self.reported.subscribed = true;
            events.push(ConnectionEvent::Subscribed);
        }
        self.events.drain_doubts_into(events);
        if !self.reported.delivering && self.is_delivering() {
            self.reported.delivering = true;
            events.push(ConnectionEvent::Delivering);
        }
        if !self.reported.close_announced && self.close_announced {
            self.reported.close_announced = true;
            events.push(ConnectionEvent::CloseAnnounced);
        }
    }

    /// Returns whether the state of every topic is confirmed and not every topic is rejected.
    /// Without topics, returns whether the fixed messages are answered.
    fn is_subscribed(&self) -> bool {
        self.subscriptions.is_fully_confirmed()
            && !self.subscriptions.is_fully_rejected()
            && (self.fixed_answers.deadline().is_none() || self.resolver.topic_count() > 0)
    }

    /// Returns whether there is something to report although there may be no message.
    pub(super) fn has_notice(&self) -> bool {
        self.events.has_notice()
    }

    /// Like [`Self::has_notice`], and clears the notice.
    pub(super) fn take_notice(&mut self) -> bool {
        self.events.take_notice()
    }

    /// Returns whether the server is known to deliver the subscribed topics.
    fn is_delivering(&self) -> bool {
        let is_active = |state: &SubscriptionState| *state == SubscriptionState::Active;
        self.is_fully_answered
            && (self.has_data || self.subscriptions.states().iter().any(is_active))
    }

    /// Examines the messages of a batch: finds answers, and counts or removes control messages.
    ///
    /// Returns the cause if the connection is of no further use.
    pub(super) fn process_batch(&mut self, batch: &mut Batch) -> Option<Disconnect> {
        let now = Instant::now();
        let is_starting =
            !self.has_data || !self.is_fully_answered || self.welcome_deadline.is_some();
        let inspects_data = (is_starting && now < self.inspect_until)
            || !self.has_data
            || !self.subscriptions.is_fully_confirmed()
            || self.subscriptions.has_unheard();
        let settings = Arc::clone(&self.settings);
        let skips_control = settings.control == ControlMessages::Skip;
        if !inspects_data
            && !skips_control
            && !settings.rules.has_unsolicited()
            && self.has_recent_data(now)
        {
            self.sample_batch(batch);
            return None;
        }
        let inspects_all = inspects_data || skips_control;
        let mut control_count = 0;
        let mut disconnect = None;
        let mut scratch = String::new();
        let mut is_data = |payload: &[u8]| {
            // One message of many is enough to know that there is data.
            let is_inspected = inspects_all || !self.has_recent_data(now);
            let scope = if is_inspected { RuleScope::All } else { RuleScope::Unsolicited };
            let rule = settings.rules.match_message(payload, scope);
            if self.welcome_deadline.is_some()
                && payload.len() <= MAX_ANSWER_BYTES
                && settings.welcome.as_ref().is_some_and(|welcome| welcome.is_match(payload))
            {
                self.welcome_deadline = None;
                self.next_request_at = now;
            }
            let Some(rule) = rule else {
                // A message that matched no unsolicited rule may still be a heartbeat.
                if is_inspected {
                    self.on_data(payload, now, inspects_data, &mut scratch);
                }
                return true;
            };
            control_count += 1;
            if let Some(rejected) = self.on_answer(rule, payload, &mut scratch) {
                disconnect.get_or_insert(rejected);
            }
            false
        };
        if skips_control {
            batch.retain(|record| is_data(record.payload));
            self.stats.control_skipped.add(control_count as u64);
        } else {
            for record in batch.records() {
                is_data(record.payload);
            }
            batch.set_control_count(control_count);
        }
        self.check_fully_answered();
        self.notify_of_newly_active();
        disconnect
    }

    /// Returns whether a further message of data would change nothing, neither for the silence nor for
    /// the status, so that messages need not be examined.
    fn has_recent_data(&self, now: Instant) -> bool {
        self.last_data.is_some_and(|last| last + RECENT > now) && self.silence.has_recent_data(now)
    }

    /// Examines one message of the batch if topics wait for confirmation, which their data is.
    fn sample_batch(&mut self, batch: &Batch) {
        if !self.subscriptions.has_requested() {
            return;
        }
        let Some(first) = batch.records().next() else { return };
        let topic = self.resolver.topic_of_data(first.payload, &mut String::new());
        if let Some(topic) = topic
            && self.subscriptions.record_data(topic)
        {
            self.notify_of_newly_active();
            self.publish_topic_states();
        }
    }

    /// Records a message of data. `inspects_topic` says whether its topic matters.
    fn on_data(
        &mut self,
        payload: &[u8],
        now: Instant,
        inspects_topic: bool,
        scratch: &mut String,
    ) {
        self.has_data = true;
        self.last_data = Some(now);
        self.silence.record_data(now);
        if self.resolver.topic_count() == 0 {
            self.fixed_answers.record_data();
        }
        if !inspects_topic && !self.silence.has_topic_timers() {
            return;
        }
        if let Some(topic) = self.resolver.topic_of_data(payload, scratch) {
            if !self.subscriptions.is_unsubscribed(topic) {
                self.silence.record_topic_data(topic, now);
            }
            if inspects_topic && self.subscriptions.record_data(topic) && self.is_fully_answered {
                self.publish_topic_states();
            }
        } else if self.resolver.topic_count() == 1 {
            self.on_untagged_message();
        }
    }

    /// Records a message of data that names no topic, on a connection with a single topic.
    ///
    /// The first such message may be a greeting. From the second one on the topic is assumed to be
    /// active.
    fn on_untagged_message(&mut self) {
        self.untagged_messages = self.untagged_messages.saturating_add(1);
        if self.untagged_messages <= 1 {
            return;
        }
        self.subscriptions.hear_all();
        if !self.subscriptions.is_fully_confirmed() {
            let topics = self.subscriptions.assume_requested_active();
            self.report_unconfirmed(&topics);
        }
    }

    /// Handles a message that matches a rule. Returns the cause if the connection is of no further
    /// use.
    fn on_answer(
        &mut self,
        rule: &AnswerRule,
        payload: &[u8],
        scratch: &mut String,
    ) -> Option<Disconnect> {
        match &rule.action {
            RuleAction::Control => None,
            RuleAction::Notice => {
                let words = self.server_words(rule, payload);
                if let Some(times) = self.notice_log.record() {
                    warn!(?words, times, "the server announces the end of the connection");
                }
                self.close_announced = true;
                self.events.notify();
                None
            }
            RuleAction::Ping { reply } => {
                let value = |name: &str| {
                    let pointer = Pointer::parse(name).ok()?;
                    serde_json::from_slice(pointer.find(payload)?).ok()
                };
                self.replies.push(wire_text(&fill_placeholders(reply, &value)));
                None
            }
            RuleAction::Subscribed => {
                if self.fixed_answers.record_confirmation() {
                    self.subscriptions.assume_requested_active();
                }
                let subject = self.resolver.subject_of_answer(rule, payload, scratch);
                self.on_confirmation(&subject)
            }
            RuleAction::Refused => {
                let words = self.server_words(rule, payload);
                if self.subscriptions.states().is_empty() || self.subscriptions.is_fully_answered()
                {
                    return self.on_rejection_without_request(&words);
                }
                let subject = self.resolver.subject_of_answer(rule, payload, scratch);
                self.on_rejection(&subject, &words)
            }
        }
    }

    fn on_confirmation(&mut self, subject: &AnswerSubject) -> Option<Disconnect> {
        if *subject == AnswerSubject::OldestRequest && self.opening_answers > 0 {
            self.opening_answers -= 1;
            return None;
        }
        let rejected = self.subscriptions.confirm(subject);
        for topic in &rejected {
            self.report_rejected(*topic, NOT_ACCEPTED);
        }
        self.check_fully_rejected(NOT_ACCEPTED).filter(|_| !rejected.is_empty())
    }

    fn on_rejection(&mut self, subject: &AnswerSubject, words: &str) -> Option<Disconnect> {
        if let Some(topic) = self.subscriptions.reject(subject, words) {
            self.report_rejected(topic, words);
        } else {
            warn!(
                ?words,
                "the server refuses a request; its unconfirmed topics are requested again by halves"
            );
        }
        self.check_fully_rejected(words)
    }

    /// Handles a rejection while no request is open: it is for a fixed message, or for something
    /// else.
    fn on_rejection_without_request(&mut self, words: &str) -> Option<Disconnect> {
        if self.fixed_answers.record_rejection() {
            return Some(rejected_disconnect(words));
        }
        if let Some(times) = self.refusal_log.record() {
            warn!(?words, times, "the server refuses something that is not a subscription");
        }
        None
    }

    /// Returns the explanation in a message, or a quote of the message if it has none.
    fn server_words(&self, rule: &AnswerRule, payload: &[u8]) -> String {
        let words = rule.words.as_ref().and_then(|pointer| text_at(pointer, payload));
        let words = words.filter(|words| !words.is_empty());
        let words = words.map_or_else(|| quote(payload), |words| quote(words.as_bytes()));
        mask_and_shorten(&words, &self.settings.secrets)
    }

    /// Returns the cause for which the connection is of no use if every topic is rejected.
    fn check_fully_rejected(&self, words: &str) -> Option<Disconnect> {
        self.subscriptions.is_fully_rejected().then(|| rejected_disconnect(words))
    }

    /// Reports the result once every request is answered or late.
    fn check_fully_answered(&mut self) {
        if self.is_fully_answered
            || !self.subscriptions.is_fully_answered()
            || self.fixed_answers.has_outstanding()
        {
            return;
        }
        self.is_fully_answered = true;
        let assumed = self.subscriptions.assume_requested_active();
        self.report_unconfirmed(&assumed);
        self.publish_topic_states();
        self.log_topic_states();
    }

    fn log_topic_states(&self) {
        let states = self.subscriptions.states();
        let in_state = |state: SubscriptionState| {
            states.indexes().filter(move |topic| states[*topic] == state)
        };
        let confirmed = in_state(SubscriptionState::Active).count();
        let unconfirmed: Vec<_> = in_state(SubscriptionState::Requested).collect();
        if !unconfirmed.is_empty() {
            let logged: Vec<_> = unconfirmed.iter().take(MAX_LOGGED_TOPICS).copied().collect();
            let topics = self.topic_names(&logged);
            warn!(
                confirmed,
                unconfirmed = unconfirmed.len(),
                ?topics,
                "the server did not confirm these topics"
            );
        } else if states.len() > 1 {
            info!(confirmed, "all topics are answered");
        }
    }

    /// Publishes the state of each topic in the status.
    fn publish_topic_states(&self) {
        let topics = self.settings.requests.topics();
        let states = self.subscriptions.states();
        let replies = topics.iter().zip(states.iter()).filter_map(|(topic, state)| {
            let reply = match state {
                SubscriptionState::Pending | SubscriptionState::Requested => {
                    SubscriptionReply::Pending
                }
                SubscriptionState::Active => SubscriptionReply::Confirmed,
                SubscriptionState::Rejected(words) => SubscriptionReply::Refused(words.clone()),
                SubscriptionState::Unsubscribed => return None,
            };
            Some((topic.clone(), reply))
        });
        self.stats.set_topic_replies(self.settings.shard, self.id, replies);
    }

    fn notify_of_newly_active(&mut self) {
        if self.subscriptions.has_newly_active() {
            self.events.notify();
        }
    }

    fn report_rejected(&mut self, topic: TopicIndex, words: &str) {
        let topic = self.topics()[topic].clone();
        self.events.report_rejected(topic, words);
    }

    /// Reports topics that are assumed to be active without an answer of the server.
    fn report_unconfirmed(&mut self, topics: &[TopicIndex]) {
        let topics = self.topic_names(topics);
        self.events.report_unconfirmed(topics);
    }

    /// Reports those of the topics, just assumed to be active, of which neither a confirmation nor a
    /// message came, where the topic of a message can be told.
    fn report_unheard(&mut self, topics: &[TopicIndex]) {
        let names_topics = self.settings.topic_pointer.is_some();
        if (names_topics || self.resolver.topic_count() == 1) && self.untagged_messages <= 1 {
            let unheard = self.subscriptions.await_sign(topics);
            self.events.report_unheard(self.topic_names(&unheard));
        }
    }

    /// Reports topics that are silent: the server may have dropped their subscription.
    fn report_silent(&mut self, topics: &[TopicIndex], now: Instant) {
        for topic in self.subscriptions.clear_confirmed(topics.to_vec()) {
            let silent_for = self.silence.topic_silent_for(topic, now);
            let topic = self.topics()[topic].clone();
            self.events.report_silent(topic, silent_for);
        }
    }

    fn topics(&self) -> &TopicVec<String> {
        self.settings.requests.topics()
    }

    fn topic_names(&self, topics: &[TopicIndex]) -> Vec<String> {
        topics.iter().map(|topic| self.topics()[*topic].clone()).collect()
    }
}

impl Drop for SubscriptionTracker {
    fn drop(&mut self) {
        self.stats.clear_topic_confirmations(self.settings.shard, self.id);
    }
}

fn rejected_disconnect(words: &str) -> Disconnect {
    Disconnect::new(DownCause::Refused, format!("the server refused the subscription: {words}"))
}
