//! What was asked for, and what the server said to it.

mod confirmed_topics;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use self::confirmed_topics::ConfirmedTopics;

/// For how long an answer to a request is waited for.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is said of a topic that is not in the server's list of those that it accepts.
pub(super) const NOT_ACCEPTED: &str = "not among what was accepted";

/// How it stands with a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SubscriptionState {
    /// It is still to be asked for.
    Pending,
    /// It was asked for.
    Requested,
    /// The server confirmed it, or sent data of it.
    Active,
    /// The server refused it, in these words.
    Rejected(String),
}

/// The topics of a connection, by their places in the configuration's list, and the requests.
#[derive(Debug)]
pub(super) struct SubscriptionTable {
    states: Vec<SubscriptionState>,
    confirmed: ConfirmedTopics,
    /// Groups of topics that are to be asked for, a request each; and whether they are asked for again,
    /// since they are silent.
    planned_groups: VecDeque<(Vec<usize>, bool)>,
    /// Requests without an answer, in the order in which they were made.
    open_requests: BTreeMap<u64, SubscribeRequest>,
    next_request_id: u64,
}

#[derive(Debug)]
struct SubscribeRequest {
    topics: Vec<usize>,
    sent_at: Instant,
    /// Whether no answer is waited for any more: data has answered, or it was given up. One that comes
    /// all the same, and does not say to what, is not to be taken for that to a later request.
    is_resolved: bool,
}

/// What an answer speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AnswerSubject {
    /// A request, by its number.
    Request(u64),
    /// A single topic.
    Topic(usize),
    /// These topics of the request, and no others.
    AcceptedTopics(Option<u64>, Vec<usize>),
    /// It does not say.
    OldestRequest,
}

impl SubscriptionTable {
    /// Topics that are all wanted, in these groups.
    pub(super) fn new(topics: usize, planned: Vec<Vec<usize>>) -> Self {
        Self {
            states: vec![SubscriptionState::Pending; topics],
            confirmed: ConfirmedTopics::new(topics),
            planned_groups: planned.into_iter().map(|group| (group, false)).collect(),
            open_requests: BTreeMap::new(),
            next_request_id: 1,
        }
    }

    pub(super) fn states(&self) -> &[SubscriptionState] {
        &self.states
    }

    /// The next group to ask for, with the number of its request.
    pub(super) fn start_next_request(&mut self, now: Instant) -> Option<(u64, Vec<usize>)> {
        let mut topics = Vec::new();
        while topics.is_empty() {
            let (group, again) = self.planned_groups.pop_front()?;
            topics = group;
            // What was answered meanwhile is not asked for.
            topics.retain(|topic| match self.states.get(*topic) {
                Some(SubscriptionState::Pending | SubscriptionState::Requested) => true,
                Some(SubscriptionState::Active) => again,
                Some(SubscriptionState::Rejected(_)) | None => false,
            });
        }
        let id = self.next_request_id;
        self.next_request_id += 1;
        for topic in &topics {
            if let Some(standing @ SubscriptionState::Pending) = self.states.get_mut(*topic) {
                *standing = SubscriptionState::Requested;
            }
        }
        let forgotten = |request: &SubscribeRequest| {
            request.is_resolved && now - request.sent_at >= 2 * ANSWER_TIMEOUT
        };
        while self.open_requests.first_entry().is_some_and(|first| forgotten(first.get())) {
            self.open_requests.pop_first();
        }
        self.open_requests.insert(
            id,
            SubscribeRequest { topics: topics.clone(), sent_at: now, is_resolved: false },
        );
        Some((id, topics))
    }

    /// Asks for these again, though they may be confirmed.
    pub(super) fn plan_resubscribe(&mut self, groups: Vec<Vec<usize>>) {
        let planned =
            |topic: &usize| self.planned_groups.iter().any(|(group, _)| group.contains(topic));
        let groups = groups.into_iter().map(|mut group| {
            group.retain(|topic| !planned(topic));
            group
        });
        let groups: Vec<_> = groups.filter(|group| !group.is_empty()).collect();
        self.planned_groups.extend(groups.into_iter().map(|group| (group, true)));
    }

    /// Whether there is something left to ask for.
    pub(super) fn has_planned(&self) -> bool {
        !self.planned_groups.is_empty()
    }

