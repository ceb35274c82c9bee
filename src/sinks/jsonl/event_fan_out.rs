//! The distribution of source events over the journals of a sink.

use super::connectivity_state::ConnectivityState;
use super::layout::Layout;
use super::topic_writers::TopicWriters;
use super::writer_index::WriterIndex;
use crate::archive::journal::JournalEvent;
use crate::base::time::UnixNanos;
use crate::plugin::{BuildContext, ConnectionId, SourceEvent};

/// The rules by which source events reach journals, and the state of the connections on which they
/// depend.
///
/// The journal of a topic records the events of that topic. The journal of the first writer records
/// those of all topics.
pub(super) struct EventFanOut {
    connectivity: ConnectivityState,
    layout: Layout,
    /// The topic, when the source has one topic and the sink one file: that topic being down then
    /// means that the file is down.
    sole_topic: Option<String>,
}

/// Events for the journal of one writer, in order.
#[derive(Debug)]
pub(super) struct JournalDelivery {
    pub(super) writer: WriterIndex,
    pub(super) events: Vec<JournalEvent>,
}

impl EventFanOut {
    /// Returns the rules for a sink before the first event.
    pub(super) fn new(layout: Layout, context: &BuildContext) -> Self {
        let sole_topic = match context.topics.as_slice() {
            [topic] if layout == Layout::SingleFile => Some(topic.clone()),
            _ => None,
        };
        Self { connectivity: ConnectivityState::default(), layout, sole_topic }
    }

    /// Returns whether all connections are up.
    pub(super) fn all_up(&self) -> bool {
        self.connectivity.all_up()
    }

    /// Returns the journal entries that follow from the event.
    pub(super) fn apply(
        &mut self,
        at: UnixNanos,
        event: &SourceEvent,
        writers: &TopicWriters,
    ) -> Vec<JournalDelivery> {
        let resumed_topics = self.connectivity.apply(event);
        let mut deliveries = Vec::new();
        if let SourceEvent::Subscribed { connection, .. } = event
            && !resumed_topics.is_empty()
        {
            let events = self.topics_up(*connection, resumed_topics);
            deliveries.push(JournalDelivery { writer: WriterIndex::FIRST, events });
        }
        for writer in self.affected_writers(event, writers) {
            // A topic that is spelled as nobody subscribed to it has no topic of its own here: its
            // journal records the events of all topics.
            let topic = writers.list().get(writer).subscribed_topic();
            let is_topic_down = matches!(event, SourceEvent::TopicDown { .. });
            let topic = topic.or(self.sole_topic.as_deref().filter(|_| is_topic_down));
            let Some(mut entry) = self.connectivity.to_journal_event(at, event, topic) else {
                continue;
            };
            if let JournalEvent::Drop { shared, .. } = &mut entry {
                *shared = self.layout != Layout::SingleFile;
            }
            deliveries.push(JournalDelivery { writer, events: vec![entry] });
        }
        deliveries
    }

    /// Returns the inactive topics with which the next journal of the first writer begins, when the
    /// event changed them and the writer has lines of several topics.
    pub(super) fn changed_topics_down(&self, event: &SourceEvent) -> Option<Vec<String>> {
        let changes_topics =
            matches!(event, SourceEvent::TopicDown { .. } | SourceEvent::Subscribed { .. });
        let has_several_topics = self.sole_topic.is_none() && self.layout != Layout::SourceTopics;
        (changes_topics && has_several_topics)
            .then(|| self.connectivity.topics_down().cloned().collect())
    }

    /// Returns the entries of the first journal for topics that are active again after it recorded
    /// them as down.
    fn topics_up(&self, connection: ConnectionId, topics: Vec<String>) -> Vec<JournalEvent> {
        if self.sole_topic.is_none() {
            return topics.into_iter().map(|topic| JournalEvent::TopicUp { topic }).collect();
        }
        if self.connectivity.all_up() {
            return vec![JournalEvent::Up { connection }];
        }
        // The file is down with its connection, and comes up with it.
        Vec::new()
    }

    /// Returns the writers that an event may concern. There may be as many events about topics as
    /// there are writers, so these look up single writers.
    fn affected_writers(&self, event: &SourceEvent, writers: &TopicWriters) -> Vec<WriterIndex> {
        match (event, self.layout) {
            (SourceEvent::Subscribed { .. }, Layout::SingleFile) => Vec::new(),
            (SourceEvent::Subscribed { topics, .. }, _) => {
                topics.iter().filter_map(|topic| writers.index_of(topic)).collect()
            }
            (SourceEvent::TopicDown { topic, .. }, Layout::SourceTopics | Layout::LineTopics) => {
                std::iter::once(WriterIndex::FIRST).chain(writers.index_of(topic)).collect()
            }
            _ => writers.list().indices().collect(),
        }
    }
}
