//! What the journals say of the connections.

use std::collections::BTreeSet;

use crate::archive::journal::Event;
use crate::clock::UnixNanos;
use crate::plugin::{FeedEvent, Scope};

/// Which of the connections that share the topics stand.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Those that do not; nothing is known before the first event.
    down: Option<BTreeSet<usize>>,
    /// Topics of which nothing comes though the connections stand, or of which that may be so.
    topics: BTreeSet<String>,
}

impl Links {
    /// Whether all of them stand.
    pub(super) fn all_up(&self) -> bool {
        self.down.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// These topics.
    pub(super) fn topics_down(&self) -> impl Iterator<Item = &String> {
        self.topics.iter()
    }

    /// Takes note of it, and gives the topics that come again.
    pub(super) fn note(&mut self, event: &FeedEvent) -> Vec<String> {
        match event {
            FeedEvent::Up { scope, .. } => drop(self.feeds_down(scope).remove(&scope.feed)),
            FeedEvent::Down { scope, .. } => drop(self.feeds_down(scope).insert(scope.feed)),
            FeedEvent::TopicDown { topic, .. } => drop(self.topics.insert(topic.clone())),
            FeedEvent::Subscribed { topics, .. } => {
                return topics.iter().filter_map(|topic| self.topics.take(topic)).collect();
            }
            _ => {}
        }
        Vec::new()
    }

    fn feeds_down(&mut self, scope: &Scope) -> &mut BTreeSet<usize> {
        self.down.get_or_insert_with(|| (0..scope.feeds).collect())
    }

    /// The event as the journal has it of this topic, or of all that comes; `None` where it says
    /// nothing of that.
    pub(super) fn journalled(
        &self,
        at: UnixNanos,
        event: &FeedEvent,
        topic: Option<&str>,
    ) -> Option<Event> {
        let concerns = |scope: &Scope| {
            topic.is_none_or(|topic| {
                scope.topics.is_empty() || scope.topics.iter().any(|other| other == topic)
            })
        };
        Some(match event {
            FeedEvent::Up { connection, scope } => {
                // Of many connections the last one makes it whole.
                let whole = topic.is_some() || self.all_up();
                // Of a topic that the source knows by name more was told before.
                let news = whole && (topic.is_none() || scope.topics.is_empty());
                return news.then_some(Event::Up { connection: *connection });
            }
            FeedEvent::Subscribed { connection, topics } => {
                let comes = topic.is_some_and(|topic| topics.iter().any(|other| other == topic));
                return comes.then_some(Event::Up { connection: *connection });
            }
            FeedEvent::Down { cause, detail, silent_since, scope } => {
                let of = match (topic, scope.feeds) {
                    (Some(_), _) | (None, 0 | 1) => String::new(),
                    (None, feeds) => format!("connection {} of {feeds}: ", scope.feed + 1),
                };
                let since = silent_since.map(UnixNanos::nanos);
                let (cause, detail) = (cause.as_str().to_owned(), format!("{of}{detail}"));
                return concerns(scope).then_some(Event::Down { cause, detail, since });
            }
            FeedEvent::TopicDown { topic: down, cause, detail, silent_for } => {
                let (cause, detail) = (cause.as_str().to_owned(), detail.clone());
                let since = silent_for.map(|silent_for| at.before(silent_for).nanos());
                match topic {
                    Some(topic) if topic == down => Event::Down { cause, detail, since },
                    Some(_) => return None,
                    None => Event::TopicDown { topic: down.clone(), cause, detail, since },
                }
            }
            FeedEvent::Unconfirmed { topics } => {
                let named = |topic: &str| topics.iter().any(|other| other == topic);
                if topic.is_some_and(|topic| !named(topic)) {
                    return None;
                }
                let all = || topics.clone();
                let topics = topic.map_or_else(all, |topic| vec![topic.to_owned()]);
                Event::Unconfirmed { topics }
            }
            FeedEvent::Dropped { since, messages, cause } => Event::Drop {
                since: since.nanos(),
                messages: *messages,
                cause: cause.as_str().to_owned(),
                shared: false,
            },
            FeedEvent::Ended => Event::Stopping,
            FeedEvent::Suspended { slept } => Event::Suspended { since: at.before(*slept).nanos() },
            FeedEvent::ClockStepped { from } => Event::ClockStep { from: from.nanos() },
        })
    }
}
