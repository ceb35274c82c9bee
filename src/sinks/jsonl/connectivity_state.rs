//! What the journals say of the connections.

use std::collections::BTreeSet;

use crate::archive::journal::JournalEvent;
use crate::base::time::UnixNanos;
use crate::plugin::{SourceEvent, SourceScope};

/// Which of the connections that share the topics stand.
#[derive(Debug, Default)]
pub(super) struct ConnectivityState {
    /// Those that do not; nothing is known before the first event.
    connections_down: Option<BTreeSet<usize>>,
    /// Topics of which nothing comes though the connections stand, or of which that may be so.
    topics_down: BTreeSet<String>,
}

impl ConnectivityState {
    /// Whether all of them stand.
    pub(super) fn all_up(&self) -> bool {
        self.connections_down.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// These topics.
    pub(super) fn topics_down(&self) -> impl Iterator<Item = &String> {
        self.topics_down.iter()
    }

    /// Takes note of it, and gives the topics that come again.
    pub(super) fn apply(&mut self, event: &SourceEvent) -> Vec<String> {
        match event {
            SourceEvent::Up { scope, .. } => {
                self.connections_down_mut(scope).remove(&scope.shard.get());
            }
            SourceEvent::Down { scope, .. } => {
                self.connections_down_mut(scope).insert(scope.shard.get());
            }
            SourceEvent::TopicDown { topic, .. } => drop(self.topics_down.insert(topic.clone())),
            SourceEvent::Subscribed { topics, .. } => {
                return topics.iter().filter_map(|topic| self.topics_down.take(topic)).collect();
            }
            _ => {}
        }
        Vec::new()
    }

    fn connections_down_mut(&mut self, scope: &SourceScope) -> &mut BTreeSet<usize> {
        self.connections_down.get_or_insert_with(|| (0..scope.shard_count).collect())
    }

    /// The event as the journal has it of this topic, or of all that comes; `None` where it says
    /// nothing of that.
    pub(super) fn to_journal_event(
        &self,
        at: UnixNanos,
        event: &SourceEvent,
        topic: Option<&str>,
    ) -> Option<JournalEvent> {
        let concerns = |scope: &SourceScope| {
            topic.is_none_or(|topic| {
                scope.topics.is_empty() || scope.topics.iter().any(|other| other == topic)
            })
        };
        Some(match event {
            SourceEvent::Up { connection, scope } => {
                // Of many connections the last one makes it whole.
                let whole = topic.is_some() || self.all_up();
                // Of a topic that the source knows by name more was told before.
                let news = whole && (topic.is_none() || scope.topics.is_empty());
                return news.then_some(JournalEvent::Up { connection: connection.get() });
            }
            SourceEvent::Subscribed { connection, topics } => {
                let comes = topic.is_some_and(|topic| topics.iter().any(|other| other == topic));
                return comes.then_some(JournalEvent::Up { connection: connection.get() });
            }
            SourceEvent::Down { cause, detail, silent_since, scope } => {
                let of = match (topic, scope.shard_count) {
                    (Some(_), _) | (None, 0 | 1) => String::new(),
                    (None, feeds) => format!("connection {} of {feeds}: ", scope.shard.get() + 1),
                };
                let since = *silent_since;
                let (cause, detail) = (cause.as_str().to_owned(), format!("{of}{detail}"));
                return concerns(scope).then_some(JournalEvent::Down { cause, detail, since });
            }
            SourceEvent::TopicDown { topic: down, cause, detail, silent_for } => {
                let (cause, detail) = (cause.as_str().to_owned(), detail.clone());
                let since = silent_for.map(|silent_for| at.saturating_sub(silent_for));
                match topic {
                    Some(topic) if topic == down => JournalEvent::Down { cause, detail, since },
                    Some(_) => return None,
                    None => JournalEvent::TopicDown { topic: down.clone(), cause, detail, since },
                }
            }
            SourceEvent::Unconfirmed { topics } => {
                let named = |topic: &str| topics.iter().any(|other| other == topic);
                if topic.is_some_and(|topic| !named(topic)) {
                    return None;
                }
                let all = || topics.clone();
                let topics = topic.map_or_else(all, |topic| vec![topic.to_owned()]);
                JournalEvent::Unconfirmed { topics }
            }
            SourceEvent::Dropped { since, messages, cause } => JournalEvent::Drop {
                since: *since,
                messages: *messages,
                cause: cause.as_str().to_owned(),
                shared: false,
            },
            SourceEvent::Ended => JournalEvent::Stopping,
            SourceEvent::Suspended { slept } => {
                JournalEvent::Suspended { since: at.saturating_sub(*slept) }
            }
            SourceEvent::ClockStepped { expected: from } => JournalEvent::ClockStep { from: *from },
        })
    }
}