    /// All topics were asked for, by messages that name no request.
    pub(super) fn mark_all_requested(&mut self) {
        self.states.fill(SubscriptionState::Requested);
    }

    /// Takes it that what was asked for comes; gives those of which nothing was known.
    pub(super) fn assume_requested_active(&mut self) -> Vec<usize> {
        let asked = |topic: &usize| {
            matches!(
                self.states.get(*topic),
                Some(SubscriptionState::Requested | SubscriptionState::Active)
            )
        };
        let asked: Vec<usize> = (0..self.states.len()).filter(asked).collect();
        self.assume_active(asked)
    }

    /// Takes it that these come; gives those of which nothing was known.
    fn assume_active(&mut self, mut topics: Vec<usize>) -> Vec<usize> {
        topics.retain(|topic| self.confirmed.set_active(*topic));
        topics
    }

    /// Whether these still come is in doubt; gives those that were known to, or taken to.
    pub(super) fn clear_confirmed(&mut self, mut topics: Vec<usize>) -> Vec<usize> {
        let refused =
            |topic: &usize| matches!(self.states.get(*topic), Some(SubscriptionState::Rejected(_)));
        topics.retain(|topic| !refused(topic) && self.confirmed.clear_confirmed(*topic));
        topics
    }

    /// Whether it is known of all topics whether they come.
    pub(super) fn is_fully_confirmed(&self) -> bool {
        self.confirmed.is_complete()
    }

    /// Whether there are topics of which it has become known that they come.
    pub(super) fn has_newly_active(&self) -> bool {
        self.confirmed.has_newly_active()
    }

    /// These topics, since this was last asked.
    pub(super) fn drain_newly_active(&mut self) -> Vec<usize> {
        self.confirmed.drain_newly_active()
    }

    /// How many topics were asked for and are not answered.
    pub(super) fn requested_count(&self) -> usize {
        self.states.iter().filter(|standing| **standing == SubscriptionState::Requested).count()
    }

    /// Whether everything was asked for and answered.
    pub(super) fn is_fully_answered(&self) -> bool {
        self.planned_groups.is_empty()
            && self.open_requests.values().all(|request| request.is_resolved)
    }

    /// Whether nothing is left that could still come.
    pub(super) fn is_fully_rejected(&self) -> bool {
        let refused =
            |standing: &SubscriptionState| matches!(standing, SubscriptionState::Rejected(_));
        !self.states.is_empty() && self.states.iter().all(refused)
    }

    /// The server has confirmed this; gives the topics that it has thereby refused.
    pub(super) fn confirm(&mut self, subject: &AnswerSubject) -> Vec<usize> {
        match subject {
            AnswerSubject::Topic(topic) => {
                self.set_state(*topic, SubscriptionState::Active);
                self.remove_answered_requests(*topic);
            }
            AnswerSubject::AcceptedTopics(id, accepted) => {
                let asked = self.remove_request(*id);
                let (good, bad): (Vec<_>, _) =
                    asked.into_iter().partition(|topic| accepted.contains(topic));
                for topic in good {
                    self.set_state(topic, SubscriptionState::Active);
                }
                let refused = SubscriptionState::Rejected(NOT_ACCEPTED.to_owned());
                let newly = |topic| self.reject_topic(topic, refused.clone());
                return bad.into_iter().filter_map(newly).collect();
            }
            AnswerSubject::Request(_) | AnswerSubject::OldestRequest => {
                for topic in self.remove_request(subject.request_id()) {
                    self.set_state(topic, SubscriptionState::Active);
                }
            }
        }
        Vec::new()
    }

