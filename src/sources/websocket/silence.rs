//! How long nothing but heartbeats has come: of the connection, and of single topics. The mildest
//! repair comes first: what is silent is asked for again, and only then is the connection given up.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::watch::Manners;
use crate::plugin::{Cause, Disconnect};

/// Messages this near to each other are as good as one.
const NOW: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Silence {
    connection: Option<Patience>,
    topics: Vec<Patience>,
    names: Vec<String>,
    /// Whether there is something that can be asked for again.
    asks: bool,
}

/// One thing that must not be silent for too long.
#[derive(Debug, Clone, Copy)]
struct Patience {
    limit: Duration,
    heard: Instant,
    /// Since when it is waited for again, after it was asked for again.
    asked: Option<Instant>,
    /// Whether something was ever heard: what never was may be spelled differently, or be quiet by
    /// nature, and is no reason to give a connection up.
    ever: bool,
    /// Whether it is waited for at all.
    armed: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    AskAgain,
    GiveUp,
}

impl Patience {
    fn due(&self) -> Instant {
        self.asked.unwrap_or(self.heard) + self.limit
    }

    fn step(&mut self, now: Instant) -> Step {
        match self.asked {
            _ if !self.armed || now < self.due() => Step::Nothing,
            Some(_) if !self.ever => {
                self.armed = false;
                Step::Nothing
            }
            Some(_) => Step::GiveUp,
            None => {
                self.asked = Some(now);
                Step::AskAgain
            }
        }
    }

    fn heard(&mut self, now: Instant) {
        (self.heard, self.asked) = (now, None);
        (self.ever, self.armed) = (true, true);
    }
}

impl Silence {
    pub(super) fn new(manners: &Manners, now: Instant) -> Self {
        let patience =
            |limit, armed| Patience { limit, heard: now, asked: None, ever: armed, armed };
        let names = manners.conversation.topics();
        let topics =
            manners.topic_silence.map_or(Vec::new(), |l| vec![patience(l, false); names.len()]);
        Self {
            connection: manners.silence_timeout.map(|limit| patience(limit, true)),
            topics,
            names: names.to_vec(),
            asks: !names.is_empty() || !manners.conversation.messages().is_empty(),
        }
    }

    pub(super) fn is_minded(&self) -> bool {
        self.connection.is_some() || self.minds_topics()
    }

    pub(super) fn minds_topics(&self) -> bool {
        !self.topics.is_empty()
    }

    /// Whether data was heard just now, so that the next message need not be looked at.
    pub(super) fn heard_now(&self, now: Instant) -> bool {
        !self.minds_topics()
            && self.connection.is_none_or(|c| c.asked.is_none() && c.heard + NOW > now)
    }

    /// These topics are asked for now: from here on they may be waited for.
    pub(super) fn asked(&mut self, places: &[usize], now: Instant) {
        for place in places {
            if let Some(topic) = self.topics.get_mut(*place).filter(|topic| !topic.armed) {
                (topic.heard, topic.armed) = (now, true);
            }
        }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(connection) = &mut self.connection {
            connection.heard(now);
        }
    }

    pub(super) fn heard_of(&mut self, place: usize, now: Instant) {
        if let Some(topic) = self.topics.get_mut(place) {
            topic.heard(now);
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        let all = self.topics.iter().chain(&self.connection);
        all.filter(|patience| patience.armed).map(Patience::due).min()
    }

    /// For how long nothing of the topic has come, as far as that is known.
    pub(super) fn silent_for(&self, place: usize, now: Instant) -> Duration {
        let patience = self.topics.get(place).or(self.connection.as_ref());
        patience.map_or(Duration::ZERO, |patience| now - patience.heard)
    }

    /// The topics that are to be asked for again, by their places, if any.
    pub(super) fn check(&mut self, now: Instant) -> Result<Option<Vec<usize>>, Disconnect> {
        if let Some(connection) = &mut self.connection {
            match connection.step(now) {
                Step::Nothing => {}
                Step::AskAgain if self.asks => {
                    warn!(silent = ?connection.limit, "no data on the connection, subscribing again");
                    return Ok(Some((0..self.names.len()).collect()));
                }
                _ => return Err(self.give_up(now, "no data on the connection")),
            }
        }
        let (mut again, mut over) = (Vec::new(), None);
        for (place, topic) in self.topics.iter_mut().enumerate() {
            match topic.step(now) {
                Step::Nothing => {}
                Step::AskAgain => again.push(place),
                Step::GiveUp => over = over.or(Some(place)),
            }
        }
        if let Some(place) = over {
            let name = self.names.get(place).map_or("", String::as_str);
            return Err(self.give_up(now, &format!("no data of the topic {name}")));
        }
        if !again.is_empty() {
            let topics: Vec<_> = again.iter().filter_map(|place| self.names.get(*place)).collect();
            warn!(?topics, "no data of these topics, subscribing to them again");
        }
        Ok(Some(again).filter(|again| !again.is_empty()))
    }

    fn give_up(&self, now: Instant, what: &str) -> Disconnect {
        let patiences = self.topics.iter().chain(&self.connection);
        let silent_for = patiences.map(|patience| now - patience.heard).max();
        let limit = silent_for.unwrap_or_default();
        let again = if self.asks { ", also not after subscribing again" } else { "" };
        let detail = format!("{what} for {limit:.1?}{again}");
        Disconnect { silent_for, ..Disconnect::new(Cause::Silent, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_silent_is_asked_for_again_before_it_is_given_up() {
        let mut patience = Patience {
            limit: Duration::from_secs(10),
            heard: Instant::now(),
            asked: None,
            ever: true,
            armed: true,
        };
        let mut step = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            patience.step(Instant::now())
        };
        assert_eq!(step(9).await, Step::Nothing);
        assert_eq!(step(1).await, Step::AskAgain);
        assert_eq!(step(9).await, Step::Nothing);
        assert_eq!(step(1).await, Step::GiveUp);
        patience.heard(Instant::now());
        assert_eq!(patience.step(Instant::now()), Step::Nothing);
    }
}
