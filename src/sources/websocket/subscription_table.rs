//! The requests of a connection and the state of its topics.
//!
//! A topic is *active* once the server confirmed it or sent data of it. Its state is *confirmed* once
//! it is active, rejected, or assumed to be active because the server does not answer.
//!
//! A connection is *fully confirmed* when this holds for all its topics, *fully answered* when no
//! answer is awaited any more (a late answer is given up), *fully rejected* when no topic is left,
//! and *delivering* when it is fully answered and data came or a topic is active.

mod answer_subject;
mod confirmed_topics;
mod subscription_state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

pub(super) use self::answer_subject::AnswerSubject;
use self::confirmed_topics::ConfirmedTopics;
pub(super) use self::subscription_state::SubscriptionState;
use super::request_id::RequestId;
use super::request_purpose::RequestPurpose;
use super::topic_vec::{TopicIndex, TopicVec};

/// Time for which an answer to a request is awaited.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Reason for the rejection of a topic that the server's list of accepted topics leaves out.
pub(super) const NOT_ACCEPTED: &str = "not among what was accepted";

/// The requests of a connection and the state of its topics.
#[derive(Debug)]
pub(super) struct SubscriptionTable {
    states: TopicVec<SubscriptionState>,
    confirmed: ConfirmedTopics,
    /// Topics of which neither a confirmation nor data came while an answer was awaited.
    unheard: BTreeSet<TopicIndex>,
    planned_groups: VecDeque<PlannedGroup>,
    /// Requests without an answer, in the order in which they were started.
    open_requests: BTreeMap<RequestId, SubscribeRequest>,
    next_request_id: RequestId,
}

/// A group of topics that is still to be requested.
#[derive(Debug)]
struct PlannedGroup {
    topics: Vec<TopicIndex>,
    purpose: RequestPurpose,
}

/// A request that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StartedRequest {
    pub(super) id: RequestId,
    /// Topics of the request, at least one.
    pub(super) topics: Vec<TopicIndex>,
    pub(super) purpose: RequestPurpose,
}

/// A request that was sent.
#[derive(Debug)]
struct SubscribeRequest {
    topics: Vec<TopicIndex>,
    sent_at: Instant,
    state: RequestState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestState {
    /// An answer is awaited.
    Open,
    /// No answer is awaited: there was data of all topics, the answer is late, or the request ends
    /// subscriptions. It is kept, so that its answer, if that has no number, is not taken for the
    /// answer to a later request.
    Resolved,
}

impl SubscribeRequest {
    /// Returns whether the request has the topic, and no topic that is still unanswered.
    fn is_answered_by(&self, topic: TopicIndex, states: &TopicVec<SubscriptionState>) -> bool {
        let is_unanswered = |topic: &TopicIndex| states[*topic] == SubscriptionState::Requested;
        self.topics.contains(&topic) && !self.topics.iter().any(is_unanswered)
    }
}

impl SubscriptionTable {
    /// Creates a table of topics that are all pending, to be requested in `groups`.
    pub(super) fn new(topic_count: usize, groups: Vec<Vec<TopicIndex>>) -> Self {
        let purpose = RequestPurpose::Subscribe;
        Self {
            states: TopicVec::filled(SubscriptionState::Pending, topic_count),
            confirmed: ConfirmedTopics::new(topic_count),
            unheard: BTreeSet::new(),
            planned_groups: groups
                .into_iter()
                .map(|topics| PlannedGroup { topics, purpose })
                .collect(),
            open_requests: BTreeMap::new(),
            next_request_id: RequestId::FIRST,
        }
    }

    /// Returns the state of each topic.
    pub(super) fn states(&self) -> &TopicVec<SubscriptionState> {
        &self.states
    }

