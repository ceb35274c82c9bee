//! How long nothing but heartbeats has come: of the connection, and of single topics. The mildest
//! repair comes first: what is silent is asked for again, and only then is the connection given up.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::subscription_tracker::ProtocolSettings;
use crate::plugin::{Disconnect, DownCause};

/// Messages this near to each other are as good as one.
const RECENT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct SilenceMonitor {
    connection_timer: Option<SilenceTimer>,
    topic_timers: Vec<SilenceTimer>,
    topic_names: Vec<String>,
    /// Whether there is something that can be asked for again.
    can_resubscribe: bool,
}

/// One thing that must not be silent for too long.
#[derive(Debug, Clone, Copy)]
struct SilenceTimer {
    limit: Duration,
    last_data: Instant,
    /// Since when it is waited for again, after it was asked for again.
    resubscribed_at: Option<Instant>,
    /// Whether something was ever heard: what never was may be spelled differently, or be quiet by
    /// nature, and is no reason to give a connection up.
    has_had_data: bool,
    /// Whether it is waited for at all.
    is_armed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum SilenceAction {
    Wait,
    Resubscribe,
    Disconnect,
}

impl SilenceTimer {
    fn deadline(&self) -> Instant {
        self.resubscribed_at.unwrap_or(self.last_data) + self.limit
    }

    fn check_deadline(&mut self, now: Instant) -> SilenceAction {
        match self.resubscribed_at {
            _ if !self.is_armed || now < self.deadline() => SilenceAction::Wait,
            Some(_) if !self.has_had_data => {
                self.is_armed = false;
                SilenceAction::Wait
            }
            Some(_) => SilenceAction::Disconnect,
            None => {
                self.resubscribed_at = Some(now);
                SilenceAction::Resubscribe
            }
        }
    }

    fn record_data(&mut self, now: Instant) {
        (self.last_data, self.resubscribed_at) = (now, None);
        (self.has_had_data, self.is_armed) = (true, true);
    }
}

impl SilenceMonitor {
    pub(super) fn new(manners: &ProtocolSettings, now: Instant) -> Self {
        let patience = |limit, armed| SilenceTimer {
            limit,
            last_data: now,
            resubscribed_at: None,
            has_had_data: armed,
            is_armed: armed,
        };
        let names = manners.requests.topics();
        let topics =
            manners.topic_silence.map_or(Vec::new(), |l| vec![patience(l, false); names.len()]);
        Self {
            connection_timer: manners.silence_timeout.map(|limit| patience(limit, true)),
            topic_timers: topics,
            topic_names: names.to_vec(),
            can_resubscribe: !names.is_empty() || !manners.requests.fixed_messages().is_empty(),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.connection_timer.is_some() || self.has_topic_timers()
    }

    pub(super) fn has_topic_timers(&self) -> bool {
        !self.topic_timers.is_empty()
    }

    /// Whether data was heard just now, so that the next message need not be looked at.
    pub(super) fn has_recent_data(&self, now: Instant) -> bool {
        !self.has_topic_timers()
            && self
                .connection_timer
                .is_none_or(|c| c.resubscribed_at.is_none() && c.last_data + RECENT > now)
    }

    /// These topics are asked for now: from here on they may be waited for.
    pub(super) fn arm_topics(&mut self, places: &[usize], now: Instant) {
        for place in places {
            if let Some(topic) = self.topic_timers.get_mut(*place).filter(|topic| !topic.is_armed) {
                (topic.last_data, topic.is_armed) = (now, true);
            }
        }
    }

    pub(super) fn record_data(&mut self, now: Instant) {
        if let Some(connection) = &mut self.connection_timer {
            connection.record_data(now);
        }
    }

    pub(super) fn record_topic_data(&mut self, place: usize, now: Instant) {
        if let Some(topic) = self.topic_timers.get_mut(place) {
            topic.record_data(now);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let all = self.topic_timers.iter().chain(&self.connection_timer);
        all.filter(|patience| patience.is_armed).map(SilenceTimer::deadline).min()
    }

    /// For how long nothing of the topic has come, as far as that is known.
    pub(super) fn topic_silent_for(&self, place: usize, now: Instant) -> Duration {
        let patience = self.topic_timers.get(place).or(self.connection_timer.as_ref());
        patience.map_or(Duration::ZERO, |patience| now - patience.last_data)
    }

    /// The topics that are to be asked for again, by their places, if any.
    pub(super) fn check_deadlines(
        &mut self,
        now: Instant,
    ) -> Result<Option<Vec<usize>>, Disconnect> {
        if let Some(connection) = &mut self.connection_timer {
            match connection.check_deadline(now) {
                SilenceAction::Wait => {}
                SilenceAction::Resubscribe if self.can_resubscribe => {
                    warn!(silent = ?connection.limit, "no data on the connection, subscribing again");
                    return Ok(Some((0..self.topic_names.len()).collect()));
                }
                _ => return Err(self.silence_disconnect(now, "no data on the connection")),
            }
        }
        let (mut again, mut over) = (Vec::new(), None);
        for (place, topic) in self.topic_timers.iter_mut().enumerate() {
            match topic.check_deadline(now) {
                SilenceAction::Wait => {}
                SilenceAction::Resubscribe => again.push(place),
                SilenceAction::Disconnect => over = over.or(Some(place)),
            }
        }
        if let Some(place) = over {
            let name = self.topic_names.get(place).map_or("", String::as_str);
            return Err(self.silence_disconnect(now, &format!("no data of the topic {name}")));
        }
        if !again.is_empty() {
            let topics: Vec<_> =
                again.iter().filter_map(|place| self.topic_names.get(*place)).collect();
            warn!(?topics, "no data of these topics, subscribing to them again");
        }
        Ok(Some(again).filter(|again| !again.is_empty()))
    }

    fn silence_disconnect(&self, now: Instant, what: &str) -> Disconnect {
        let patiences = self.topic_timers.iter().chain(&self.connection_timer);
        let silent_for = patiences.map(|patience| now - patience.last_data).max();
        let limit = silent_for.unwrap_or_default();
        let again = if self.can_resubscribe { ", also not after subscribing again" } else { "" };
        let detail = format!("{what} for {limit:.1?}{again}");
        Disconnect { silent_for, ..Disconnect::new(DownCause::Silent, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_topic_is_resubscribed_before_the_connection_is_closed() {
        let mut patience = SilenceTimer {
            limit: Duration::from_secs(10),
            last_data: Instant::now(),
            resubscribed_at: None,
            has_had_data: true,
            is_armed: true,
        };
        let mut step = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            patience.check_deadline(Instant::now())
        };
        assert_eq!(step(9).await, SilenceAction::Wait);
        assert_eq!(step(1).await, SilenceAction::Resubscribe);
        assert_eq!(step(9).await, SilenceAction::Wait);
        assert_eq!(step(1).await, SilenceAction::Disconnect);
        patience.record_data(Instant::now());
        assert_eq!(patience.check_deadline(Instant::now()), SilenceAction::Wait);
    }
}
