//! The times of the last messages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::counter::Counter;
use crate::base::time::UnixNanos;

/// A time that there is not.
const NEVER: u64 = u64::MAX;

/// The messages of a pipeline or of a connection, with the times of the last ones. Written once per
/// batch, by two stores.
#[derive(Debug)]
pub(crate) struct Activity {
    pub(crate) began: Instant,
    /// Nanoseconds from `began` to the last message.
    last_message: AtomicU64,
    /// The same to the last message that is not a control message.
    last_data: AtomicU64,
    pub(crate) messages: Counter,
    /// Control messages among them.
    pub(crate) control: Counter,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            last_message: AtomicU64::new(NEVER),
            last_data: AtomicU64::new(NEVER),
            messages: Counter::default(),
            control: Counter::default(),
        }
    }
}

impl Activity {
    /// Records messages that were read at `at`, of which `control` are control messages.
    pub(crate) fn record(&self, at: Instant, messages: u64, control: u64) {
        let since = at.saturating_duration_since(self.began).as_nanos();
        let since = u64::try_from(since).unwrap_or(NEVER - 1);
        // Relaxed: each is read on its own.
        self.last_message.store(since, Ordering::Relaxed);
        self.messages.add(messages);
        if control > 0 {
            self.control.add(control);
        }
        if messages > control {
            self.last_data.store(since, Ordering::Relaxed);
        }
    }

    /// Returns the time of the last data, if there was any.
    pub(super) fn last_data(&self) -> Option<Instant> {
        self.time(&self.last_data)
    }

    fn time(&self, nanos: &AtomicU64) -> Option<Instant> {
        let nanos = nanos.load(Ordering::Relaxed);
        (nanos != NEVER).then(|| self.began + Duration::from_nanos(nanos))
    }

    /// Returns the times of the last messages as the status shows them.
    pub(super) fn last_messages(&self, now: Instant, wall: UnixNanos) -> LastMessages {
        let last_message = self.time(&self.last_message);
        LastMessages::new(last_message, self.last_data(), now, wall)
    }
}

/// The times of the last message and of the last data. Ages are monotonic: a step of the clock does
/// not change them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LastMessages {
    /// Time of the last message, RFC 3339.
    #[serde(default)]
    pub last_message: Option<String>,
    /// Seconds since then.
    #[serde(default)]
    pub last_message_age_seconds: Option<f64>,
    /// Time of the last message that is not a control message, RFC 3339.
    #[serde(default)]
    pub last_data: Option<String>,
    /// Seconds since then.
    #[serde(default)]
    pub last_data_age_seconds: Option<f64>,
}

impl LastMessages {
    /// Returns these times, of which each is also that of the wall clock, which shows `wall` now.
    pub(super) fn new(
        last_message: Option<Instant>,
        last_data: Option<Instant>,
        now: Instant,
        wall: UnixNanos,
    ) -> Self {
        let age = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let time = |age: Option<Duration>| age.map(|age| wall.saturating_sub(age).to_string());
        let seconds = |age: Option<Duration>| {
            // To the millisecond.
            age.map(|age| (age.as_secs_f64() * 1e3).floor() / 1e3)
        };
        let message_age = age(last_message);
        let data_age = age(last_data);
        Self {
            last_message: time(message_age),
            last_message_age_seconds: seconds(message_age),
            last_data: time(data_age),
            last_data_age_seconds: seconds(data_age),
        }
    }

    /// Keeps the later of both for each time.
    pub(super) fn keep_later(&mut self, other: &Self) {
        let is_later = |own: Option<f64>, other: Option<f64>| match (own, other) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(own), Some(other)) => other < own,
        };
        if is_later(self.last_message_age_seconds, other.last_message_age_seconds) {
            self.last_message.clone_from(&other.last_message);
            self.last_message_age_seconds = other.last_message_age_seconds;
        }
        if is_later(self.last_data_age_seconds, other.last_data_age_seconds) {
            self.last_data.clone_from(&other.last_data);
            self.last_data_age_seconds = other.last_data_age_seconds;
        }
    }
}
