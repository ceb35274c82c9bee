//! What the sinks know of the source, for a sink that comes later.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plugin::{ConnectionId, DownCause, ShardIndex, SourceEvent, SourceScope};

/// The state of the source as the events so far tell it.
#[derive(Debug, Default)]
pub(super) struct SourceState {
    /// The last event of each shard: up or down.
    shards: BTreeMap<ShardIndex, SourceEvent>,
    /// The topics that arrive, each with its connection.
    subscribed: BTreeMap<String, ConnectionId>,
    /// The topics that do not arrive, each with the event that said so.
    topics_down: BTreeMap<String, SourceEvent>,
}

impl SourceState {
    /// Takes note of an event.
    pub(super) fn observe(&mut self, event: &SourceEvent) {
        match event {
            SourceEvent::Up { scope, .. } => drop(self.shards.insert(scope.shard, event.clone())),
            SourceEvent::Down { scope, .. } => {
                self.shards.insert(scope.shard, event.clone());
                for topic in scope.topics.iter() {
                    self.subscribed.remove(topic);
                }
            }
            SourceEvent::Subscribed { connection, topics } => {
                for topic in topics.iter() {
                    self.topics_down.remove(topic);
                    self.subscribed.insert(topic.clone(), *connection);
                }
            }
            SourceEvent::TopicDown { topic, .. } => {
                self.subscribed.remove(topic);
                self.topics_down.insert(topic.clone(), event.clone());
            }
            SourceEvent::ConfigChanged(change) => {
                for topic in &change.removed {
                    self.subscribed.remove(topic);
                    self.topics_down.remove(topic);
                }
                for topic in &change.added {
                    let down = SourceEvent::TopicDown {
                        topic: topic.clone(),
                        cause: DownCause::Added,
                        detail: String::new(),
                        silent_for: None,
                    };
                    self.topics_down.insert(topic.clone(), down);
                }
                self.shards.retain(|shard, _| !change.removed_shards.contains(shard));
            }
            _ => {}
        }
    }

    /// Returns events that tell the state to a sink that knows nothing.
    pub(super) fn to_events(&self) -> Vec<SourceEvent> {
        let mut by_connection: BTreeMap<ConnectionId, Vec<String>> = BTreeMap::new();
        for (topic, connection) in &self.subscribed {
            by_connection.entry(*connection).or_default().push(topic.clone());
        }
        let subscribed = by_connection.into_iter().map(|(connection, topics)| {
            SourceEvent::Subscribed { connection, topics: Arc::from(topics) }
        });
        // Numbered anew: a sink waits for all shards that the first event counts.
        let shard_count = self.shards.len();
        let shards = self.shards.values().enumerate().map(|(position, event)| {
            let renumber = |scope: &SourceScope| SourceScope {
                shard: ShardIndex::new(position),
                shard_count,
                topics: Arc::clone(&scope.topics),
            };
            let mut event = event.clone();
            if let SourceEvent::Up { scope, .. } | SourceEvent::Down { scope, .. } = &mut event {
                *scope = renumber(scope);
            }
            event
        });
        subscribed.chain(self.topics_down.values().cloned()).chain(shards).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::ConfigChange;

    #[test]
    fn a_late_sink_is_told_what_the_others_know() {
        let mut state = SourceState::default();
        let connection = ConnectionId::new(1);
        let topics = |topics: &[&str]| topics.iter().map(ToString::to_string).collect();
        let scope = |shard, topics: Arc<[String]>| SourceScope {
            shard: ShardIndex::new(shard),
            shard_count: 3,
            topics,
        };
        let up = |shard| SourceEvent::Up { connection, scope: scope(shard, topics(&["a"])) };
        for event in [
            SourceEvent::Subscribed { connection, topics: topics(&["a", "b"]) },
            up(0),
            up(1),
            up(2),
            SourceEvent::ConfigChanged(Arc::new(ConfigChange {
                added: vec!["c".to_owned()],
                removed: vec!["b".to_owned()],
                removed_shards: vec![ShardIndex::new(1)],
                ..ConfigChange::default()
            })),
        ] {
            state.observe(&event);
        }
        let told = state.to_events();
        let [subscribed, down, first, second] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(*subscribed, SourceEvent::Subscribed { connection, topics: topics(&["a"]) });
        assert!(matches!(down, SourceEvent::TopicDown { topic, .. } if topic == "c"));
        for (position, event) in [first, second].into_iter().enumerate() {
            let SourceEvent::Up { scope, .. } = event else { panic!("{event:?}") };
            assert_eq!((scope.shard, scope.shard_count), (ShardIndex::new(position), 2));
        }
    }
}