    /// Starts the request for the next group, if there is one.
    ///
    /// Topics that were answered since the group was planned are left out. The answer to a request
    /// that ends subscriptions is not awaited: nothing follows from it, but that an answer without a
    /// number may be its own.
    pub(super) fn start_next_request(&mut self, now: Instant) -> Option<StartedRequest> {
        let mut topics = Vec::new();
        let mut purpose = RequestPurpose::Subscribe;
        while topics.is_empty() {
            let group = self.planned_groups.pop_front()?;
            topics = group.topics;
            purpose = group.purpose;
            topics.retain(|topic| match self.states[*topic] {
                SubscriptionState::Pending | SubscriptionState::Requested => {
                    purpose != RequestPurpose::Unsubscribe
                }
                SubscriptionState::Active => purpose == RequestPurpose::Resubscribe,
                SubscriptionState::Unsubscribed => purpose == RequestPurpose::Unsubscribe,
                SubscriptionState::Rejected(_) => false,
            });
        }
        let id = self.next_request_id;
        self.next_request_id = id.next();
        let is_expired = |request: &SubscribeRequest| {
            request.state == RequestState::Resolved && now - request.sent_at >= 2 * ANSWER_TIMEOUT
        };
        while self.open_requests.first_entry().is_some_and(|first| is_expired(first.get())) {
            self.open_requests.pop_first();
        }
        let request = if purpose == RequestPurpose::Unsubscribe {
            // Without topics: its answer must not confirm a topic that was added again meanwhile.
            SubscribeRequest { topics: Vec::new(), sent_at: now, state: RequestState::Resolved }
        } else {
            for topic in &topics {
                let state = &mut self.states[*topic];
                if *state == SubscriptionState::Pending {
                    *state = SubscriptionState::Requested;
                }
            }
            SubscribeRequest { topics: topics.clone(), sent_at: now, state: RequestState::Open }
        };
        self.open_requests.insert(id, request);
        Some(StartedRequest { id, topics, purpose })
    }

    /// Adds a topic that is pending, or makes one pending that was removed.
    pub(super) fn add_topic(&mut self, removed: Option<TopicIndex>) -> TopicIndex {
        let Some(topic) = removed else {
            self.confirmed.push();
            return self.states.push(SubscriptionState::Pending);
        };
        self.states[topic] = SubscriptionState::Pending;
        self.confirmed.clear_confirmed(topic);
        topic
    }

    /// Removes a topic, which keeps its index. Returns whether its subscription must be ended.
    pub(super) fn remove_topic(&mut self, topic: TopicIndex) -> bool {
        self.confirmed.set_inactive(topic);
        self.unheard.remove(&topic);
        let state = std::mem::replace(&mut self.states[topic], SubscriptionState::Unsubscribed);
        self.resolve_answered_requests(topic);
        matches!(state, SubscriptionState::Requested | SubscriptionState::Active)
    }

    /// Plans the requests that begin or end the subscriptions to groups of topics.
    pub(super) fn plan(&mut self, groups: Vec<Vec<TopicIndex>>, purpose: RequestPurpose) {
        let groups = groups.into_iter().map(|topics| PlannedGroup { topics, purpose });
        self.planned_groups.extend(groups);
    }

    /// Plans to request groups of topics again, although they may be active.
    pub(super) fn plan_resubscribe(&mut self, groups: Vec<Vec<TopicIndex>>) {
        let already_planned = self.planned_groups.len();
        for mut topics in groups {
            let is_planned = |topic: &TopicIndex| {
                let planned = self.planned_groups.iter().take(already_planned);
                planned.into_iter().any(|group| group.topics.contains(topic))
            };
            topics.retain(|topic| !is_planned(topic));
            if !topics.is_empty() {
                let purpose = RequestPurpose::Resubscribe;
                self.planned_groups.push_back(PlannedGroup { topics, purpose });
            }
        }
    }

    /// Returns whether there are topics that are still to be requested.
    pub(super) fn has_planned(&self) -> bool {
        !self.planned_groups.is_empty()
    }

    /// Marks all topics requested, by messages that have no number.
    pub(super) fn mark_all_requested(&mut self) {
        self.states.fill(SubscriptionState::Requested);
    }

    /// Assumes that the requested topics are active. Returns those that were unconfirmed before.
    pub(super) fn assume_requested_active(&mut self) -> Vec<TopicIndex> {
        let is_requested = |topic: &TopicIndex| match self.states[*topic] {
            SubscriptionState::Requested | SubscriptionState::Active => true,
            SubscriptionState::Pending
            | SubscriptionState::Rejected(_)
            | SubscriptionState::Unsubscribed => false,
        };
        let requested = self.states.indexes().filter(is_requested).collect();
        self.assume_active(requested)
    }

    /// Assumes that the topics are active. Returns those that were unconfirmed before.
    fn assume_active(&mut self, mut topics: Vec<TopicIndex>) -> Vec<TopicIndex> {
        topics.retain(|topic| {
            self.states[*topic] != SubscriptionState::Unsubscribed
                && self.confirmed.set_active(*topic)
        });
        topics
    }

    /// Returns those of the topics, just assumed to be active, of which neither a confirmation nor
    /// data came, and awaits the first of either.
    pub(super) fn await_sign(&mut self, topics: &[TopicIndex]) -> Vec<TopicIndex> {
        let is_unheard = |topic: &TopicIndex| self.states[*topic] == SubscriptionState::Requested;
        let unheard: Vec<_> = topics.iter().copied().filter(is_unheard).collect();
        self.unheard.extend(unheard.iter().copied());
        unheard
    }

