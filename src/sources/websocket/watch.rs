//! Minds the conversation on a connection: what is asked for, what the server says to that, and how
//! long nothing has come.

mod answers;
mod doubts;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::conversation::{Conversation, text_now};
use super::ledger::{ANSWER_TIME, Ledger, Standing};
use super::rules::Rules;
use super::silence::Silence;
use crate::batch::Batch;
use crate::json::Selector;
use crate::plugin::{Cause, Disconnect, FeedEvent};
use crate::secrets::Secrets;
use crate::stats::Stats;

/// For how long after the connect messages are looked at for what they are.
const LOOKED_AT: Duration = Duration::from_secs(60);
/// How many topics a line of the log names.
const NAMED: usize = 10;

/// The number of the next connection.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What does not change from one connection to the next.
#[derive(Debug, Clone)]
pub(super) struct Manners {
    pub(super) conversation: Conversation,
    pub(super) rules: Rules,
    pub(super) opening: Vec<serde_json::Value>,
    /// Whether something is waited for before the first request.
    pub(super) welcome: Option<Rules>,
    pub(super) topics_per_request: usize,
    pub(super) request_interval: Duration,
    pub(super) topic_pointer: Option<Selector>,
    /// Whether control messages are left out (`control: "skip"`).
    pub(super) skip: bool,
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
pub(super) struct Watch {
    manners: Arc<Manners>,
    ledger: Ledger,
    /// The places of topics, while their data is looked for.
    places: HashMap<String, usize>,
    /// Requests wait for the server's welcome until then.
    welcome_by: Option<Instant>,
    next_request: Instant,
    looked_at_until: Instant,
    data_seen: bool,
    /// Answers to messages that are sent as they are, and until when they are waited for.
    unnamed: usize,
    unnamed_by: Option<Instant>,
    /// Messages that are no answers, and of no topic that was asked for.
    strangers: u32,
    /// Confirmations that may be of what was said first.
    answers_to_opening: usize,
    settled: bool,
    /// Whether the server has announced that it will end the connection.
    pub(super) ending: bool,
    /// Whether something happened that is to be told at once.
    news: bool,
    /// Its number among all connections, for the status.
    number: u64,
    silence: Silence,
    /// What is to be sent.
    replies: Vec<String>,
    events: Vec<FeedEvent>,
    stats: Arc<Stats>,
}

impl Watch {
    pub(super) fn new(manners: &Arc<Manners>, stats: Arc<Stats>) -> Self {
        let now = Instant::now();
        let conversation = &manners.conversation;
        let topics = conversation.topics();
        let planned = conversation.plan(manners.topics_per_request);
        let places = topics.iter().enumerate().map(|(place, topic)| (topic.clone(), place));
        let unnamed = conversation.messages().len();
        let mut watch = Self {
            ledger: Ledger::new(topics.len(), planned),
            places: places.collect(),
            welcome_by: manners.welcome.as_ref().map(|_| now + ANSWER_TIME),
            next_request: now,
            looked_at_until: now + LOOKED_AT,
            data_seen: false,
            unnamed,
            unnamed_by: (unnamed > 0).then_some(now + ANSWER_TIME),
            strangers: 0,
            answers_to_opening: manners.opening.len(),
            settled: false,
            ending: false,
            news: false,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            silence: Silence::new(manners, now),
            replies: Vec::new(),
            events: Vec::new(),
            manners: Arc::clone(manners),
            stats,
        };
        if unnamed > 0 {
            watch.ledger.all_asked();
        }
        watch.tell_status();
        watch
    }

    /// What is said first, before any request.
    pub(super) fn opening(&self) -> Vec<String> {
        let opening = self.manners.opening.iter().map(|message| text_now(message, 0));
        opening.chain(self.manners.conversation.messages()).collect()
    }

    /// The next request, if one is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<String> {
        if self.welcome_by.is_some() || now < self.next_request {
            return None;
        }
        let (id, places) = self.ledger.ask(now)?;
        self.next_request = now + self.manners.request_interval;
        self.looked_at_until = now + LOOKED_AT;
        self.silence.asked(&places, now);
        self.manners.conversation.request(&places, id)
    }

