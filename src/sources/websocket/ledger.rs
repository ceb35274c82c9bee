//! What was asked for, and what the server said to it.

mod known;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use self::known::Known;

/// For how long an answer to a request is waited for.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What is said of a topic that is not in the server's list of those that it accepts.
pub(super) const NOT_ACCEPTED: &str = "not among what was accepted";

/// How it stands with a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is still to be asked for.
    Wanted,
    /// It was asked for.
    Asked,
    /// The server confirmed it, or sent data of it.
    Confirmed,
    /// The server refused it, in these words.
    Refused(String),
}

/// The topics of a connection, by their places in the configuration's list, and the requests.
#[derive(Debug)]
pub(super) struct Ledger {
    standing: Vec<Standing>,
    known: Known,
    /// Groups of topics that are to be asked for, a request each; and whether they are asked for again,
    /// since they are silent.
    planned: VecDeque<(Vec<usize>, bool)>,
    /// Requests without an answer, in the order in which they were made.
    open: BTreeMap<u64, Request>,
    next_id: u64,
}

#[derive(Debug)]
struct Request {
    topics: Vec<usize>,
    sent: Instant,
    /// Whether no answer is waited for any more: data has answered, or it was given up. One that comes
    /// all the same, and does not say to what, is not to be taken for that to a later request.
    done: bool,
}

/// What an answer speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// A request, by its number.
    Request(u64),
    /// A single topic.
    Topic(usize),
    /// These topics of the request, and no others.
    Only(Option<u64>, Vec<usize>),
    /// It does not say.
    Oldest,
}

impl Ledger {
    /// Topics that are all wanted, in these groups.
    pub(super) fn new(topics: usize, planned: Vec<Vec<usize>>) -> Self {
        Self {
            standing: vec![Standing::Wanted; topics],
            known: Known::none_of(topics),
            planned: planned.into_iter().map(|group| (group, false)).collect(),
            open: BTreeMap::new(),
            next_id: 1,
        }
    }

    pub(super) fn standing(&self) -> &[Standing] {
        &self.standing
    }

    /// The next group to ask for, with the number of its request.
    pub(super) fn ask(&mut self, now: Instant) -> Option<(u64, Vec<usize>)> {
        let mut topics = Vec::new();
        while topics.is_empty() {
            let (group, again) = self.planned.pop_front()?;
            topics = group;
            // What was answered meanwhile is not asked for.
            topics.retain(|topic| match self.standing.get(*topic) {
                Some(Standing::Wanted | Standing::Asked) => true,
                Some(Standing::Confirmed) => again,
                Some(Standing::Refused(_)) | None => false,
            });
        }
        let id = self.next_id;
        self.next_id += 1;
        for topic in &topics {
            if let Some(standing @ Standing::Wanted) = self.standing.get_mut(*topic) {
                *standing = Standing::Asked;
            }
        }
        let forgotten = |request: &Request| request.done && now - request.sent >= 2 * ANSWER_TIME;
        while self.open.first_entry().is_some_and(|first| forgotten(first.get())) {
            self.open.pop_first();
        }
        self.open.insert(id, Request { topics: topics.clone(), sent: now, done: false });
        Some((id, topics))
    }

    /// Asks for these again, though they may be confirmed.
    pub(super) fn plan_again(&mut self, groups: Vec<Vec<usize>>) {
        let planned = |topic: &usize| self.planned.iter().any(|(group, _)| group.contains(topic));
        let groups = groups.into_iter().map(|mut group| {
            group.retain(|topic| !planned(topic));
            group
        });
        let groups: Vec<_> = groups.filter(|group| !group.is_empty()).collect();
        self.planned.extend(groups.into_iter().map(|group| (group, true)));
    }

    /// Whether there is something left to ask for.
    pub(super) fn has_planned(&self) -> bool {
        !self.planned.is_empty()
    }

    /// All topics were asked for, by messages that name no request.
    pub(super) fn all_asked(&mut self) {
        self.standing.fill(Standing::Asked);
    }

    /// Takes it that what was asked for comes; gives those of which nothing was known.
    pub(super) fn asked_come(&mut self) -> Vec<usize> {
        let asked = |topic: &usize| {
            matches!(self.standing.get(*topic), Some(Standing::Asked | Standing::Confirmed))
        };
        let asked: Vec<usize> = (0..self.standing.len()).filter(asked).collect();
        self.taken_to_come(asked)
    }

    /// Takes it that these come; gives those of which nothing was known.
    fn taken_to_come(&mut self, mut topics: Vec<usize>) -> Vec<usize> {
        topics.retain(|topic| self.known.comes(*topic));
        topics
    }

    /// Whether these still come is in doubt; gives those that were known to, or taken to.
    pub(super) fn doubt(&mut self, mut topics: Vec<usize>) -> Vec<usize> {
        let refused =
            |topic: &usize| matches!(self.standing.get(*topic), Some(Standing::Refused(_)));
        topics.retain(|topic| !refused(topic) && self.known.doubt(*topic));
        topics
    }