    /// The server has refused this. A request for several topics is made again by halves, until those
    /// are known that are refused; says which is.
    pub(super) fn reject(&mut self, subject: &AnswerSubject, words: &str) -> Option<usize> {
        let refused = SubscriptionState::Rejected(words.to_owned());
        if let AnswerSubject::Topic(topic) = subject {
            let newly = self.reject_topic(*topic, refused);
            self.remove_answered_requests(*topic);
            return newly;
        }
        // What was confirmed by its data is not what is refused.
        let asked = |topic: &usize| self.states.get(*topic) == Some(&SubscriptionState::Requested);
        let doubtful = |request: &SubscribeRequest| request.topics.iter().any(asked);
        let oldest =
            self.open_requests.iter().find(|(_, request)| doubtful(request)).map(|(id, _)| *id);
        let topics = self.remove_request(subject.request_id().or(oldest));
        if let [topic] = topics.as_slice() {
            let newly = self.reject_topic(*topic, refused);
            self.remove_answered_requests(*topic);
            return newly;
        }
        // What was confirmed one by one before is not asked for again.
        let mut left = topics;
        left.retain(|topic| match self.states.get(*topic) {
            Some(SubscriptionState::Active) => {
                self.confirmed.set_active(*topic);
                false
            }
            standing => standing == Some(&SubscriptionState::Requested),
        });
        let (first, second) = left.split_at(left.len() / 2);
        for half in [second, first] {
            if !half.is_empty() {
                self.planned_groups.push_front((half.to_vec(), false));
            }
        }
        None
    }

    /// A topic that was confirmed stays so: what is refused is to be asked twice.
    fn reject_topic(&mut self, topic: usize, refused: SubscriptionState) -> Option<usize> {
        if self.states.get(topic) == Some(&SubscriptionState::Active) {
            self.confirmed.set_active(topic);
            return None;
        }
        self.set_state(topic, refused);
        Some(topic)
    }

    /// Data of the topic has come; says whether that is news.
    pub(super) fn record_data(&mut self, topic: usize) -> bool {
        let news = self.states.get(topic).is_some_and(|s| *s != SubscriptionState::Active);
        if news {
            self.set_state(topic, SubscriptionState::Active);
        } else {
            self.confirmed.set_active(topic);
        }
        news
    }

    /// Gives up waiting for answers that are late: what was asked for is taken to come. Gives the topics
    /// of which nothing is known, if there were such answers.
    pub(super) fn expire_requests(&mut self, now: Instant) -> Option<Vec<usize>> {
        let late = |request: &SubscribeRequest| {
            !request.is_resolved && now - request.sent_at >= ANSWER_TIMEOUT
        };
        let mut topics = None;
        for request in self.open_requests.values_mut().filter(|request| late(request)) {
            request.is_resolved = true;
            topics.get_or_insert_with(Vec::new).extend_from_slice(&request.topics);
        }
        topics.map(|topics| self.assume_active(topics))
    }

    /// When an answer is late next.
    pub(super) fn next_answer_deadline(&self) -> Option<Instant> {
        let first = self.open_requests.values().find(|request| !request.is_resolved);
        first.map(|request| request.sent_at + ANSWER_TIMEOUT)
    }

    fn remove_request(&mut self, id: Option<u64>) -> Vec<usize> {
        let id = id.or_else(|| self.open_requests.keys().next().copied());
        id.and_then(|id| self.open_requests.remove(&id)).map(|r| r.topics).unwrap_or_default()
    }

    /// A topic is as it will be; of requests that were for nothing else no answer is waited for.
    fn set_state(&mut self, topic: usize, to: SubscriptionState) {
        let Some(standing) = self.states.get_mut(topic) else { return };
        let refused =
            |standing: &SubscriptionState| matches!(standing, SubscriptionState::Rejected(_));
        let now_refused = refused(&to);
        let was_refused = refused(&std::mem::replace(standing, to));
        match (was_refused, now_refused) {
            (_, true) => self.confirmed.set_inactive(topic),
            (true, false) => self.confirmed.reactivate(topic),
            (false, false) => drop(self.confirmed.set_active(topic)),
        }
        for request in self.open_requests.values_mut() {
            request.is_resolved |= is_answered(request, topic, &self.states);
        }
    }

    /// The server has answered for the topic: to requests that were for nothing else no answer comes.
    fn remove_answered_requests(&mut self, topic: usize) {
        let standing = &self.states;
        self.open_requests.retain(|_, request| !is_answered(request, topic, standing));
    }
}

/// Whether the request was for this topic, and for none that waits for an answer.
fn is_answered(request: &SubscribeRequest, topic: usize, standing: &[SubscriptionState]) -> bool {
    let waits = |topic: &usize| standing.get(*topic) == Some(&SubscriptionState::Requested);
    request.topics.contains(&topic) && !request.topics.iter().any(waits)
}

impl AnswerSubject {
    fn request_id(&self) -> Option<u64> {
        match self {
            Self::Request(id) => Some(*id),
            Self::AcceptedTopics(id, _) => *id,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