    /// When the next request is due.
    pub(super) fn request_at(&self) -> Option<Instant> {
        let asks = self.ledger.has_planned() && self.welcome_by.is_none();
        asks.then_some(self.next_request)
    }

    /// When something is to be looked after next, requests aside.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let late = if self.settled { None } else { self.ledger.late_at() };
        [self.welcome_by, self.unnamed_by, late, self.silence.wake_at()].into_iter().flatten().min()
    }

    /// Does what time asks for.
    pub(super) fn on_time(&mut self, now: Instant) -> Result<(), Disconnect> {
        if self.welcome_by.is_some_and(|by| by <= now) {
            return Err(Disconnect::new(Cause::Handshake, "the server did not greet"));
        }
        if !self.settled
            && let Some(topics) = self.ledger.give_up(now)
        {
            self.in_doubt(&topics);
            self.settle_if_done();
        }
        if self.unnamed_by.is_some_and(|by| by <= now) {
            (self.unnamed, self.unnamed_by) = (0, None);
            let topics = self.ledger.asked_come();
            self.in_doubt(&topics);
            if self.places.is_empty() {
                self.events.push(FeedEvent::Unconfirmed { topics: Vec::new() });
            }
            self.settle_if_done();
        }
        if let Some(places) = self.silence.check(now)? {
            self.tell_silent(&places, now);
            // Messages that are sent as they are cannot be made of some of the topics.
            let messages = self.manners.conversation.messages();
            if !messages.is_empty() {
                self.replies.extend(messages);
                self.unnamed_by = Some(now + ANSWER_TIME);
            }
            let groups = self.regrouped(&places);
            self.settled &= groups.is_empty();
            self.ledger.plan_again(groups);
        }
        Ok(())
    }

    /// Places in the groups in which they may be asked for.
    fn regrouped(&self, places: &[usize]) -> Vec<Vec<usize>> {
        let topics = self.manners.conversation.topics();
        let some = places.iter().filter_map(|place| topics.get(*place).cloned()).collect();
        let plan = self.manners.conversation.of(some).plan(self.manners.topics_per_request);
        let back = |group: Vec<usize>| {
            group.into_iter().filter_map(|index| places.get(index).copied()).collect()
        };
        plan.into_iter().map(back).collect()
    }

    /// Texts that are to be sent in answer.
    pub(super) fn take_replies(&mut self) -> Vec<String> {
        std::mem::take(&mut self.replies)
    }

    pub(super) fn take_events(&mut self) -> Vec<FeedEvent> {
        std::mem::take(&mut self.events)
    }

    /// Whether it is known of all topics whether they come; where there are none, whether anything does.
    pub(super) fn is_subscribed(&self) -> bool {
        self.ledger.is_known()
            && !self.ledger.is_hopeless()
            && (self.unnamed_by.is_none() || !self.places.is_empty())
    }

    /// The topics of which that has become known, since this was last asked, and that do.
    pub(super) fn take_coming(&mut self) -> Vec<String> {
        let topics = self.manners.conversation.topics();
        let coming = self.ledger.take_coming();
        coming.into_iter().filter_map(|place| topics.get(place).cloned()).collect()
    }

    /// Whether something is to be told at once.
    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// Whether something is to be told though no message is there, since this was last asked.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether the server is known to send what was asked for.
    pub(super) fn is_settled(&self) -> bool {
        let confirmed = |standing: &Standing| *standing == Standing::Confirmed;
        self.settled && (self.data_seen || self.ledger.standing().iter().any(confirmed))
    }

    /// Counts the batch's control messages, leaves them out where they are not wanted, and finds
    /// answers. `Some` when the connection has no more use.
    pub(super) fn inspect(&mut self, batch: &mut Batch) -> Option<Disconnect> {
        let now = Instant::now();
        let fresh = !self.data_seen || !self.settled || self.welcome_by.is_some();
        let open = !self.data_seen || !self.ledger.is_known();
        let looked_at = fresh && now < self.looked_at_until || open;
        let manners = Arc::clone(&self.manners);
        let silence = self.silence.is_minded();
        if !looked_at && !manners.skip && !manners.rules.always && !silence {
            self.look_at_one(batch);
            return None;
        }
        let all = looked_at || manners.skip;
        let (mut control, mut over) = (0, None);
        let mut room = String::new();
        let mut look = |payload: &[u8]| {
            // Of many messages one is enough to know that data comes.
            let asked = all || (silence && !self.silence.heard_now(now));
            let rule = manners.rules.find(payload, asked);
            if let Some(welcome) = manners.welcome.as_ref().filter(|_| self.welcome_by.is_some())
                && welcome.find(payload, true).is_some()
            {
                self.welcome_by = None;
                self.next_request = now;
            }
            let Some(rule) = rule else {
                // What was not looked at may be a heartbeat.
                if asked {
                    self.data(payload, now, looked_at, &mut room);
                }
                return true;
            };
            control += 1;
            if let Some(lost) = self.answer(rule, payload, &mut room) {
                over.get_or_insert(lost);
            }
            false
        };
        if manners.skip {
            batch.retain(|record| look(record.payload));
            self.stats.control_skipped.add(control as u64);
        } else {
            for record in batch.records() {
                look(record.payload);
            }
            batch.set_control(control);
        }
        self.settle_if_done();
        self.news |= self.ledger.has_coming();
        over
    }

    /// While topics are unconfirmed a message of each batch is looked at: their data confirms them.
    fn look_at_one(&mut self, batch: &Batch) {
        if self.ledger.unconfirmed() == 0 {
            return;
        }
        let Some(pointer) = &self.manners.topic_pointer else { return };
        let mut room = String::new();
        let first = batch.records().next();
        let topic = first.and_then(|record| pointer.select(record.payload, &mut room));
        if let Some(place) = topic.and_then(|topic| self.places.get(&*topic).copied())
            && self.ledger.seen(place)
        {
            self.news |= self.ledger.has_coming();
            self.tell_status();
        }
    }

    /// A message of data.
    fn data(&mut self, payload: &[u8], now: Instant, looked_at: bool, room: &mut String) {
        self.data_seen = true;
        self.silence.heard(now);
        if self.places.is_empty() {
            self.unnamed_by = None;
        }
        if !looked_at && !self.silence.minds_topics() {
            return;
        }
        let pointer = self.manners.topic_pointer.as_ref();
        let topic = pointer.and_then(|pointer| pointer.select(payload, room));
        if let Some(place) = topic.and_then(|topic| self.places.get(&*topic).copied()) {
            self.silence.heard_of(place, now);
            if looked_at && self.ledger.seen(place) && self.settled {
                self.tell_status();
            }
        } else if self.places.len() == 1 {
            self.stranger();
        }
    }

    /// Tells how it stands when the last answer is in, or given up.
    fn settle_if_done(&mut self) {
        if self.settled || !self.ledger.is_settled() || self.unnamed > 0 {
            return;
        }
        (self.settled, self.news) = (true, true);
        let rest = self.ledger.asked_come();
        self.in_doubt(&rest);
        self.tell_status();
        let topics = self.manners.conversation.topics();
        let standing = || topics.iter().zip(self.ledger.standing());
        let asked = standing().filter(|(_, standing)| **standing == Standing::Asked);
        let unconfirmed: Vec<String> = asked.map(|(topic, _)| topic.clone()).collect();
        let confirmed =
            standing().filter(|(_, standing)| **standing == Standing::Confirmed).count();
        if !unconfirmed.is_empty() {
            let some = unconfirmed.get(..NAMED).unwrap_or(&unconfirmed);
            warn!(confirmed, unconfirmed = unconfirmed.len(), topics = ?some, "the server did not confirm these topics");
        } else if topics.len() > 1 {
            info!(confirmed, "all topics are answered");
        }
    }

    /// Tells the status how it stands.
    fn tell_status(&self) {
        let topics = self.manners.conversation.topics();
        let standing = topics.iter().zip(self.ledger.standing());
        self.stats.set_topics(
            self.manners.shard,
            self.number,
            standing.map(|(topic, standing)| {
                let standing = match standing {
                    Standing::Wanted | Standing::Asked => None,
                    Standing::Confirmed => Some(Ok(())),
                    Standing::Refused(words) => Some(Err(words.clone())),
                };
                (topic.clone(), standing)
            }),
        );
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stats.forget_topics(self.manners.shard, self.number);
    }
}
