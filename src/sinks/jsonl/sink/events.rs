//! Events, as the journals of the tracks are told of them.

use std::time::Instant;

use super::super::route::Router;
use super::Jsonl;
use crate::archive::journal::Event;
use crate::clock::UnixNanos;
use crate::plugin::{BoxError, FeedEvent, Sink as _};

impl Jsonl {
    /// Tells the journals of the event, as far as it concerns them.
    pub(super) fn journal(&mut self, at: UnixNanos, event: &FeedEvent) -> Result<(), BoxError> {
        let mut first = self.flush();
        self.told = (at, Instant::now());
        let again = self.links.note(event);
        if let FeedEvent::Subscribed { connection, .. } = event {
            first = first.and(self.note_again(at, *connection, again));
        }
        let alone = self.only_topic().cloned();
        for index in self.concerned(event) {
            let Some(track) = self.tracks.get(index) else { continue };
            // One for a single topic is told of that alone, any other of all there is.
            // So is one whose topic is spelled as nobody asked for it.
            let topic = track.topic().filter(|_| index > 0 && track.is_asked_for);
            let whole = matches!(event, FeedEvent::TopicDown { .. });
            let topic = topic.or(alone.as_deref().filter(|_| whole));
            let Some(mut told) = self.links.journalled(at, event, topic) else { continue };
            if let Event::Drop { shared, .. } = &mut told {
                *shared = self.router.is_some();
            }
            let ready = self.ready(index, at);
            let Some(track) = self.tracks.get_mut(index) else { continue };
            // Where no hour can be opened it waits: it is told once, and must not be forgotten.
            match &told {
                Event::Up { .. } => {
                    track.note(at, told);
                    track.set_connected(true);
                }
                Event::Down { .. } => {
                    track.note(at, told);
                    track.set_connected(false);
                }
                _ => track.note(at, told),
            }
            track.mind_journal(&self.stats);
            first = first.and(ready);
        }
        self.opening.connected = self.links.all_up();
        let shared = self.only_topic().is_none() && !self.is_by_topic();
        let topical = matches!(event, FeedEvent::TopicDown { .. } | FeedEvent::Subscribed { .. });
        if let Some(track) = self.tracks.first_mut().filter(|_| shared && topical) {
            track.set_topics_down(self.links.topics_down().cloned().collect());
        }
        first
    }

    /// Topics come again, of which the journal of all that comes had said that they do not.
    fn note_again(
        &mut self,
        at: UnixNanos,
        connection: u64,
        topics: Vec<String>,
    ) -> Result<(), BoxError> {
        if topics.is_empty() {
            return Ok(());
        }
        let ready = self.ready(0, at);
        let (alone, up) = (self.only_topic().is_some(), self.links.all_up());
        let Some(track) = self.tracks.first_mut() else { return ready };
        for topic in topics {
            match alone {
                false => track.note(at, Event::TopicUp { topic }),
                true if up => {
                    track.note(at, Event::Up { connection });
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
    fn only_topic(&self) -> Option<&String> {
        match self.opening.topics.as_slice() {
            [topic] if self.router.is_none() => Some(topic),
            _ => None,
        }
    }

    /// The tracks that an event may concern. There may be as many events of topics as there are tracks.
    fn concerned(&self, event: &FeedEvent) -> Vec<usize> {
        match (event, &self.router) {
            (FeedEvent::Subscribed { topics, .. }, Some(router)) => {
                topics.iter().filter_map(|topic| router.place_of(topic)).collect()
            }
            (FeedEvent::Subscribed { .. }, None) => Vec::new(),
            (FeedEvent::TopicDown { topic, .. }, Some(router)) => {
                std::iter::once(0).chain(router.place_of(topic)).collect()
            }
            _ => (0..self.tracks.len()).collect(),
        }
    }
}