    /// Returns whether a first sign of a topic is awaited.
    pub(super) fn has_unheard(&self) -> bool {
        !self.unheard.is_empty()
    }

    /// Ends the wait for a first sign of all topics, which came although it named none.
    pub(super) fn hear_all(&mut self) {
        for topic in std::mem::take(&mut self.unheard) {
            self.confirmed.reactivate(topic);
        }
    }

    /// Makes the state of the topics unconfirmed. Returns those that were confirmed to be active
    /// before; a rejected topic stays rejected.
    pub(super) fn clear_confirmed(&mut self, mut topics: Vec<TopicIndex>) -> Vec<TopicIndex> {
        topics.retain(|topic| {
            let state = &self.states[*topic];
            let is_wanted = !state.is_rejected() && *state != SubscriptionState::Unsubscribed;
            is_wanted && self.confirmed.clear_confirmed(*topic)
        });
        topics
    }

    /// Returns whether the state of every topic is confirmed.
    pub(super) fn is_fully_confirmed(&self) -> bool {
        self.confirmed.is_complete()
    }

    /// Returns whether topics became active since the last call of [`Self::drain_newly_active`].
    pub(super) fn has_newly_active(&self) -> bool {
        self.confirmed.has_newly_active()
    }

    /// Drains the topics that became active.
    pub(super) fn drain_newly_active(&mut self) -> Vec<TopicIndex> {
        self.confirmed.drain_newly_active()
    }

    /// Returns whether there are topics that are requested and not answered.
    pub(super) fn has_requested(&self) -> bool {
        self.states.iter().any(|state| *state == SubscriptionState::Requested)
    }

    /// Returns whether every topic is requested and every request resolved.
    pub(super) fn is_fully_answered(&self) -> bool {
        let is_resolved = |request: &SubscribeRequest| request.state == RequestState::Resolved;
        self.planned_groups.is_empty() && self.open_requests.values().all(is_resolved)
    }

    /// Returns whether there are topics and the server rejected all of them.
    pub(super) fn is_fully_rejected(&self) -> bool {
        let is_wanted = |state: &&SubscriptionState| **state != SubscriptionState::Unsubscribed;
        let mut wanted = self.states.iter().filter(is_wanted).peekable();
        wanted.peek().is_some() && wanted.all(SubscriptionState::is_rejected)
    }

    /// Records that the server accepted the subject. Returns the topics that it thereby rejected.
    pub(super) fn confirm(&mut self, subject: &AnswerSubject) -> Vec<TopicIndex> {
        match subject {
            AnswerSubject::Topic(topic) => {
                self.set_state(*topic, SubscriptionState::Active);
                self.remove_answered_requests(*topic);
            }
            AnswerSubject::AcceptedTopics { request, topics: accepted } => {
                let requested = self.remove_request(*request);
                let (accepted, rejected): (Vec<_>, _) =
                    requested.into_iter().partition(|topic| accepted.contains(topic));
                for topic in accepted {
                    self.set_state(topic, SubscriptionState::Active);
                }
                let reject = |topic| self.reject_topic(topic, NOT_ACCEPTED);
                return rejected.into_iter().filter_map(reject).collect();
            }
            AnswerSubject::Request(_) | AnswerSubject::OldestRequest => {
                for topic in self.remove_request(subject.request_id()) {
                    self.set_state(topic, SubscriptionState::Active);
                }
            }
        }
        Vec::new()
    }

    /// Records that the server rejected the subject. Returns the topic, if it is known which one.
    ///
    /// The unanswered topics of a rejected request are requested again by halves, until the rejected
    /// ones are isolated.
    pub(super) fn reject(&mut self, subject: &AnswerSubject, reason: &str) -> Option<TopicIndex> {
        if let AnswerSubject::Topic(topic) = subject {
            return self.reject_single(*topic, reason);
        }
        let topics = self.remove_request(subject.request_id().or(self.oldest_unanswered()));
        if let [topic] = topics.as_slice() {
            return self.reject_single(*topic, reason);
        }
        // Topics that were confirmed one by one are not requested again.
        let mut unanswered = topics;
        unanswered.retain(|topic| match self.states[*topic] {
            SubscriptionState::Requested => true,
            SubscriptionState::Active => {
                self.confirmed.set_active(*topic);
                false
            }
            SubscriptionState::Pending
            | SubscriptionState::Rejected(_)
            | SubscriptionState::Unsubscribed => false,
        });
        let (first, second) = unanswered.split_at(unanswered.len() / 2);
        for half in [second, first] {
            if !half.is_empty() {
                let purpose = RequestPurpose::Subscribe;
                self.planned_groups.push_front(PlannedGroup { topics: half.to_vec(), purpose });
            }
        }
        None
    }