    /// Whether it is known of all topics whether they come.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_complete()
    }

    /// Whether there are topics of which it has become known that they come.
    pub(super) fn has_coming(&self) -> bool {
        self.known.has_coming()
    }

    /// These topics, since this was last asked.
    pub(super) fn take_coming(&mut self) -> Vec<usize> {
        self.known.take_coming()
    }

    /// How many topics were asked for and are not answered.
    pub(super) fn unconfirmed(&self) -> usize {
        self.standing.iter().filter(|standing| **standing == Standing::Asked).count()
    }

    /// Whether everything was asked for and answered.
    pub(super) fn is_settled(&self) -> bool {
        self.planned.is_empty() && self.open.values().all(|request| request.done)
    }

    /// Whether nothing is left that could still come.
    pub(super) fn is_hopeless(&self) -> bool {
        let refused = |standing: &Standing| matches!(standing, Standing::Refused(_));
        !self.standing.is_empty() && self.standing.iter().all(refused)
    }

    /// The server has confirmed this; gives the topics that it has thereby refused.
    pub(super) fn confirm(&mut self, subject: &Subject) -> Vec<usize> {
        match subject {
            Subject::Topic(topic) => {
                self.settle(*topic, Standing::Confirmed);
                self.close_answered(*topic);
            }
            Subject::Only(id, accepted) => {
                let asked = self.close_request(*id);
                let (good, bad): (Vec<_>, _) =
                    asked.into_iter().partition(|topic| accepted.contains(topic));
                for topic in good {
                    self.settle(topic, Standing::Confirmed);
                }
                let refused = Standing::Refused(NOT_ACCEPTED.to_owned());
                let newly = |topic| self.settle_refused(topic, refused.clone());
                return bad.into_iter().filter_map(newly).collect();
            }
            Subject::Request(_) | Subject::Oldest => {
                for topic in self.close_request(subject.id()) {
                    self.settle(topic, Standing::Confirmed);
                }
            }
        }
        Vec::new()
    }

    /// The server has refused this. A request for several topics is made again by halves, until those
    /// are known that are refused; says which is.
    pub(super) fn refuse(&mut self, subject: &Subject, words: &str) -> Option<usize> {
        let refused = Standing::Refused(words.to_owned());
        if let Subject::Topic(topic) = subject {
            let newly = self.settle_refused(*topic, refused);
            self.close_answered(*topic);
            return newly;
        }
        // What was confirmed by its data is not what is refused.
        let asked = |topic: &usize| self.standing.get(*topic) == Some(&Standing::Asked);
        let doubtful = |request: &Request| request.topics.iter().any(asked);
        let oldest = self.open.iter().find(|(_, request)| doubtful(request)).map(|(id, _)| *id);
        let topics = self.close_request(subject.id().or(oldest));
        if let [topic] = topics.as_slice() {
            let newly = self.settle_refused(*topic, refused);
            self.close_answered(*topic);
            return newly;
        }
        // What was confirmed one by one before is not asked for again.
        let mut left = topics;
        left.retain(|topic| match self.standing.get(*topic) {
            Some(Standing::Confirmed) => {
                self.known.comes(*topic);
                false
            }
            standing => standing == Some(&Standing::Asked),
        });
        let (first, second) = left.split_at(left.len() / 2);
        for half in [second, first] {
            if !half.is_empty() {
                self.planned.push_front((half.to_vec(), false));
            }
        }
        None
    }

    /// A topic that was confirmed stays so: what is refused is to be asked twice.
    fn settle_refused(&mut self, topic: usize, refused: Standing) -> Option<usize> {
        if self.standing.get(topic) == Some(&Standing::Confirmed) {
            self.known.comes(topic);
            return None;
        }
        self.settle(topic, refused);
        Some(topic)
    }

    /// Data of the topic has come; says whether that is news.
    pub(super) fn seen(&mut self, topic: usize) -> bool {
        let news = self.standing.get(topic).is_some_and(|s| *s != Standing::Confirmed);
        if news {
            self.settle(topic, Standing::Confirmed);
        } else {
            self.known.comes(topic);
        }
        news
    }

    /// Gives up waiting for answers that are late: what was asked for is taken to come. Gives the topics
    /// of which nothing is known, if there were such answers.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<Vec<usize>> {
        let late = |request: &Request| !request.done && now - request.sent >= ANSWER_TIME;
        let mut topics = None;
        for request in self.open.values_mut().filter(|request| late(request)) {
            request.done = true;
            topics.get_or_insert_with(Vec::new).extend_from_slice(&request.topics);
        }
        topics.map(|topics| self.taken_to_come(topics))
    }

    /// When an answer is late next.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let first = self.open.values().find(|request| !request.done);
        first.map(|request| request.sent + ANSWER_TIME)
    }

    fn close_request(&mut self, id: Option<u64>) -> Vec<usize> {
        let id = id.or_else(|| self.open.keys().next().copied());
        id.and_then(|id| self.open.remove(&id)).map(|r| r.topics).unwrap_or_default()
    }

    /// A topic is as it will be; of requests that were for nothing else no answer is waited for.
    fn settle(&mut self, topic: usize, to: Standing) {
        let Some(standing) = self.standing.get_mut(topic) else { return };
        let refused = |standing: &Standing| matches!(standing, Standing::Refused(_));
        let now_refused = refused(&to);
        let was_refused = refused(&std::mem::replace(standing, to));
        match (was_refused, now_refused) {
            (_, true) => self.known.comes_not(topic),
            (true, false) => self.known.comes_again(topic),
            (false, false) => drop(self.known.comes(topic)),
        }
        for request in self.open.values_mut() {
            request.done |= is_answered(request, topic, &self.standing);
        }
    }

    /// The server has answered for the topic: to requests that were for nothing else no answer comes.
    fn close_answered(&mut self, topic: usize) {
        let standing = &self.standing;
        self.open.retain(|_, request| !is_answered(request, topic, standing));
    }
}

/// Whether the request was for this topic, and for none that waits for an answer.
fn is_answered(request: &Request, topic: usize, standing: &[Standing]) -> bool {
    let waits = |topic: &usize| standing.get(*topic) == Some(&Standing::Asked);
    request.topics.contains(&topic) && !request.topics.iter().any(waits)
}

impl Subject {
    fn id(&self) -> Option<u64> {
        match self {
            Self::Request(id) => Some(*id),
            Self::Only(id, _) => *id,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
