//! What a link does when it is time.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tracing::debug;

use super::{MAX_REQUEST_BACKLOG_BYTES, WebsocketConnection};
use crate::plugin::{Disconnect, DownCause};
use crate::sources::websocket::request_builder::render_message;

impl WebsocketConnection {
    fn send_ping_if_due(&mut self, now: Instant) {
        if let (Some(due), Some((text, interval))) = (self.next_ping_at, &self.keep_alive.ping)
            && due <= now
        {
            self.next_ping_at = Some(now + *interval);
            debug!("application ping");
            let text = render_message(text, 0);
            self.queue_text(text);
        }
    }

    /// Says what the conversation asks for.
    pub(super) fn send_due(&mut self, now: Instant) {
        for reply in self.tracker.take_replies() {
            self.queue_text(reply);
        }
        while self.write_buffer.len() < MAX_REQUEST_BACKLOG_BYTES
            && let Some(request) = self.tracker.start_due_request(now)
        {
            self.queue_text(request);
        }
        if self.next_deadline().is_some_and(|at| at < self.timer.deadline()) {
            self.reset_timer();
        }
    }

    /// Does what is due.
    pub(super) fn on_timer(&mut self, now: Instant) {
        self.send_ping_if_due(now);
        self.send_due(now);
        self.reset_timer();
    }

    /// Does what is due, and minds how long nothing has come. To be called only when there is nothing
    /// left to read.
    pub(super) fn check_timeouts(&mut self, now: Instant) -> Result<(), Disconnect> {
        if let Some((unsendable, _)) =
            self.write_failure.as_ref().filter(|(_, until)| *until <= now)
        {
            return Err(unsendable.clone());
        }
        self.tracker.check_timeouts(now)?;
        if let Some(idle) = self.keep_alive.idle_timeout {
            match self.pong_deadline {
                Some(due) if due <= now => {
                    let detail = format!("no frame for {idle:?}, also not in answer to a ping");
                    let silent_for = Some(now - self.silent_since);
                    return Err(Disconnect {
                        silent_for,
                        ..Disconnect::new(DownCause::Idle, detail)
                    });
                }
                // Also after a pause of our own: the server is asked before it is given up.
                None if now - self.silent_since >= idle / 2 => {
                    self.pong_deadline = Some(now + idle / 2);
                    debug!("nothing heard for half the idle time-out, asking with a ping");
                    self.queue_frame(Frame::ping(Vec::new()));
                }
                _ => {}
            }
        }
        self.on_timer(now);
        Ok(())
    }

    /// The timer is not moved at every read: when it fires, the time is looked at.
    pub(super) fn reset_timer(&mut self) {
        // A day is never, for a timer that may be set again.
        let never = || Instant::now() + Duration::from_secs(86_400);
        let next = self.next_deadline().unwrap_or_else(never);
        self.timer.as_mut().reset(next);
    }

    fn next_deadline(&self) -> Option<Instant> {
        let probe = self.keep_alive.idle_timeout.map(|idle| self.silent_since + idle / 2);
        let silence = self.pong_deadline.or(probe);
        // Requests that found no room are made when there is some.
        let request = self
            .tracker
            .request_due_at()
            .filter(|_| self.write_buffer.len() < MAX_REQUEST_BACKLOG_BYTES);
        let unsendable = self.write_failure.as_ref().map(|(_, until)| *until);
        let all = [self.next_ping_at, silence, request, unsendable, self.tracker.next_deadline()];
        all.into_iter().flatten().min()
    }
}
