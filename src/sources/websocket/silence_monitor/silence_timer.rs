//! The timer of one topic or of one connection.

use std::time::Duration;

use tokio::time::Instant;

/// Measures the silence of one topic or of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct SilenceTimer {
    limit: Duration,
    last_data: Instant,
    state: TimerState,
    /// Set once there was data. Without any the topic may be misspelled, or quiet by nature, and its
    /// silence is no reason to close the connection.
    has_had_data: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimerState {
    /// The topic is not requested yet.
    Idle,
    /// Data is awaited since `last_data`.
    Running,
    /// Data is awaited since this time, at which the topic was requested again.
    Resubscribed(Instant),
    /// Data is not awaited: there never was any, not even after the topic was requested again.
    GivenUp,
}

/// The step that a silence calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SilenceAction {
    /// None.
    Wait,
    /// Request the topic again.
    Resubscribe,
    /// Close the connection.
    Disconnect,
}

impl SilenceTimer {
    /// Creates the timer of a topic, which [`Self::arm`] starts.
    pub(super) fn for_topic(limit: Duration, now: Instant) -> Self {
        Self { limit, last_data: now, state: TimerState::Idle, has_had_data: false }
    }

    /// Creates the timer of a connection, which is running.
    pub(super) fn for_connection(limit: Duration, now: Instant) -> Self {
        Self { limit, last_data: now, state: TimerState::Running, has_had_data: true }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Returns the time since the last data, or since the timer was armed.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now - self.last_data
    }

    /// Returns whether there was data within `window`, and since the last request.
    pub(super) fn has_data_within(&self, window: Duration, now: Instant) -> bool {
        self.state == TimerState::Running && self.last_data + window > now
    }

    /// Starts the timer of a topic that is requested for the first time. The silence of a topic that
    /// was given up is measured from its last request.
    pub(super) fn arm(&mut self, now: Instant) {
        match self.state {
            TimerState::Idle => {
                self.last_data = now;
                self.state = TimerState::Running;
            }
            TimerState::GivenUp => self.last_data = now,
            TimerState::Running | TimerState::Resubscribed(_) => {}
        }
    }

    pub(super) fn record_data(&mut self, now: Instant) {
        self.last_data = now;
        self.state = TimerState::Running;
        self.has_had_data = true;
    }

    /// Returns the time at which [`Self::check_deadline`] must be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            TimerState::Idle | TimerState::GivenUp => None,
            TimerState::Running => Some(self.last_data + self.limit),
            TimerState::Resubscribed(requested_at) => Some(requested_at + self.limit),
        }
    }

    pub(super) fn check_deadline(&mut self, now: Instant) -> SilenceAction {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return SilenceAction::Wait;
        }
        if self.state == TimerState::Running {
            self.state = TimerState::Resubscribed(now);
            return SilenceAction::Resubscribe;
        }
        if self.has_had_data {
            return SilenceAction::Disconnect;
        }
        self.state = TimerState::GivenUp;
        SilenceAction::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_topic_is_resubscribed_before_the_connection_is_closed() {
        let mut timer = SilenceTimer::for_topic(Duration::from_secs(10), Instant::now());
        timer.record_data(Instant::now());
        let mut check_after = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            timer.check_deadline(Instant::now())
        };
        assert_eq!(check_after(9).await, SilenceAction::Wait);
        assert_eq!(check_after(1).await, SilenceAction::Resubscribe);
        assert_eq!(check_after(9).await, SilenceAction::Wait);
        assert_eq!(check_after(1).await, SilenceAction::Disconnect);
        timer.record_data(Instant::now());
        assert_eq!(timer.check_deadline(Instant::now()), SilenceAction::Wait);
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_never_had_data_does_not_close_the_connection() {
        let mut timer = SilenceTimer::for_topic(Duration::from_secs(10), Instant::now());
        assert_eq!(timer.deadline(), None, "it is not requested");
        timer.arm(Instant::now());
        for action in [SilenceAction::Resubscribe, SilenceAction::Wait, SilenceAction::Wait] {
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(timer.check_deadline(Instant::now()), action);
        }
        assert_eq!(timer.deadline(), None);
        timer.arm(Instant::now());
        assert_eq!(timer.silent_for(Instant::now()), Duration::ZERO);
    }
}
