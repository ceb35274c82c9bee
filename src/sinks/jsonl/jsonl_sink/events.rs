//! Events, as the journals of the tracks are told of them.

use std::time::Instant;

use super::JsonlSink;
use crate::archive::journal::JournalEvent;
use crate::base::time::UnixNanos;
use crate::plugin::{BoxError, Sink as _, SourceEvent};
use crate::sinks::jsonl::router::Router;

impl JsonlSink {
    /// Tells the journals of the event, as far as it concerns them.
    pub(super) fn journal_event(
        &mut self,
        at: UnixNanos,
        event: &SourceEvent,
    ) -> Result<(), BoxError> {
        let mut first = self.flush();
        self.clock_reading = (at, Instant::now());
        let again = self.connectivity.apply(event);
        if let SourceEvent::Subscribed { connection, .. } = event {
            first = first.and(self.journal_topics_up(at, connection.get(), again));
        }
        let alone = self.sole_topic().cloned();
        for index in self.affected_writers(event) {
            let Some(track) = self.writers.get(index) else { continue };
            // One for a single topic is told of that alone, any other of all there is.
            // So is one whose topic is spelled as nobody asked for it.
            let topic = track.topic().filter(|_| index > 0 && track.is_subscribed_topic);
            let whole = matches!(event, SourceEvent::TopicDown { .. });
            let topic = topic.or(alone.as_deref().filter(|_| whole));
            let Some(mut told) = self.connectivity.to_journal_event(at, event, topic) else {
                continue;
            };
            if let JournalEvent::Drop { shared, .. } = &mut told {
                *shared = self.router.is_some();
            }
            let ready = self.ensure_hour_open(index, at);
            let Some(track) = self.writers.get_mut(index) else { continue };
            // Where no hour can be opened it waits: it is told once, and must not be forgotten.
            match &told {
                JournalEvent::Up { .. } => {
                    track.record_event(at, told);
                    track.set_connected(true);
                }
                JournalEvent::Down { .. } => {
                    track.record_event(at, told);
                    track.set_connected(false);
                }
                _ => track.record_event(at, told),
            }
            track.report_journal_error(&self.stats);
            first = first.and(ready);
        }
        self.open_event.connected = self.connectivity.all_up();
        let shared = self.sole_topic().is_none() && !self.is_by_topic();
        let topical =
            matches!(event, SourceEvent::TopicDown { .. } | SourceEvent::Subscribed { .. });
        if let Some(track) = self.writers.first_mut().filter(|_| shared && topical) {
            track.set_topics_down(self.connectivity.topics_down().cloned().collect());
        }
        first
    }

    /// Topics come again, of which the journal of all that comes had said that they do not.
    fn journal_topics_up(
        &mut self,
        at: UnixNanos,
        connection: u64,
        topics: Vec<String>,
    ) -> Result<(), BoxError> {
        if topics.is_empty() {
            return Ok(());
        }
        let ready = self.ensure_hour_open(0, at);
        let (alone, up) = (self.sole_topic().is_some(), self.connectivity.all_up());
        let Some(track) = self.writers.first_mut() else { return ready };
        for topic in topics {
            match alone {
                false => track.record_event(at, JournalEvent::TopicUp { topic }),
                true if up => {
                    track.record_event(at, JournalEvent::Up { connection });
                    track.set_connected(true);
                }
                // It is down with its connection, and told with that.
                true => {}
            }
        }
        ready
    }

    fn is_by_topic(&self) -> bool {
        self.router.as_ref().is_some_and(Router::is_by_topic)
    }

    /// The topic, when there is one file and no other topic: then it is all there is.
    fn sole_topic(&self) -> Option<&String> {
        match self.open_event.topics.as_slice() {
            [topic] if self.router.is_none() => Some(topic),
            _ => None,
        }
    }

    /// The tracks that an event may concern. There may be as many events of topics as there are tracks.
    fn affected_writers(&self, event: &SourceEvent) -> Vec<usize> {
        match (event, &self.router) {
            (SourceEvent::Subscribed { topics, .. }, Some(router)) => {
                topics.iter().filter_map(|topic| router.writer_index(topic)).collect()
            }
            (SourceEvent::Subscribed { .. }, None) => Vec::new(),
            (SourceEvent::TopicDown { topic, .. }, Some(router)) => {
                std::iter::once(0).chain(router.writer_index(topic)).collect()
            }
            _ => (0..self.writers.len()).collect(),
        }
    }
}
