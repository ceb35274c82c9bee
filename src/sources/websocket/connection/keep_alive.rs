//! Pings, and the detection of a dead connection.

use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use crate::plugin::{Disconnect, DownCause};
use crate::sources::websocket::ping_config::PingConfig;
use crate::sources::websocket::request_id::RequestId;
use crate::sources::websocket::wire_message::render_message;

/// The settings that keep a connection alive.
#[derive(Debug, Clone)]
pub(crate) struct KeepAlive {
    /// Message of the application that is sent at an interval.
    pub(crate) ping: Option<PingConfig>,
    /// Time without a frame after which the connection counts as dead. After half of it a WebSocket
    /// ping is sent.
    pub(crate) idle_timeout: Option<Duration>,
}

/// The timers of one connection.
pub(super) struct KeepAliveTimers {
    settings: KeepAlive,
    /// Time at which the next ping of the application is due.
    next_ping_at: Option<Instant>,
    /// Beginning of the current silence: the first wait after the last frame.
    silent_since: Instant,
    /// Time of the last frame, if no wait has begun since.
    last_received: Option<Instant>,
    /// Time by which a WebSocket ping that was sent in this silence must be answered.
    pong_deadline: Option<Instant>,
}

/// The step that a silence calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdleAction {
    /// None.
    Wait,
    /// Send a WebSocket ping.
    SendPing,
}

impl KeepAliveTimers {
    pub(super) fn new(settings: KeepAlive, now: Instant) -> Self {
        Self {
            next_ping_at: settings.ping.as_ref().map(|ping| now + ping.interval.to_duration()),
            settings,
            silent_since: now,
            last_received: None,
            pong_deadline: None,
        }
    }

    /// Records a frame.
    pub(super) fn record_received(&mut self, now: Instant) {
        self.last_received = Some(now);
    }

    /// Records the begin of a wait. If a frame was received before, a silence begins.
    pub(super) fn begin_wait(&mut self, now: Instant) {
        if self.last_received.take().is_some() {
            self.pong_deadline = None;
            self.silent_since = now;
        }
    }

    /// Returns the time since the last frame.
    pub(super) fn silent_for(&self) -> Duration {
        self.last_received.unwrap_or(self.silent_since).elapsed()
    }

    /// Returns the ping of the application if it is due, and schedules the next one.
    pub(super) fn take_due_ping(&mut self, now: Instant) -> Option<String> {
        let ping = self.settings.ping.as_ref()?;
        self.next_ping_at.filter(|due| *due <= now)?;
        self.next_ping_at = Some(now + ping.interval.to_duration());
        debug!("application ping");
        Some(render_message(&ping.message, RequestId::UNTRACKED))
    }

    /// Checks the length of the silence.
    ///
    /// # Errors
    /// The server did not answer a ping.
    pub(super) fn check_idle(&mut self, now: Instant) -> Result<IdleAction, Disconnect> {
        let Some(idle_timeout) = self.settings.idle_timeout else { return Ok(IdleAction::Wait) };
        match self.pong_deadline {
            Some(deadline) if deadline <= now => {
                let detail = format!("no frame for {idle_timeout:?}, not even in answer to a ping");
                let silent_for = Some(now - self.silent_since);
                Err(Disconnect { silent_for, ..Disconnect::new(DownCause::Idle, detail) })
            }
            // A ping precedes the disconnect also after the recorder itself was suspended.
            None if now - self.silent_since >= idle_timeout / 2 => {
                self.pong_deadline = Some(now + idle_timeout / 2);
                debug!("no frame for half of `idle_timeout`, sending a ping");
                Ok(IdleAction::SendPing)
            }
            _ => Ok(IdleAction::Wait),
        }
    }

    /// Returns the earliest time at which one of the timers is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let half = self.settings.idle_timeout.map(|idle_timeout| idle_timeout / 2);
        let idle = self.pong_deadline.or_else(|| half.map(|half| self.silent_since + half));
        [self.next_ping_at, idle].into_iter().flatten().min()
    }
}
