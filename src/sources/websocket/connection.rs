//! An open connection: reads and decodes messages, answers control frames, sends requests and
//! pings.

mod frame_writer;
mod keep_alive;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead as _, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tracing::debug;

use self::frame_writer::FrameWriter;
pub(super) use self::keep_alive::KeepAlive;
use self::keep_alive::{IdleAction, KeepAliveTimers};
use super::disconnects::io_disconnect;
use super::frame_decoder::{ClosePayload, ControlFrame, FeedProgress, FrameDecoder, FrameError};
use super::protocol_settings::ProtocolSettings;
use super::subscription_tracker::SubscriptionTracker;
use super::transport::Transport;
use crate::metrics::PipelineStats;
use crate::plugin::batch::Batch;
use crate::plugin::{CloseStatus, ConnectionEvent, Disconnect, DownCause, Subscription};

/// Size in bytes from which on a batch is returned although more messages may be ready.
const BATCH_TARGET_BYTES: usize = 128 << 10;
/// Maximum time for which a close frame may take to be sent.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Time after which an unused timer fires. The timer can be set to an earlier time at any moment.
const FAR_FUTURE: Duration = Duration::from_secs(86_400);

/// A connection whose handshake is complete.
pub(super) struct WebsocketConnection {
    stream: Box<dyn Transport>,
    decoder: FrameDecoder,
    tracker: SubscriptionTracker,
    writer: FrameWriter,
    keep_alive: KeepAliveTimers,
    /// Set by a ping or a pong: a sign of life, of which [`Self::read`] tells.
    was_heard: bool,
    /// Set unless the last read found the stream empty.
    may_have_more: bool,
    /// Fires at the earliest deadline.
    timer: Pin<Box<Sleep>>,
    /// Cause of the end of the connection, which is reported after the messages before it.
    disconnect: Option<Disconnect>,
    /// Set if the connection ended because of how the server compresses.
    has_compression_fault: bool,
    stats: Arc<PipelineStats>,
}

impl WebsocketConnection {
    /// Creates a connection from a stream whose handshake is complete.
    pub(super) fn new(
        stream: Box<dyn Transport>,
        decoder: FrameDecoder,
        tracker: SubscriptionTracker,
        keep_alive: KeepAlive,
        stats: Arc<PipelineStats>,
    ) -> Self {
        let now = Instant::now();
        let mut connection = Self {
            stream,
            decoder,
            tracker,
            writer: FrameWriter::new(),
            keep_alive: KeepAliveTimers::new(keep_alive, now),
            was_heard: false,
            may_have_more: false,
            timer: Box::pin(sleep_until(now)),
            disconnect: None,
            has_compression_fault: false,
            stats,
        };
        connection.reset_timer();
        connection
    }

    /// Sends the opening messages and the requests that are due, and waits until they are written.
    ///
    /// # Errors
    /// The connection ended. If the server sent messages before, the call succeeds and
    /// [`Self::read`] returns the messages first: they may hold the server's reason.
    pub(super) async fn send_subscription(&mut self) -> Result<(), Disconnect> {
        let sent = self.send_opening().await;
        self.reset_timer();
        let Err(error) = sent else { return Ok(()) };
        self.on_write_error(&error);
        let read_remainder = poll_fn(|cx| {
            while self.disconnect.is_none() && !self.decoder.is_full(BATCH_TARGET_BYTES) {
                if let Err(disconnect) = ready!(self.poll_decode(cx)) {
                    return Poll::Ready(Some(disconnect));
                }
            }
            Poll::Ready(self.disconnect.clone())
        });
        self.disconnect = read_remainder.await;
        if self.decoder.has_messages() {
            return Ok(());
        }
        Err(self.disconnect.take().unwrap_or_else(|| io_disconnect(&error)))
    }

    async fn send_opening(&mut self) -> io::Result<()> {
        let mut opening = self.tracker.opening_messages().into_iter();
        while let Some(text) =
            opening.next().or_else(|| self.tracker.start_due_request(Instant::now()))
        {
            self.queue_text(text);
            self.writer.write_all(&mut *self.stream).await?;
        }
        self.stream.flush().await
    }

    /// Returns the state of the subscriptions right after the connect.
    pub(super) fn initial_subscription(&mut self) -> Subscription {
        self.tracker.initial_subscription()
    }

    /// Returns whether the connection ended because of how the server compresses.
    pub(super) fn has_compression_fault(&self) -> bool {
        self.has_compression_fault
    }

    /// Returns the time since the last frame.
    pub(super) fn silent_for(&self) -> Duration {
        self.keep_alive.silent_for()
    }

