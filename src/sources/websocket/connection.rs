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

use super::connect_target::Transport;
use super::frame_decoder::{FrameDecoder, FrameError};
use super::subscription_tracker::SubscriptionTracker;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{CloseStatus, Disconnect, DownCause, SourceEvent};

/// A batch that has grown to this size is handed on though more may be ready.
const BATCH_TARGET_BYTES: usize = 128 << 10;
/// Requests of our own are made only while less than this waits to be sent.
const MAX_REQUEST_BACKLOG_BYTES: usize = 64 << 10;

/// What keeps a link alive, and how long silence is borne.
#[derive(Debug, Clone)]
pub(super) struct KeepAlive {
    /// The application's own ping: what is sent and how often it is sent.
    pub(super) ping: Option<(Value, Duration)>,
    /// Without a byte for this long the link is dead; after half of it a WebSocket ping is sent.
    pub(super) idle_timeout: Option<Duration>,
}

/// A connection that is open and subscribed.
pub(super) struct WebsocketConnection {
    stream: Box<dyn Transport>,
    /// What came with the handshake's answer and is not yet unframed.
    leftover: Vec<u8>,
    decoder: FrameDecoder,
    tracker: SubscriptionTracker,
    /// Frames to be sent.
    write_buffer: Vec<u8>,
    /// Whether something was given to the stream that it may not have sent.
    needs_flush: bool,
    /// Why nothing can be sent any more, and when the end of what the server had sent before that is
    /// waited for no longer.
    write_failure: Option<(Disconnect, Instant)>,
    keep_alive: KeepAlive,
    /// Whether the last read left the stream with something to read, as far as is known.
    may_have_more: bool,
    /// When the next ping of the application is due.
    next_ping_at: Option<Instant>,
    /// Since when nothing has come; taken anew when a wait begins after something came.
    silent_since: Instant,
    /// When something came, since the last wait.
    last_received: Option<Instant>,
    /// When a WebSocket ping that was sent in this silence must have been answered.
    pong_deadline: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    /// Why the link is over, kept back until the messages before it are handed on.
    disconnect: Option<Disconnect>,
    closing: bool,
    random: &'static dyn SecureRandom,
    stats: Arc<PipelineStats>,
}

impl WebsocketConnection {
    /// A link on a stream behind its handshake; `early` came with the handshake's answer.
    pub(super) fn new(
        stream: Box<dyn Transport>,
        early: Vec<u8>,
        frames: FrameDecoder,
        watch: SubscriptionTracker,
        liveness: KeepAlive,
        stats: Arc<PipelineStats>,
    ) -> Self {
        let now = Instant::now();
        let mut link = Self {
            stream,
            leftover: early,
            decoder: frames,
            tracker: watch,
            write_buffer: Vec::new(),
            needs_flush: false,
            write_failure: None,
            may_have_more: false,
            next_ping_at: liveness.ping.as_ref().map(|(_, interval)| now + *interval),
            keep_alive: liveness,
            silent_since: now,
            last_received: None,
            pong_deadline: None,
            timer: Box::pin(sleep_until(now)),
            disconnect: None,
            closing: false,
            random: rustls::crypto::ring::default_provider().secure_random,
            stats,
        };
        link.reset_timer();
        link
    }

    /// Sends what is said first, and the requests that are due, and waits until they are out. A server
    /// that ends the connection meanwhile may have said why: then that is read first.
    pub(super) async fn send_subscription(&mut self) -> Result<(), Disconnect> {
        let said = self.send_opening().await;
        self.reset_timer();
        let Err(error) = said else { return Ok(()) };
        self.on_write_error(&error);
        let ended = poll_fn(|cx| {
            while self.disconnect.is_none() && !self.decoder.is_full(BATCH_TARGET_BYTES) {
                if let Err(ended) = ready!(self.poll_decode(cx)) {
                    return Poll::Ready(Some(ended));
                }
            }
            Poll::Ready(self.disconnect.clone())
        });
        self.disconnect = ended.await;
        if self.decoder.has_messages() {
            return Ok(());
        }
        Err(self.disconnect.take().unwrap_or_else(|| io_disconnect(&error)))
    }

    pub(super) fn is_delivering(&self) -> bool {
        self.tracker.is_delivering()
    }

    pub(super) fn has_announced_close(&self) -> bool {
        self.tracker.close_announced
    }

    /// For how long no frame has come.
    pub(super) fn silent_for(&self) -> Duration {
        self.last_received.unwrap_or(self.silent_since).elapsed()
    }

    /// Whether all topics are asked for, and answered as far as the server answers.
    pub(super) fn is_subscribed(&self) -> bool {
        self.tracker.is_subscribed()
    }

    pub(super) fn drain_newly_active(&mut self) -> Vec<String> {
        self.tracker.drain_newly_active()
    }

