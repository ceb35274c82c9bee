//! What a link does when it is time.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tracing::debug;

use super::Link;
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
        let mut asked = false;
        while let Some(request) = self.watch.due(now) {
            self.queue_text(request);
            asked = true;
        }
        if asked || self.watch.wake_at().is_some_and(|at| at < self.timer.deadline()) {
            self.set_timer();
        }
    }

    pub(super) fn on_timer(&mut self) -> Result<(), Disconnect> {
        let now = Instant::now();
        self.ping_if_due(now);
        self.watch.on_time(now)?;
        self.speak(now);
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
        self.set_timer();
        Ok(())
    }

    /// The timer is not moved at every read: when it fires, the time is looked at.
    pub(super) fn set_timer(&mut self) {
        let probe = self.liveness.idle.map(|idle| self.quiet_since + idle / 2);
        let next = [self.ping_due, self.answer_due.or(probe), self.watch.wake_at()];
        let next = next.into_iter().flatten().min();
        // A day is never, for a timer that may be set again.
        let next = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        self.timer.as_mut().reset(next);
    }
}