    /// Returns the oldest request with a topic that neither an answer nor data confirmed.
    fn oldest_unanswered(&self) -> Option<RequestId> {
        let is_unanswered =
            |topic: &TopicIndex| self.states[*topic] == SubscriptionState::Requested;
        let mut requests = self.open_requests.iter();
        let oldest = requests.find(|(_, request)| request.topics.iter().any(is_unanswered));
        oldest.map(|(id, _)| *id)
    }

    fn reject_single(&mut self, topic: TopicIndex, reason: &str) -> Option<TopicIndex> {
        let rejected = self.reject_topic(topic, reason);
        self.remove_answered_requests(topic);
        rejected
    }

    /// Rejects a topic, unless it is active: then the server rejected a repeated request.
    fn reject_topic(&mut self, topic: TopicIndex, reason: &str) -> Option<TopicIndex> {
        if self.is_unsubscribed(topic) {
            return None;
        }
        if self.states[topic] == SubscriptionState::Active {
            self.confirmed.set_active(topic);
            return None;
        }
        self.set_state(topic, SubscriptionState::Rejected(reason.to_owned()));
        Some(topic)
    }

    /// Records data of a topic. Returns whether the topic was not active before.
    pub(super) fn record_data(&mut self, topic: TopicIndex) -> bool {
        if self.is_unsubscribed(topic) {
            // It was on its way.
            return false;
        }
        let is_news = self.states[topic] != SubscriptionState::Active;
        if is_news {
            self.set_state(topic, SubscriptionState::Active);
        } else {
            self.confirmed.set_active(topic);
        }
        is_news
    }

    /// Resolves requests whose answer is late and assumes that their topics are active.
    ///
    /// Returns `None` if there are no such requests, or else the topics that were unconfirmed before.
    pub(super) fn expire_requests(&mut self, now: Instant) -> Option<Vec<TopicIndex>> {
        let is_late = |request: &SubscribeRequest| {
            request.state == RequestState::Open && now - request.sent_at >= ANSWER_TIMEOUT
        };
        let mut topics = None;
        for request in self.open_requests.values_mut().filter(|request| is_late(request)) {
            request.state = RequestState::Resolved;
            topics.get_or_insert_with(Vec::new).extend_from_slice(&request.topics);
        }
        topics.map(|topics| self.assume_active(topics))
    }

    /// Returns the time at which [`Self::expire_requests`] must be called.
    pub(super) fn next_answer_deadline(&self) -> Option<Instant> {
        let mut requests = self.open_requests.values();
        let oldest = requests.find(|request| request.state == RequestState::Open);
        oldest.map(|request| request.sent_at + ANSWER_TIMEOUT)
    }

    /// Removes the request with this number, or else the oldest one, and returns its topics.
    ///
    /// Returns nothing for an answer to a request that was answered before, or never sent.
    fn remove_request(&mut self, id: Option<RequestId>) -> Vec<TopicIndex> {
        let id = id.or_else(|| self.open_requests.keys().next().copied());
        let Some(request) = id.and_then(|id| self.open_requests.remove(&id)) else {
            debug!(?id, "the server answered a request that is not open");
            return Vec::new();
        };
        request.topics
    }

    /// Sets the state of a topic and resolves the requests that this answers.
    fn set_state(&mut self, topic: TopicIndex, state: SubscriptionState) {
        if self.is_unsubscribed(topic) {
            // The answer was on its way.
            return;
        }
        let is_rejected = state.is_rejected();
        let before = std::mem::replace(&mut self.states[topic], state);
        if is_rejected {
            self.confirmed.set_inactive(topic);
        } else if before.is_rejected() || self.unheard.contains(&topic) {
            self.confirmed.reactivate(topic);
        } else {
            self.confirmed.set_active(topic);
        }
        self.unheard.remove(&topic);
        self.resolve_answered_requests(topic);
    }

    /// Marks the requests resolved that the state of this topic answers.
    fn resolve_answered_requests(&mut self, topic: TopicIndex) {
        for request in self.open_requests.values_mut() {
            if request.is_answered_by(topic, &self.states) {
                request.state = RequestState::Resolved;
            }
        }
    }

    /// Returns whether the topic was removed.
    pub(super) fn is_unsubscribed(&self, topic: TopicIndex) -> bool {
        self.states[topic] == SubscriptionState::Unsubscribed
    }

    /// Removes the requests that the server's answer for this topic completes.
    fn remove_answered_requests(&mut self, topic: TopicIndex) {
        let states = &self.states;
        self.open_requests.retain(|_, request| !request.is_answered_by(topic, states));
    }
}

#[cfg(test)]
mod tests;
