//! An open connection: reading, answering, keeping alive.

mod sending;
mod timing;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::crypto::SecureRandom;
use serde_json::Value;
use tokio::io::AsyncBufRead as _;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::frames::{FrameError, Unframer};
use super::open::Stream;
use super::watch::Watch;
use crate::batch::Batch;
use crate::plugin::{Cause, Closing, Disconnect, FeedEvent};
use crate::stats::Stats;

/// A batch that has grown to this size is handed on though more may be ready.
const BATCH_BYTES: usize = 128 << 10;
/// Requests of our own are made only while less than this waits to be sent.
const MAX_ASKED: usize = 64 << 10;

/// What keeps a link alive, and how long silence is borne.
#[derive(Debug, Clone)]
pub(super) struct Liveness {
    /// The application's own ping: what is sent and how often it is sent.
    pub(super) ping: Option<(Value, Duration)>,
    /// Without a byte for this long the link is dead; after half of it a WebSocket ping is sent.
    pub(super) idle: Option<Duration>,
}

/// A connection that is open and subscribed.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    /// What came with the handshake's answer and is not yet unframed.
    early: Vec<u8>,
    frames: Unframer,
    watch: Watch,
    /// Frames to be sent.
    unsent: Vec<u8>,
    /// Whether something was given to the stream that it may not have sent.
    unflushed: bool,
    /// Why nothing can be sent any more, and when the end of what the server had sent before that is
    /// waited for no longer.
    unsendable: Option<(Disconnect, Instant)>,
    liveness: Liveness,
    /// Whether the last read left the stream with something to read, as far as is known.
    more: bool,
    /// When the next ping of the application is due.
    ping_due: Option<Instant>,
    /// Since when nothing has come; taken anew when a wait begins after something came.
    quiet_since: Instant,
    /// When something came, since the last wait.
    heard: Option<Instant>,
    /// When a WebSocket ping that was sent in this silence must have been answered.
    answer_due: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Why the link is over, kept back until the messages before it are handed on.
    over: Option<Disconnect>,
    closing: bool,
    random: &'static dyn SecureRandom,
    stats: Arc<Stats>,
}

impl Link {
    /// A link on a stream behind its handshake; `early` came with the handshake's answer.
    pub(super) fn new(
        stream: Box<dyn Stream>,
        early: Vec<u8>,
        frames: Unframer,
        watch: Watch,
        liveness: Liveness,
        stats: Arc<Stats>,
    ) -> Self {
        let now = Instant::now();
        let mut link = Self {
            stream,
            early,
            frames,
            watch,
            unsent: Vec::new(),
            unflushed: false,
            unsendable: None,
            more: false,
            ping_due: liveness.ping.as_ref().map(|(_, interval)| now + *interval),
            liveness,
            quiet_since: now,
            heard: None,
            answer_due: None,
            timer: Box::pin(sleep_until(now)),
            over: None,
            closing: false,
            random: rustls::crypto::ring::default_provider().secure_random,
            stats,
        };
        link.set_timer();
        link
    }

    /// Sends what is said first, and the requests that are due, and waits until they are out. A server
    /// that ends the connection meanwhile may have said why: then that is read first.
    pub(super) async fn begin(&mut self) -> Result<(), Disconnect> {
        let said = self.say_first().await;
        self.set_timer();
        let Err(error) = said else { return Ok(()) };
        self.cannot_send(&error);
        let ended = poll_fn(|cx| {
            while self.over.is_none() && !self.frames.is_full(BATCH_BYTES) {
                if let Err(ended) = ready!(self.poll_unframe(cx)) {
                    return Poll::Ready(Some(ended));
                }
            }
            Poll::Ready(self.over.clone())
        });
        self.over = ended.await;
        if self.frames.has_messages() {
            return Ok(());
        }
        Err(self.over.take().unwrap_or_else(|| broken(&error)))
    }

    pub(super) fn is_settled(&self) -> bool {
        self.watch.is_settled()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.watch.ending
    }

    /// For how long no frame has come.
    pub(super) fn silent_for(&self) -> Duration {
        self.heard.unwrap_or(self.quiet_since).elapsed()
    }

    /// Whether all topics are asked for, and answered as far as the server answers.
    pub(super) fn is_subscribed(&self) -> bool {
        self.watch.is_subscribed()
    }

    pub(super) fn take_coming(&mut self) -> Vec<String> {
        self.watch.take_coming()
    }

