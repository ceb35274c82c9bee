//! The state of the connections, as journals record it.

use std::collections::BTreeSet;

use crate::archive::journal::JournalEvent;
use crate::base::shard_index::ShardIndex;
use crate::base::time::UnixNanos;
use crate::plugin::{ConfigChange, DETECTION_TOLERANCE, SourceEvent, SourceScope};

/// The state of the connections that share the topics of a source.
#[derive(Debug, Default)]
pub(super) struct ConnectivityState {
    /// Shards whose connection is down. `None` before the first event, when nothing is known.
    shards_down: Option<BTreeSet<ShardIndex>>,
    /// Topics that do not arrive, or may not, although the connections are up.
    topics_down: BTreeSet<String>,
}

impl ConnectivityState {
    /// Returns whether all connections are up.
    pub(super) fn all_up(&self) -> bool {
        self.shards_down.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// Returns the topics that do not arrive although the connections are up.
    pub(super) fn topics_down(&self) -> &BTreeSet<String> {
        &self.topics_down
    }

    /// Applies the event. Returns the topics that were down and arrive again.
    pub(super) fn apply(&mut self, event: &SourceEvent) -> Vec<String> {
        match event {
            SourceEvent::Up { scope, .. } => {
                self.shards_down_mut(scope).remove(&scope.shard);
            }
            SourceEvent::Down { scope, .. } => {
                self.shards_down_mut(scope).insert(scope.shard);
            }
            SourceEvent::TopicDown { topic, .. } => drop(self.topics_down.insert(topic.clone())),
            SourceEvent::Subscribed { topics, .. } => {
                return topics.iter().filter_map(|topic| self.topics_down.take(topic)).collect();
            }
            SourceEvent::ConfigChanged(change) => self.change_topics(change),
            _ => {}
        }
        Vec::new()
    }

    /// Forgets topics and shards that are gone, and takes topics that are added for down until they
    /// are subscribed to.
    fn change_topics(&mut self, change: &ConfigChange) {
        let ConfigChange { added, removed, removed_shards, .. } = change;
        for topic in removed {
            self.topics_down.remove(topic);
        }
        self.topics_down.extend(added.iter().cloned());
        if let Some(shards_down) = &mut self.shards_down {
            shards_down.retain(|shard| !removed_shards.contains(shard));
        }
    }

    fn shards_down_mut(&mut self, scope: &SourceScope) -> &mut BTreeSet<ShardIndex> {
        self.shards_down
            .get_or_insert_with(|| (0..scope.shard_count).map(ShardIndex::new).collect())
    }

    /// Returns the entry about an event that concerns `topic` in its journal, or in the journal of
    /// all topics for `None`. Returns `None` when the event is no news for that journal.
    pub(super) fn to_journal_event(
        &self,
        at: UnixNanos,
        event: &SourceEvent,
        topic: Option<&str>,
    ) -> Option<JournalEvent> {
        Some(match event {
            SourceEvent::Up { connection, .. } => {
                // All topics arrive when the last connection is up.
                let is_news = topic.is_some() || self.all_up();
                return is_news.then_some(JournalEvent::Up { connection: *connection });
            }
            SourceEvent::Subscribed { connection, .. } => {
                JournalEvent::Up { connection: *connection }
            }
            SourceEvent::Down { cause, detail, silent_since, scope } => {
                let prefix = match (topic, scope.shard_count) {
                    (Some(_), _) | (None, 0 | 1) => String::new(),
                    (None, count) => format!("connection {} of {count}: ", scope.shard.get() + 1),
                };
                let since = *silent_since;
                let cause = cause.as_str().to_owned();
                let detail = format!("{prefix}{detail}");
                let exact =
                    since.is_some_and(|since| at.saturating_since(since) <= DETECTION_TOLERANCE);
                JournalEvent::Down { cause, detail, since, exact }
            }
            SourceEvent::TopicDown { topic: down, cause, detail, silent_for } => {
                let cause = cause.as_str().to_owned();
                let detail = detail.clone();
                let since = silent_for.map(|silent_for| at.saturating_sub(silent_for));
                match topic {
                    Some(topic) if topic == down => {
                        JournalEvent::Down { cause, detail, since, exact: false }
                    }
                    Some(_) => return None,
                    None => JournalEvent::TopicDown { topic: down.clone(), cause, detail, since },
                }
            }
            SourceEvent::Unconfirmed { topics } => {
                let topics = topic.map_or_else(|| topics.clone(), |topic| vec![topic.to_owned()]);
                JournalEvent::Unconfirmed { topics }
            }
            SourceEvent::Dropped { since, messages, cause } => JournalEvent::Drop {
                since: *since,
                messages: *messages,
                cause: cause.as_str().to_owned(),
                shared: false,
                detail: String::new(),
            },
            SourceEvent::Ended { since } => JournalEvent::Stopping { since: *since },
            SourceEvent::Suspended { slept } => {
                JournalEvent::Suspended { since: at.saturating_sub(*slept) }
            }
            SourceEvent::ClockStepped { expected: from } => JournalEvent::ClockStep { from: *from },
            // Each journal has its own part of the change, and is behind with its own events.
            SourceEvent::ConfigChanged(_) | SourceEvent::Behind { .. } => return None,
        })
    }
}
