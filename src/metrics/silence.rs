//! The topics of a pipeline that are silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::activity::Activity;
use super::topic_activity::TopicActivity;
use super::usual_interval::UsualInterval;
use crate::base::time::UnixNanos;

/// Maximum number of topics in a line of the log.
const MAX_LOGGED_TOPICS: usize = 10;
/// Silence of a pipeline of which no data ever came.
const SILENCE_FROM_START: Duration = Duration::from_secs(600);

/// The silence of a pipeline and of its topics, as far as a sink has a file for each.
#[derive(Debug, Default)]
pub(super) struct SilenceWatch {
    all: WatchedFeed,
    /// Number of the messages of data that the watch knows of.
    data_seen: u64,
    topics: BTreeMap<String, (Arc<TopicActivity>, u64, WatchedFeed)>,
    last_look: Option<(Instant, UnixNanos)>,
}

/// A feed whose silence is watched.
#[derive(Debug, Default)]
pub(super) struct WatchedFeed {
    pub(super) last_data: Option<Instant>,
    usual: UsualInterval,
    pub(super) is_silent: bool,
}

impl WatchedFeed {
    fn record(&mut self, last: Instant, arrivals: u64) {
        self.usual.record(last, arrivals);
        self.last_data = Some(last);
    }

    /// Returns whether there has been no data for far longer than usual since `listening`.
    fn is_silent_at(&self, now: Instant, listening: Instant, unknown: Option<Duration>) -> bool {
        let since = self.last_data.map_or(listening, |last| last.max(listening));
        let unknown = unknown.filter(|_| self.last_data.is_none());
        let limit = self.usual.silence().or(unknown);
        limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
    }
}

impl SilenceWatch {
    /// Returns the activity of a topic, which begins with its first call.
    pub(super) fn register(&mut self, topic: &str) -> Arc<TopicActivity> {
        let (activity, ..) = self.topics.entry(topic.to_owned()).or_default();
        Arc::clone(activity)
    }

    /// Forgets a topic that is not wanted any more.
    pub(super) fn remove(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Takes note of what arrived since the last look.
    pub(super) fn collect(&mut self, activity: &Activity, now: Instant, wall: UnixNanos) {
        let data = activity.messages.get().saturating_sub(activity.control.get());
        if let Some(last) = activity.last_data() {
            self.all.record(last, data.saturating_sub(self.data_seen));
            self.data_seen = data;
        }
        // What is new was received since the last look, whatever the wall clock did meanwhile.
        let since_look = self.last_look.map_or(Duration::ZERO, |(at, _)| now - at);
        for (activity, seen, feed) in self.topics.values_mut() {
            let appends = activity.appends();
            if appends > *seen {
                let age = wall.saturating_since(activity.received()).min(since_look);
                feed.record(now.checked_sub(age).unwrap_or(now), appends - *seen);
                *seen = appends;
            }
        }
        self.last_look = Some((now, wall));
    }

    /// Decides what is silent, and logs what has become silent or is heard again. `listening` is the
    /// time since when messages would have arrived, `None` if they would not now.
    pub(super) fn check(&mut self, now: Instant, listening: Option<Instant>) {
        let Some(listening) = listening else {
            let feeds = self.topics.values_mut().map(|(.., feed)| feed);
            for feed in feeds.chain([&mut self.all]) {
                feed.usual.interrupt();
                feed.is_silent = false;
            }
            return;
        };
        let all_silent = self.all.is_silent_at(now, listening, Some(SILENCE_FROM_START));
        if all_silent && !self.all.is_silent {
            let seconds = self.silent_seconds(now, listening);
            warn!(
                seconds,
                "no data comes, for far longer than usual, although the connection is up; if this goes on, look whether the server still sends these topics"
            );
        } else if self.all.is_silent && !all_silent {
            info!("data comes again");
        }
        self.all.is_silent = all_silent;
        let mut silent = Vec::new();
        let mut heard = Vec::new();
        for (topic, (.., feed)) in &mut self.topics {
            let is_silent = feed.is_silent_at(now, listening, None);
            if is_silent && !feed.is_silent {
                silent.push(topic);
            } else if feed.is_silent && !is_silent {
                heard.push(topic);
            }
            feed.is_silent = is_silent;
        }
        if !silent.is_empty() && !all_silent {
            let count = silent.len();
            silent.truncate(MAX_LOGGED_TOPICS);
            warn!(count, topics = ?silent, "topics are silent: no data came for 100 times the usual interval");
        }
        if !heard.is_empty() {
            let count = heard.len();
            heard.truncate(MAX_LOGGED_TOPICS);
            info!(count, topics = ?heard, "data of topics that were silent comes again");
        }
    }

    fn silent_seconds(&self, now: Instant, listening: Instant) -> u64 {
        let since = self.all.last_data.map_or(listening, |last| last.max(listening));
        now.saturating_duration_since(since).as_secs()
    }

    /// Returns whether the pipeline as a whole is silent.
    pub(super) fn is_silent(&self) -> bool {
        self.all.is_silent
    }

    /// Returns the watched topics with their feeds.
    pub(super) fn topics(&self) -> impl Iterator<Item = (&String, &WatchedFeed)> {
        self.topics.iter().map(|(topic, (.., feed))| (topic, feed))
    }

    /// Returns the feed of a topic, if it is watched.
    pub(super) fn topic(&self, topic: &str) -> Option<&WatchedFeed> {
        self.topics.get(topic).map(|(.., feed)| feed)
    }
}
