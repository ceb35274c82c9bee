//! What a link does when it is time.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tracing::debug;

use super::{Link, MAX_ASKED};
use crate::plugin::{Cause, Disconnect};
use crate::sources::websocket::conversation::text_now;

impl Link {
    fn ping_if_due(&mut self, now: Instant) {
        if let (Some(due), Some((text, interval))) = (self.ping_due, &self.liveness.ping)
            && due <= now
        {
            self.ping_due = Some(now + *interval);
            debug!("application ping");
            let text = text_now(text, 0);
            self.queue_text(text);
        }
    }

    /// Says what the conversation asks for.
    pub(super) fn speak(&mut self, now: Instant) {
        for reply in self.watch.take_replies() {
            self.queue_text(reply);
        }
        while self.unsent.len() < MAX_ASKED
            && let Some(request) = self.watch.due(now)
        {
            self.queue_text(request);
        }
        if self.wake_at().is_some_and(|at| at < self.timer.deadline()) {
            self.set_timer();
        }
    }

    /// Does what is due.
    pub(super) fn act(&mut self, now: Instant) {
        self.ping_if_due(now);
        self.speak(now);
        self.set_timer();
    }

    /// Does what is due, and minds how long nothing has come. To be called only when there is nothing
    /// left to read.
    pub(super) fn judge(&mut self, now: Instant) -> Result<(), Disconnect> {
        if let Some((unsendable, _)) = self.unsendable.as_ref().filter(|(_, until)| *until <= now) {
            return Err(unsendable.clone());
        }
        self.watch.on_time(now)?;
        if let Some(idle) = self.liveness.idle {
            match self.answer_due {
                Some(due) if due <= now => {
                    let detail = format!("no frame for {idle:?}, also not in answer to a ping");
                    let silent_for = Some(now - self.quiet_since);
                    return Err(Disconnect { silent_for, ..Disconnect::new(Cause::Idle, detail) });
                }
                // Also after a pause of our own: the server is asked before it is given up.
                None if now - self.quiet_since >= idle / 2 => {
                    self.answer_due = Some(now + idle / 2);
                    debug!("nothing heard for half the idle time-out, asking with a ping");
                    self.queue(Frame::ping(Vec::new()));
                }
                _ => {}
            }
        }
        self.act(now);
        Ok(())
    }

    /// The timer is not moved at every read: when it fires, the time is looked at.
    pub(super) fn set_timer(&mut self) {
        // A day is never, for a timer that may be set again.
        let never = || Instant::now() + Duration::from_secs(86_400);
        let next = self.wake_at().unwrap_or_else(never);
        self.timer.as_mut().reset(next);
    }

    fn wake_at(&self) -> Option<Instant> {
        let probe = self.liveness.idle.map(|idle| self.quiet_since + idle / 2);
        let silence = self.answer_due.or(probe);
        // Requests that found no room are made when there is some.
        let request = self.watch.request_at().filter(|_| self.unsent.len() < MAX_ASKED);
        let unsendable = self.unsendable.as_ref().map(|(_, until)| *until);
        let all = [self.ping_due, silence, request, unsendable, self.watch.wake_at()];
        all.into_iter().flatten().min()
    }
}