    /// Waits for messages and moves them into `batch`, which must be empty, and what is learned
    /// besides into `events`.
    ///
    /// The batch stays empty if there are only events or signs of life to report.
    ///
    /// # Errors
    /// The cause of the end of the connection, after all messages before it.
    ///
    /// # Cancel safety
    /// Messages that were read stay in the connection until they are moved into a batch.
    pub(super) async fn read(
        &mut self,
        batch: &mut Batch,
        events: &mut Vec<ConnectionEvent>,
    ) -> Result<(), Disconnect> {
        let read = self.read_batch(batch).await;
        self.tracker.drain_events(events);
        read
    }

    async fn read_batch(&mut self, batch: &mut Batch) -> Result<(), Disconnect> {
        loop {
            let wants_more = self.may_have_more
                && self.disconnect.is_none()
                && !self.decoder.is_full(BATCH_TARGET_BYTES);
            if self.decoder.has_messages() && !wants_more {
                self.decoder.drain_into(batch);
                if let Some(rejected) = self.tracker.process_batch(batch) {
                    self.disconnect.get_or_insert(rejected);
                }
                self.send_due(Instant::now());
                if !batch.is_empty() {
                    return Ok(());
                }
                continue;
            }
            let was_heard = std::mem::take(&mut self.was_heard);
            if self.disconnect.is_none() && (self.tracker.take_notice() || was_heard) {
                return Ok(());
            }
            if let Some(disconnect) = self.disconnect.clone() {
                // The field stays set meanwhile: if this call is dropped, the next one must not read.
                self.send_close(&disconnect).await;
                return Err(disconnect);
            }
            if let Err(disconnect) = poll_fn(|cx| self.poll_io(cx)).await {
                self.disconnect.get_or_insert(disconnect);
            }
            let anomalies = self.decoder.take_anomalies();
            self.stats.newlines_folded.add(anomalies.newlines_folded);
            if let Some(reason) = anomalies.undecodable_reason {
                self.stats.report_undecodable(anomalies.undecodable, reason);
            }
        }
    }

    /// Begins and ends subscriptions, so that the topics become those of `settings`. The requests
    /// are sent by [`Self::read`].
    pub(super) fn set_topics(&mut self, settings: &ProtocolSettings) {
        let now = Instant::now();
        self.tracker.set_topics(settings, now);
        self.send_due(now);
        self.reset_timer();
    }

    /// Asks the server to end the stream. Messages that are on their way can still be read.
    pub(super) fn close(&mut self) -> CloseStatus {
        if self.disconnect.is_some() && !self.decoder.has_messages() {
            return CloseStatus::Done;
        }
        self.queue_close(CloseCode::Normal);
        CloseStatus::Draining
    }