    pub(super) fn take_events(&mut self) -> Vec<SourceEvent> {
        self.tracker.take_events()
    }

    /// Fills the empty batch with at least one message, or leaves it empty when there is something else
    /// to tell.
    ///
    /// # Cancel safety
    /// Everything that was read stays in the link.
    pub(super) async fn read(&mut self, batch: &mut Batch) -> Result<(), Disconnect> {
        loop {
            let wants_more = self.may_have_more
                && self.disconnect.is_none()
                && !self.decoder.is_full(BATCH_TARGET_BYTES);
            if self.decoder.has_messages() && !wants_more {
                self.decoder.drain_into(batch);
                if let Some(refused) = self.tracker.process_batch(batch) {
                    self.disconnect.get_or_insert(refused);
                }
                self.send_due(Instant::now());
                if !batch.is_empty() {
                    return Ok(());
                }
                continue;
            }
            if self.disconnect.is_none() && self.tracker.take_notice() {
                return Ok(());
            }
            if let Some(over) = self.disconnect.clone() {
                // `over` stays until this is done: what was read so far must not be read again.
                self.send_close(&over).await;
                return Err(over);
            }
            if let Err(over) = poll_fn(|cx| self.poll_io(cx)).await {
                self.disconnect.get_or_insert(over);
            }
            let oddities = self.decoder.take_anomalies();
            self.stats.newlines_folded.add(oddities.newlines_folded);
            self.stats.undecodable.add(oddities.undecodable);
        }
    }

    /// Asks the server to end the stream; what is on its way can still be read.
    pub(super) fn close(&mut self) -> CloseStatus {
        if self.disconnect.is_some() && !self.decoder.has_messages() {
            return CloseStatus::Done;
        }
        self.closing = true;
        self.queue_close(CloseCode::Normal);
        CloseStatus::Draining
    }

    /// One step of waiting: sends what is to be sent, reads what is there, minds the time.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let now = Instant::now();
        if self.last_received.take().is_some() {
            self.pong_deadline = None;
            self.silent_since = now;
        }
        // The timer is not asked while there is always something to read.
        if self.timer.deadline() <= now {
            self.on_timer(now);
        }
        loop {
            self.send_pending(cx);
            match self.poll_decode(cx) {
                Poll::Ready(unframed) => {
                    if unframed.is_ok() {
                        self.last_received = Some(now);
                    }
                    self.may_have_more = true;
                    return Poll::Ready(unframed);
                }
                Poll::Pending => self.may_have_more = false,
            }
            if self.decoder.has_messages() || self.tracker.has_notice() {
                // What is ready is taken; nothing is waited for.
                return Poll::Ready(Ok(()));
            }
            ready!(self.timer.as_mut().poll(cx));
            // Now that all that has come is read: after a pause of our own silence would be ours.
            if let Err(silent) = self.check_timeouts(Instant::now()) {
                return Poll::Ready(Err(silent));
            }
        }
    }

    /// Takes apart what the stream has: all of it, or up to a control frame or a full batch.
    fn poll_decode(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let early = !self.leftover.is_empty();
        let input = if early {
            self.leftover.as_slice()
        } else {
            match ready!(Pin::new(&mut self.stream).poll_fill_buf(cx)) {
                Ok([]) => {
                    let detail = "the server ended the connection without a close frame";
                    return Poll::Ready(Err(Disconnect::new(DownCause::Eof, detail)));
                }
                Ok(input) => input,
                Err(error) => return Poll::Ready(Err(io_disconnect(&error))),
            }
        };
        let (used, control) = match self.decoder.feed(input) {
            Ok(fed) => fed,
            Err(error) => return Poll::Ready(Err(frame_disconnect(&error))),
        };
        if early {
            self.leftover.drain(..used);
        } else {
            Pin::new(&mut self.stream).consume(used);
        }
        if let Some(control) = control {
            self.on_control_frame(control);
        }
        Poll::Ready(Ok(()))
    }
}

fn frame_disconnect(error: &FrameError) -> Disconnect {
    let cause = match error {
        FrameError::InvalidUtf8 => DownCause::Utf8,
        FrameError::MessageTooLarge { .. } => DownCause::TooLarge,
        _ => DownCause::Protocol,
    };
    Disconnect::new(cause, error.to_string())
}

pub(super) fn io_disconnect(error: &io::Error) -> Disconnect {
    match error.kind() {
        // What TLS says when the connection ends without its own farewell.
        io::ErrorKind::UnexpectedEof => Disconnect::new(DownCause::Eof, error.to_string()),
        _ if super::tls::is_tls_error(error) => Disconnect::new(DownCause::Tls, error.to_string()),
        _ => Disconnect::new(DownCause::Io, error.to_string()),
    }
}

#[cfg(test)]
mod tests;