    pub(super) fn take_events(&mut self) -> Vec<FeedEvent> {
        self.watch.take_events()
    }

    /// Fills the empty batch with at least one message, or leaves it empty when there is something else
    /// to tell.
    ///
    /// # Cancel safety
    /// Everything that was read stays in the link.
    pub(super) async fn read(&mut self, batch: &mut Batch) -> Result<(), Disconnect> {
        loop {
            let wants_more = self.more && self.over.is_none() && !self.frames.is_full(BATCH_BYTES);
            if self.frames.has_messages() && !wants_more {
                self.frames.take(batch);
                if let Some(refused) = self.watch.inspect(batch) {
                    self.over.get_or_insert(refused);
                }
                self.speak(Instant::now());
                if !batch.is_empty() {
                    return Ok(());
                }
                continue;
            }
            if self.over.is_none() && self.watch.take_news() {
                return Ok(());
            }
            if let Some(over) = self.over.clone() {
                // `over` stays until this is done: what was read so far must not be read again.
                self.goodbye(&over).await;
                return Err(over);
            }
            if let Err(over) = poll_fn(|cx| self.poll(cx)).await {
                self.over.get_or_insert(over);
            }
            let oddities = self.frames.take_oddities();
            self.stats.newlines_folded.add(oddities.newlines_folded);
            self.stats.undecodable.add(oddities.undecodable);
        }
    }

    /// Asks the server to end the stream; what is on its way can still be read.
    pub(super) fn close(&mut self) -> Closing {
        if self.over.is_some() && !self.frames.has_messages() {
            return Closing::Done;
        }
        self.closing = true;
        self.queue_close(CloseCode::Normal);
        Closing::Draining
    }

    /// One step of waiting: sends what is to be sent, reads what is there, minds the time.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let now = Instant::now();
        if self.heard.take().is_some() {
            self.answer_due = None;
            self.quiet_since = now;
        }
        // The timer is not asked while there is always something to read.
        if self.timer.deadline() <= now {
            self.act(now);
        }
        loop {
            self.send(cx);
            match self.poll_unframe(cx) {
                Poll::Ready(unframed) => {
                    if unframed.is_ok() {
                        self.heard = Some(now);
                    }
                    self.more = true;
                    return Poll::Ready(unframed);
                }
                Poll::Pending => self.more = false,
            }
            if self.frames.has_messages() || self.watch.has_news() {
                // What is ready is taken; nothing is waited for.
                return Poll::Ready(Ok(()));
            }
            ready!(self.timer.as_mut().poll(cx));
            // Now that all that has come is read: after a pause of our own silence would be ours.
            if let Err(silent) = self.judge(Instant::now()) {
                return Poll::Ready(Err(silent));
            }
        }
    }

    /// Takes apart what the stream has: all of it, or up to a control frame or a full batch.
    fn poll_unframe(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let early = !self.early.is_empty();
        let input = if early {
            self.early.as_slice()
        } else {
            match ready!(Pin::new(&mut self.stream).poll_fill_buf(cx)) {
                Ok([]) => {
                    let detail = "the server ended the connection without a close frame";
                    return Poll::Ready(Err(Disconnect::new(Cause::Eof, detail)));
                }
                Ok(input) => input,
                Err(error) => return Poll::Ready(Err(broken(&error))),
            }
        };
        let (used, control) = match self.frames.feed(input) {
            Ok(fed) => fed,
            Err(error) => return Poll::Ready(Err(refuse(&error))),
        };
        if early {
            self.early.drain(..used);
        } else {
            Pin::new(&mut self.stream).consume(used);
        }
        if let Some(control) = control {
            self.answer(control);
        }
        Poll::Ready(Ok(()))
    }
}

fn refuse(error: &FrameError) -> Disconnect {
    let cause = match error {
        FrameError::Utf8 => Cause::Utf8,
        FrameError::TooLarge { .. } => Cause::TooLarge,
        _ => Cause::Protocol,
    };
    Disconnect::new(cause, error.to_string())
}

pub(super) fn broken(error: &io::Error) -> Disconnect {
    match error.kind() {
        // What TLS says when the connection ends without its own farewell.
        io::ErrorKind::UnexpectedEof => Disconnect::new(Cause::Eof, error.to_string()),
        _ if super::tls::is_tls(error) => Disconnect::new(Cause::Tls, error.to_string()),
        _ => Disconnect::new(Cause::Io, error.to_string()),
    }
}

#[cfg(test)]
mod tests;