    /// Writes what is queued, reads what is there, and checks the timers.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let now = Instant::now();
        self.keep_alive.begin_wait(now);
        // Checked here, because the timer is not polled while there is always something to read.
        if self.timer.deadline() <= now {
            self.on_timer(now);
        }
        loop {
            self.send_pending(cx);
            match self.poll_decode(cx) {
                Poll::Ready(decoded) => {
                    if decoded.is_ok() {
                        self.keep_alive.record_received(now);
                    }
                    self.may_have_more = true;
                    return Poll::Ready(decoded);
                }
                Poll::Pending => self.may_have_more = false,
            }
            if self.decoder.has_messages() || self.tracker.has_notice() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.timer.as_mut().poll(cx));
            // Checked only once the stream is empty: after a suspension of the recorder the server
            // was not silent, but unread.
            if let Err(disconnect) = self.check_timeouts(Instant::now()) {
                return Poll::Ready(Err(disconnect));
            }
        }
    }

    /// Decodes what the stream holds, up to a control frame or a full batch.
    fn poll_decode(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let input = match ready!(Pin::new(&mut self.stream).poll_fill_buf(cx)) {
            Ok([]) => {
                let detail = "the server ended the connection without a close frame";
                let end = Disconnect::new(DownCause::Eof, detail);
                return Poll::Ready(Err(self.writer.cause_of_end(end)));
            }
            Ok(input) => input,
            Err(error) => {
                let failure = io_disconnect(&error);
                // TLS has an end of its own, which a reset cuts off, too.
                let is_end = failure.cause == DownCause::Eof;
                return Poll::Ready(Err(if is_end {
                    self.writer.cause_of_end(failure)
                } else {
                    failure
                }));
            }
        };
        let FeedProgress { consumed, control } = match self.decoder.feed(input) {
            Ok(progress) => progress,
            Err(error) => {
                self.has_compression_fault |= error.is_compression_fault();
                return Poll::Ready(Err(frame_disconnect(&error)));
            }
        };
        Pin::new(&mut self.stream).consume(consumed);
        if let Some(control) = control {
            self.on_control_frame(control);
        }
        Poll::Ready(Ok(()))
    }

    fn on_control_frame(&mut self, control: ControlFrame) {
        match control {
            ControlFrame::Ping(payload) => {
                self.was_heard = true;
                self.queue_frame(Frame::pong(payload));
            }
            ControlFrame::Pong => {
                self.was_heard = true;
                debug!("pong");
            }
            ControlFrame::Close(reason) => {
                let code = reason.as_ref().map_or(CloseCode::Normal, |reason| reason.code.into());
                self.queue_close(if code.is_allowed() { code } else { CloseCode::Protocol });
                let detail = match reason {
                    None => "the server closed the connection without a code".to_owned(),
                    Some(ClosePayload { code, text }) if text.is_empty() => {
                        format!("the server closed the connection with code {code}")
                    }
                    Some(ClosePayload { code, text }) => {
                        format!("the server closed the connection with code {code}: {text}")
                    }
                };
                self.disconnect = Some(Disconnect::new(DownCause::Closed, detail));
            }
        }
    }

    /// Writes what is queued, and starts the requests that had to wait for room.
    fn send_pending(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Err(error) = self.writer.poll_write(&mut *self.stream, cx) {
                self.on_write_error(&error);
            }
            let is_request_due =
                self.tracker.request_due_at().is_some_and(|due| due <= Instant::now());
            if self.writer.is_closing() || !self.writer.is_empty() || !is_request_due {
                return;
            }
            self.send_due(Instant::now());
        }
    }

    /// Queues replies, and the requests that are due as far as there is room.
    fn send_due(&mut self, now: Instant) {
        for reply in self.tracker.take_replies() {
            self.queue_text(reply);
        }
        while self.writer.has_room_for_request()
            && let Some(request) = self.tracker.start_due_request(now)
        {
            self.queue_text(request);
        }
        if self.next_deadline().is_some_and(|deadline| deadline < self.timer.deadline()) {
            self.reset_timer();
        }
    }

    /// Queues everything that is due, and sets the timer to the next deadline.
    fn on_timer(&mut self, now: Instant) {
        if let Some(ping) = self.keep_alive.take_due_ping(now) {
            self.queue_text(ping);
        }
        self.send_due(now);
        self.reset_timer();
    }

    /// Checks all timeouts, then queues everything that is due.
    ///
    /// To be called only when the stream is empty.
    fn check_timeouts(&mut self, now: Instant) -> Result<(), Disconnect> {
        self.writer.check_failure(now)?;
        self.tracker.check_timeouts(now)?;
        match self.keep_alive.check_idle(now)? {
            IdleAction::Wait => {}
            IdleAction::SendPing => self.queue_frame(Frame::ping(Vec::new())),
        }
        self.on_timer(now);
        Ok(())
    }

    /// Sets the timer to the next deadline.
    ///
    /// A read does not move the timer: deadlines that moved are checked when it fires.
    fn reset_timer(&mut self) {
        let next = self.next_deadline().unwrap_or_else(|| Instant::now() + FAR_FUTURE);
        self.timer.as_mut().reset(next);
    }

    fn next_deadline(&self) -> Option<Instant> {
        // Requests without room are started once some is written.
        let has_room = self.writer.has_room_for_request();
        let deadlines = [
            self.keep_alive.next_deadline(),
            self.tracker.request_due_at().filter(|_| has_room),
            self.writer.failure_deadline(),
            self.tracker.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn queue_text(&mut self, text: String) {
        let queued = self.writer.queue_text(text);
        self.disconnect_on_error(queued);
    }

    fn queue_frame(&mut self, frame: Frame) {
        let queued = self.writer.queue_frame(frame);
        self.disconnect_on_error(queued);
    }

    fn queue_close(&mut self, code: CloseCode) {
        let queued = self.writer.queue_close(code);
        self.disconnect_on_error(queued);
    }

    fn disconnect_on_error(&mut self, queued: Result<(), Disconnect>) {
        if let Err(disconnect) = queued {
            self.disconnect.get_or_insert(disconnect);
        }
    }

    fn on_write_error(&mut self, error: &io::Error) {
        self.writer.fail(error);
        self.reset_timer();
    }

    /// Sends a close frame with the code of the cause, as far as the server still reads.
    async fn send_close(&mut self, disconnect: &Disconnect) {
        let code = match disconnect.cause {
            DownCause::Eof | DownCause::Io => return,
            DownCause::Protocol => CloseCode::Protocol,
            DownCause::Utf8 => CloseCode::Invalid,
            DownCause::TooLarge => CloseCode::Size,
            _ => CloseCode::Normal,
        };
        self.queue_close(code);
        let goodbye = async {
            self.writer.write_all(&mut *self.stream).await?;
            self.stream.shutdown().await
        };
        // The connection is given up whether or not the server reads this.
        drop(timeout(CLOSE_TIMEOUT, goodbye).await);
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

#[cfg(test)]
mod tests;
