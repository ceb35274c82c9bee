//! What was asked for, and what the server said to it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// For how long an answer to a request is waited for.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(30);

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
    /// Groups of topics that are to be asked for, a request each; and whether they are asked for again,
    /// since they are silent.
    planned: VecDeque<(Vec<usize>, bool)>,
    /// Requests without an answer.
    open: BTreeMap<u64, Request>,
    next_id: u64,
}

#[derive(Debug)]
struct Request {
    topics: Vec<usize>,
    sent: Instant,
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
            let standing = |topic: &usize| self.standing.get(*topic);
            let open =
                |topic: &usize| matches!(standing(topic), Some(Standing::Wanted | Standing::Asked));
            topics.retain(|topic| again || open(topic));
        }
        let id = self.next_id;
        self.next_id += 1;
        for topic in &topics {
            if let Some(standing @ Standing::Wanted) = self.standing.get_mut(*topic) {
                *standing = Standing::Asked;
            }
        }
        self.open.insert(id, Request { topics: topics.clone(), sent: now });
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

    /// How many topics were asked for and are not answered.
    pub(super) fn unconfirmed(&self) -> usize {
        self.standing.iter().filter(|standing| **standing == Standing::Asked).count()
    }

    /// Whether everything was asked for and answered.
    pub(super) fn is_settled(&self) -> bool {
        self.planned.is_empty() && self.open.is_empty()
    }

    /// Whether nothing is left that could still come.
    pub(super) fn is_hopeless(&self) -> bool {
        let refused = |standing: &Standing| matches!(standing, Standing::Refused(_));
        !self.standing.is_empty() && self.standing.iter().all(refused)
    }

    /// The server has confirmed this.
    pub(super) fn confirm(&mut self, subject: &Subject) {
        match subject {
            Subject::Topic(topic) => self.settle(*topic, Standing::Confirmed),
            Subject::Only(id, accepted) => {
                let asked = self.close_request(*id);
                for topic in asked {
                    let refused = || Standing::Refused("not among what was accepted".to_owned());
                    let good = accepted.contains(&topic);
                    self.settle(topic, if good { Standing::Confirmed } else { refused() });
                }
            }
            Subject::Request(_) | Subject::Oldest => {
                for topic in self.close_request(subject.id()) {
                    self.settle(topic, Standing::Confirmed);
                }
            }
        }
    }

    /// The server has refused this. A request for several topics is made again by halves, until those
    /// are known that are refused; says which is.
    pub(super) fn refuse(&mut self, subject: &Subject, words: &str) -> Option<usize> {
        let refused = Standing::Refused(words.to_owned());
        if let Subject::Topic(topic) = subject {
            return self.settle_refused(*topic, refused);
        }
        let topics = self.close_request(subject.id());
        if let [topic] = topics.as_slice() {
            return self.settle_refused(*topic, refused);
        }
        // What was confirmed one by one before is not asked for again.
        let mut left = topics;
        left.retain(|topic| self.standing.get(*topic) == Some(&Standing::Asked));
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
            return None;
        }
        self.settle(topic, refused);
        Some(topic)
    }

    /// Data of the topic has come; says whether that is news.
    pub(super) fn seen(&mut self, topic: usize) -> bool {
        let news = matches!(self.standing.get(topic), Some(Standing::Wanted | Standing::Asked));
        if news {
            self.settle(topic, Standing::Confirmed);
        }
        news
    }

    /// Gives up waiting for answers that are late; says whether there were such.
    pub(super) fn give_up(&mut self, now: Instant) -> bool {
        let before = self.open.len();
        self.open.retain(|_, request| now - request.sent < ANSWER_TIME);
        self.open.len() < before
    }

    /// When an answer is late next.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.open.values().map(|request| request.sent + ANSWER_TIME).min()
    }

    fn close_request(&mut self, id: Option<u64>) -> Vec<usize> {
        let id = id.or_else(|| self.open.keys().next().copied());
        id.and_then(|id| self.open.remove(&id)).map(|r| r.topics).unwrap_or_default()
    }

    /// A topic is as it will be; requests that were for nothing else are answered.
    fn settle(&mut self, topic: usize, to: Standing) {
        if let Some(standing) = self.standing.get_mut(topic) {
            *standing = to;
        }
        let standing = &self.standing;
        let waits = |topic: &usize| standing.get(*topic) == Some(&Standing::Asked);
        self.open.retain(|_, request| {
            !request.topics.contains(&topic) || request.topics.iter().any(waits)
        });
    }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Asks a server that refuses every request with a bad topic in it, to the end; gives the number
    /// of requests.
    fn ask_all(ledger: &mut Ledger, bad: &[usize]) -> usize {
        let mut requests = 0;
        while let Some((id, topics)) = ledger.ask(Instant::now()) {
            requests += 1;
            if topics.iter().any(|topic| bad.contains(topic)) {
                ledger.refuse(&Subject::Request(id), "no such topic");
            } else {
                ledger.confirm(&Subject::Request(id));
            }
        }
        requests
    }

    proptest! {
        #[test]
        fn the_bad_topics_are_found_and_all_others_confirmed(
            count in 1_usize..60,
            size in 1_usize..20,
            bad in prop::collection::vec(0_usize..60, 0..8),
        ) {
            let all: Vec<usize> = (0..count).collect();
            let planned = all.chunks(size).map(<[usize]>::to_vec).collect();
            let mut ledger = Ledger::new(count, planned);
            let requests = ask_all(&mut ledger, &bad);
            prop_assert!(ledger.is_settled());
            for topic in 0..count {
                let refused = matches!(ledger.standing()[topic], Standing::Refused(_));
                prop_assert_eq!(refused, bad.contains(&topic));
            }
            prop_assert_eq!(ledger.is_hopeless(), (0..count).all(|topic| bad.contains(&topic)));
            // Each bad topic is found by halves.
            prop_assert!(requests <= count.div_ceil(size) + bad.len() * 2 * 6);
        }
    }

    #[test]
    fn answers_for_each_topic_close_the_request_when_all_are_in() {
        let mut ledger = Ledger::new(3, vec![vec![0, 1, 2]]);
        ledger.ask(Instant::now());
        ledger.confirm(&Subject::Topic(0));
        ledger.refuse(&Subject::Topic(1), "no");
        assert!(!ledger.is_settled());
        ledger.seen(2);
        assert!(ledger.is_settled());
        assert_eq!(ledger.standing()[1], Standing::Refused("no".to_owned()));
    }

    #[test]
    fn what_is_confirmed_is_not_asked_for_by_halves_and_not_refused_when_asked_twice() {
        let mut ledger = Ledger::new(3, vec![vec![0, 1, 2]]);
        ledger.ask(Instant::now());
        ledger.refuse(&Subject::Oldest, "one is bad");
        ledger.confirm(&Subject::Topic(0));
        assert_eq!(ledger.ask(Instant::now()).unwrap().1, [1, 2], "0 is there");
        ledger.confirm(&Subject::Oldest);
        ledger.plan_again(vec![vec![1]]);
        ledger.plan_again(vec![vec![1]]);
        let (id, topics) = ledger.ask(Instant::now()).unwrap();
        assert_eq!(topics, [1], "though it is confirmed");
        assert_eq!(ledger.refuse(&Subject::Request(id), "already subscribed"), None);
        assert_eq!(ledger.standing()[1], Standing::Confirmed);
        assert!(ledger.ask(Instant::now()).is_none() && ledger.is_settled());
    }

    #[test]
    fn a_list_of_what_was_accepted_refuses_the_others() {
        let mut ledger = Ledger::new(2, vec![vec![0, 1]]);
        let (id, _) = ledger.ask(Instant::now()).unwrap();
        ledger.confirm(&Subject::Only(Some(id), vec![1]));
        assert!(matches!(ledger.standing()[0], Standing::Refused(_)));
        assert_eq!(ledger.standing()[1], Standing::Confirmed);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_given_up() {
        let mut ledger = Ledger::new(1, vec![vec![0]]);
        ledger.ask(Instant::now());
        tokio::time::advance(ANSWER_TIME).await;
        assert!(ledger.give_up(Instant::now()) && ledger.is_settled());
        assert_eq!(ledger.standing()[0], Standing::Asked);
    }
}
