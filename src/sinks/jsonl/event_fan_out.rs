//! The distribution of source events over the journals of a sink.

use std::collections::BTreeSet;

use super::connectivity_state::ConnectivityState;
use super::layout::Layout;
use super::topic_writers::TopicWriters;
use super::writer_index::WriterIndex;
use crate::archive::journal::{ConfigChangedEvent, JournalEvent};
use crate::base::time::UnixNanos;
use crate::plugin::{
    BuildContext, ConfigChange, ConnectionId, DownCause, SourceEvent, SourceScope,
};

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
    /// The connection that was last said to be up.
    last_connection: Option<ConnectionId>,
    /// Time until which everything was written before the next event, if that is behind.
    behind_since: Option<UnixNanos>,
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
        let connectivity = ConnectivityState::default();
        Self { connectivity, layout, sole_topic, last_connection: None, behind_since: None }
    }

    /// Returns whether all connections are up.
    pub(super) fn all_up(&self) -> bool {
        self.connectivity.all_up()
    }

    /// Records that lines which were received before the next event are not written. Marks tell up to
    /// when all are.
    pub(super) fn mark_behind(&mut self) {
        self.behind_since = Some(UnixNanos::default());
    }

    /// Returns the journal entries that follow from the event.
    pub(super) fn apply(
        &mut self,
        at: UnixNanos,
        event: &SourceEvent,
        writers: &TopicWriters,
    ) -> Vec<JournalDelivery> {
        if let SourceEvent::Behind { since } = event {
            self.behind_since = Some(*since);
            return Vec::new();
        }
        let behind_since = self.behind_since.take();
        let mut deliveries = self.deliver(at, event, writers);
        if let Some(since) = behind_since {
            for delivery in &mut deliveries {
                delivery.events.insert(0, JournalEvent::Behind { since });
            }
        }
        deliveries
    }

    fn deliver(
        &mut self,
        at: UnixNanos,
        event: &SourceEvent,
        writers: &TopicWriters,
    ) -> Vec<JournalDelivery> {
        if let SourceEvent::ConfigChanged(change) = event {
            return self.change_config(event, change, writers);
        }
        if let SourceEvent::Up { connection, .. } | SourceEvent::Subscribed { connection, .. } =
            event
        {
            self.last_connection = Some(*connection);
        }
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

    /// Returns the journal entries that follow from a change of the configuration. Each journal names
    /// the topics that concern it.
    fn change_config(
        &mut self,
        event: &SourceEvent,
        change: &ConfigChange,
        writers: &TopicWriters,
    ) -> Vec<JournalDelivery> {
        let was_up = self.connectivity.all_up();
        let lost_sole_topic = self.sole_topic.take_if(|sole| change.topics != [sole.clone()]);
        let was_down = |sole: &String| self.connectivity.topics_down().contains(sole);
        let sole_topic_down = lost_sole_topic.filter(was_down);
        drop(self.connectivity.apply(event));
        let all_up = self.connectivity.all_up();
        // What was down with a part of the source that is gone, or with the topic that was its only
        // one, is up again.
        let comes_up = all_up && (!was_up || sole_topic_down.is_some());
        let up = self.last_connection.filter(|_| comes_up);
        let down = |topic: &String, cause: DownCause| JournalEvent::TopicDown {
            topic: topic.clone(),
            cause: cause.as_str().to_owned(),
            detail: String::new(),
            since: None,
        };
        let mut deliveries = Vec::new();
        for writer in writers.list().indices() {
            let topic = writers.list().get(writer).subscribed_topic();
            let covers_all = writer == WriterIndex::FIRST && self.layout != Layout::SourceTopics;
            let is_own = |other: &&String| {
                covers_all || (self.layout == Layout::SourceTopics && topic == Some(other.as_str()))
            };
            let own_added: Vec<String> = change.added.iter().filter(is_own).cloned().collect();
            let changed = JournalEvent::ConfigChanged(Box::new(ConfigChangedEvent {
                old: change.old.clone(),
                new: change.new.clone(),
                added: own_added.clone(),
                removed: change.removed.iter().filter(is_own).cloned().collect(),
            }));
            let mut events = vec![changed];
            if topic.is_none() {
                events.extend(up.map(|connection| JournalEvent::Up { connection }));
            }
            if writer == WriterIndex::FIRST {
                let still_down = sole_topic_down.iter().filter(|sole| change.topics.contains(sole));
                events.extend(still_down.map(|sole| down(sole, DownCause::Other)));
                events.extend(change.added.iter().map(|topic| down(topic, DownCause::Added)));
            } else if !own_added.is_empty() {
                events.push(JournalEvent::Down {
                    cause: DownCause::Added.as_str().to_owned(),
                    detail: String::new(),
                    since: None,
                    exact: false,
                });
            }
            deliveries.push(JournalDelivery { writer, events });
        }
        deliveries.retain(|delivery| writers.list().get(delivery.writer).is_recorded());
        deliveries
    }

    /// Returns the topics that do not arrive although the connections are up.
    pub(super) fn topics_down(&self) -> &BTreeSet<String> {
        self.connectivity.topics_down()
    }

    /// Returns whether the first writer has lines of several topics, so that its journal begins with
    /// those that are inactive.
    pub(super) fn first_has_several_topics(&self) -> bool {
        self.sole_topic.is_none() && self.layout != Layout::SourceTopics
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

    /// Returns the writers that an event concerns. There may be as many events about topics as there
    /// are writers, and events about as many topics, so these look up single writers.
    fn affected_writers(&self, event: &SourceEvent, writers: &TopicWriters) -> Vec<WriterIndex> {
        let list = writers.list();
        let has_topic = |index: &WriterIndex| list.get(*index).subscribed_topic().is_some();
        let writers_of = |topics: &[String]| -> Vec<WriterIndex> {
            topics.iter().filter_map(|topic| writers.index_of(topic)).filter(has_topic).collect()
        };
        match event {
            SourceEvent::Subscribed { .. } if self.layout == Layout::SingleFile => Vec::new(),
            SourceEvent::Subscribed { topics, .. } => writers_of(topics),
            SourceEvent::TopicDown { topic, .. } => {
                let first = std::iter::once(WriterIndex::FIRST);
                first.chain(writers_of(std::slice::from_ref(topic))).collect()
            }
            // The journal of a topic that the source knows by name has recorded the subscription.
            SourceEvent::Up { scope, .. } if !scope.topics.is_empty() => list.shared().to_vec(),
            SourceEvent::Down { scope: SourceScope { topics, .. }, .. } if !topics.is_empty() => {
                [list.shared(), &writers_of(topics)].concat()
            }
            SourceEvent::Unconfirmed { topics } => [list.shared(), &writers_of(topics)].concat(),
            _ => {
                let is_recorded = |writer: &WriterIndex| writers.list().get(*writer).is_recorded();
                writers.list().indices().filter(is_recorded).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::archive::file_name::Stem;
    use crate::base::units::FileMode;
    use crate::metrics::PipelineStats;
    use crate::plugin::DownCause;
    use crate::sinks::jsonl::jsonl_settings::JsonlSettings;

    #[test]
    fn an_event_visits_only_the_writers_that_it_concerns() {
        let topics: Vec<String> = (0..1_000).map(|number| format!("t{number}")).collect();
        let context = BuildContext::new(topics.clone(), Arc::new(PipelineStats::new()), 10);
        let settings = JsonlSettings {
            dir: PathBuf::new(),
            file_mode: FileMode::new(0o640),
            sync_interval: None,
            mark_interval: std::time::Duration::ZERO,
            max_open_files: 16,
            time_index: crate::archive::hour_writer::TimeIndexing::On,
        };
        let layout = Layout::SourceTopics;
        let stem = |topic: &str| Stem::from_topic(topic).unwrap();
        let mut writers = TopicWriters::new(settings, layout, stem("control"), &context);
        for topic in &topics {
            writers.add_topic(topic, stem(topic));
        }
        let unlisted = writers.add_topic("unlisted", stem("unlisted"));
        let rules = EventFanOut::new(layout, &context);
        let scope = |topics: &[&str]| SourceScope {
            topics: topics.iter().map(ToString::to_string).collect(),
            ..SourceScope::default()
        };
        let connection = ConnectionId::new(1);
        let down = |topics: &[&str]| SourceEvent::Down {
            cause: DownCause::Connect,
            detail: String::new(),
            silent_since: None,
            scope: scope(topics),
        };
        let unconfirmed = SourceEvent::Unconfirmed { topics: vec!["t7".to_owned()] };
        let [t7, t9] = ["t7", "t9"].map(|topic| writers.index_of(topic).unwrap());
        let shared = [WriterIndex::FIRST, unlisted];
        for (event, expected) in [
            (down(&["t7", "t9"]), [&shared[..], &[t7, t9]].concat()),
            (SourceEvent::Up { connection, scope: scope(&["t7", "t9"]) }, shared.to_vec()),
            (unconfirmed, [&shared[..], &[t7]].concat()),
        ] {
            assert_eq!(rules.affected_writers(&event, &writers), expected, "{event:?}");
        }
        assert_eq!(rules.affected_writers(&down(&[]), &writers).len(), 1_002);
    }
}
