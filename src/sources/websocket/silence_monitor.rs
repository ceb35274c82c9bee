//! Detection of connections and topics that deliver no data, although the connection is alive.
//!
//! The first remedy is to subscribe again, the second one to close the connection.

mod silence_timer;

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use self::silence_timer::{SilenceAction, SilenceTimer};
use super::protocol_settings::ProtocolSettings;
use super::topic_vec::{TopicIndex, TopicVec};
use crate::plugin::{Disconnect, DownCause};

/// Time after a message of data in which further ones need not be recorded.
pub(super) const RECENT: Duration = Duration::from_millis(100);

/// The silence timers of one connection.
#[derive(Debug)]
pub(super) struct SilenceMonitor {
    /// Present if `silence_timeout` is set.
    connection_timer: Option<SilenceTimer>,
    /// Present if `topic_silence` is set and there are topics.
    topic_timers: Option<TopicVec<SilenceTimer>>,
    topic_names: TopicVec<String>,
    /// Set if there is a message that subscribes again.
    can_resubscribe: bool,
}

impl SilenceMonitor {
    pub(super) fn new(settings: &ProtocolSettings, now: Instant) -> Self {
        let topics = settings.requests.topics();
        Self {
            connection_timer: settings
                .silence_timeout
                .map(|limit| SilenceTimer::for_connection(limit, now)),
            topic_timers: settings
                .topic_silence
                .filter(|_| !topics.is_empty())
                .map(|limit| TopicVec::filled(SilenceTimer::for_topic(limit, now), topics.len())),
            topic_names: topics.clone(),
            can_resubscribe: !topics.is_empty() || settings.requests.has_fixed_messages(),
        }
    }

    /// Adds timers for further topics of the connection, which are armed with their requests, and
    /// stops those of topics that were removed.
    pub(super) fn on_topics_changed(
        &mut self,
        settings: &ProtocolSettings,
        removed: &[TopicIndex],
        now: Instant,
    ) {
        self.topic_names = settings.requests.topics().clone();
        self.can_resubscribe =
            !self.topic_names.is_empty() || settings.requests.has_fixed_messages();
        let Some(limit) = settings.topic_silence.filter(|_| !self.topic_names.is_empty()) else {
            return;
        };
        let timers = self.topic_timers.get_or_insert_with(|| TopicVec::new(Vec::new()));
        while timers.len() < self.topic_names.len() {
            timers.push(SilenceTimer::for_topic(limit, now));
        }
        for topic in removed {
            timers[*topic] = SilenceTimer::for_topic(limit, now);
        }
    }

    /// Returns whether the silence of each topic is measured.
    pub(super) fn has_topic_timers(&self) -> bool {
        self.topic_timers.is_some()
    }

    /// Returns whether a further message of data changes nothing, so that it need not be examined.
    pub(super) fn has_recent_data(&self, now: Instant) -> bool {
        !self.has_topic_timers()
            && self.connection_timer.is_none_or(|timer| timer.has_data_within(RECENT, now))
    }

    /// Starts the timers of topics that are requested.
    pub(super) fn arm_topics(&mut self, topics: &[TopicIndex], now: Instant) {
        let Some(timers) = &mut self.topic_timers else { return };
        for topic in topics {
            timers[*topic].arm(now);
        }
    }

    /// Records a message of data.
    pub(super) fn record_data(&mut self, now: Instant) {
        if let Some(timer) = &mut self.connection_timer {
            timer.record_data(now);
        }
    }

    /// Records a message of data of a topic.
    pub(super) fn record_topic_data(&mut self, topic: TopicIndex, now: Instant) {
        if let Some(timers) = &mut self.topic_timers {
            timers[topic].record_data(now);
        }
    }

    /// Returns the time at which [`Self::check_deadlines`] must be called.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers().filter_map(SilenceTimer::deadline).min()
    }

    /// Returns the time since the last data of a topic, or of the connection if topics are not
    /// measured.
    pub(super) fn topic_silent_for(&self, topic: TopicIndex, now: Instant) -> Option<Duration> {
        let topic_timer = self.topic_timers.as_ref().map(|timers| &timers[topic]);
        topic_timer.or(self.connection_timer.as_ref()).map(|timer| timer.silent_for(now))
    }

    /// Returns the topics to subscribe to again: `None` for nothing, an empty list for the fixed
    /// messages alone.
    ///
    /// # Errors
    /// There was no data after subscribing again either.
    pub(super) fn check_deadlines(
        &mut self,
        now: Instant,
    ) -> Result<Option<Vec<TopicIndex>>, Disconnect> {
        if let Some(timer) = &mut self.connection_timer {
            match timer.check_deadline(now) {
                SilenceAction::Wait => {}
                SilenceAction::Resubscribe if self.can_resubscribe => {
                    warn!(silent = ?timer.limit(), "no data on the connection, subscribing again");
                    return Ok(Some(self.topic_names.indexes().collect()));
                }
                SilenceAction::Resubscribe | SilenceAction::Disconnect => {
                    return Err(self.silence_disconnect(now, "no data on the connection"));
                }
            }
        }
        let Some(timers) = &mut self.topic_timers else { return Ok(None) };
        let mut silent = Vec::new();
        let mut still_silent = None;
        for topic in timers.indexes() {
            match timers[topic].check_deadline(now) {
                SilenceAction::Wait => {}
                SilenceAction::Resubscribe => silent.push(topic),
                SilenceAction::Disconnect => still_silent = still_silent.or(Some(topic)),
            }
        }
        if let Some(topic) = still_silent {
            let silence = format!("no data of the topic {}", self.topic_names[topic]);
            return Err(self.silence_disconnect(now, &silence));
        }
        if silent.is_empty() {
            return Ok(None);
        }
        let topics: Vec<_> = silent.iter().map(|topic| &self.topic_names[*topic]).collect();
        warn!(?topics, "no data of these topics, subscribing to them again");
        Ok(Some(silent))
    }

    fn timers(&self) -> impl Iterator<Item = &SilenceTimer> {
        self.topic_timers.iter().flat_map(TopicVec::iter).chain(&self.connection_timer)
    }

    fn silence_disconnect(&self, now: Instant, silence: &str) -> Disconnect {
        let silent_for = self.timers().map(|timer| timer.silent_for(now)).max();
        let duration = silent_for.unwrap_or_default();
        let remedy = if self.can_resubscribe { ", also not after subscribing again" } else { "" };
        let detail = format!("{silence} for {duration:.1?}{remedy}");
        Disconnect { silent_for, ..Disconnect::new(DownCause::Silent, detail) }
    }
}
