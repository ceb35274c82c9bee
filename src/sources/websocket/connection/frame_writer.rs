//! The sending half of a connection.

use std::io;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::crypto::SecureRandom;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tracing::{debug, warn};

use crate::plugin::{Disconnect, DownCause};
use crate::sources::websocket::disconnects::io_disconnect;
use crate::sources::websocket::transport::Transport;

/// Maximum time for which the end of a stream is awaited after a failed write. After a reset the
/// system reports the end as soon as everything before it is read.
const READ_REMAINDER_TIMEOUT: Duration = Duration::from_millis(500);
/// Number of unsent bytes above which the connection is given up, because the server sends pings
/// without reading the pongs.
const MAX_UNSENT_BYTES: usize = 1 << 20;
/// Number of unsent bytes from which on no further request is started.
const MAX_REQUEST_BACKLOG_BYTES: usize = 64 << 10;

/// Limits the warning about the random number generator to one per process.
static WEAK_MASK_WARNING: Once = Once::new();

/// The frames that are still to be sent.
pub(super) struct FrameWriter {
    /// Encoded frames.
    buffer: Vec<u8>,
    /// Set if the stream may hold bytes that it has not sent.
    needs_flush: bool,
    failure: Option<WriteFailure>,
    /// Set once a close frame is queued, after which no data is sent (RFC 6455, 5.5.1).
    is_closing: bool,
    random: &'static dyn SecureRandom,
}

/// The error of a stream to which nothing more can be written.
struct WriteFailure {
    kind: io::ErrorKind,
    disconnect: Disconnect,
    /// Time up to which the bytes that the server sent before the failure are read.
    read_until: Instant,
}

impl FrameWriter {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            needs_flush: false,
            failure: None,
            is_closing: false,
            random: rustls::crypto::ring::default_provider().secure_random,
        }
    }

    /// Returns whether all frames were given to the stream.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Returns whether a further request may be queued.
    pub(super) fn has_room_for_request(&self) -> bool {
        self.buffer.len() < MAX_REQUEST_BACKLOG_BYTES
    }

    /// Returns whether a close frame is queued or sent.
    pub(super) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Queues a text message. A message after the close frame is dropped (RFC 6455, 5.5.1).
    ///
    /// # Errors
    /// See [`Self::queue_frame`].
    pub(super) fn queue_text(&mut self, text: String) -> Result<(), Disconnect> {
        if self.is_closing {
            return Ok(());
        }
        self.queue_frame(Frame::message(text, OpCode::Data(Data::Text), true))
    }

    /// Queues a frame. A frame after a failed write is dropped.
    ///
    /// # Errors
    /// The server does not read what is sent.
    pub(super) fn queue_frame(&mut self, mut frame: Frame) -> Result<(), Disconnect> {
        if self.failure.is_some() {
            return Ok(());
        }
        if self.buffer.len() > MAX_UNSENT_BYTES {
            let detail =
                format!("the server does not read: {MAX_UNSENT_BYTES} bytes wait to be sent");
            return Err(Disconnect::new(DownCause::Io, detail));
        }
        frame.header_mut().mask = Some(self.next_mask());
        frame.format(&mut self.buffer).expect("writing to a Vec cannot fail");
        Ok(())
    }

    /// Queues the close frame, unless there is one.
    ///
    /// # Errors
    /// See [`Self::queue_frame`].
    pub(super) fn queue_close(&mut self, code: CloseCode) -> Result<(), Disconnect> {
        if std::mem::replace(&mut self.is_closing, true) {
            return Ok(());
        }
        self.queue_frame(Frame::close(Some(CloseFrame { code, reason: "".into() })))
    }

    /// Returns a masking key that nobody can predict (RFC 6455, 5.3 and 10.3).
    fn next_mask(&self) -> [u8; 4] {
        let mut mask = [0; 4];
        if self.random.fill(&mut mask).is_err() {
            WEAK_MASK_WARNING.call_once(|| {
                warn!("no secure random numbers: the masks of sent frames are predictable");
            });
            mask = fastrand::u32(..).to_ne_bytes();
        }
        mask
    }

    /// Writes as many bytes as the stream takes without waiting.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut dyn Transport,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        while !self.buffer.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, &self.buffer) {
                Poll::Ready(written) => drop(self.buffer.drain(..written?)),
                Poll::Pending => return Ok(()),
            }
            self.needs_flush = true;
        }
        if self.needs_flush
            && let Poll::Ready(flushed) = Pin::new(stream).poll_flush(cx)
        {
            self.needs_flush = false;
            flushed?;
        }
        Ok(())
    }

    /// Writes all frames.
    ///
    /// # Cancel safety
    /// Not cancel-safe: a dropped call loses frames.
    pub(super) async fn write_all(&mut self, stream: &mut dyn Transport) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.buffer);
        stream.write_all(&unsent).await
    }

    /// Records that nothing more can be written.
    pub(super) fn fail(&mut self, error: &io::Error) {
        debug!(%error, "cannot send on this connection");
        let read_until = Instant::now() + READ_REMAINDER_TIMEOUT;
        let disconnect = io_disconnect(error);
        self.failure = Some(WriteFailure { kind: error.kind(), disconnect, read_until });
        self.buffer.clear();
        self.needs_flush = false;
    }

    /// Returns the cause of the end of the stream. The system reports a reset once: if a write got it,
    /// the reads after it find an end as if the server had made one.
    pub(super) fn cause_of_end(&self, end: Disconnect) -> Disconnect {
        match &self.failure {
            // The error of a write to a connection that the server ended before.
            Some(WriteFailure { kind: io::ErrorKind::BrokenPipe, .. }) | None => end,
            Some(failure) => failure.disconnect.clone(),
        }
    }

    /// Fails if a write failed and the time to read the remainder has passed.
    pub(super) fn check_failure(&self, now: Instant) -> Result<(), Disconnect> {
        match &self.failure {
            Some(failure) if failure.read_until <= now => Err(failure.disconnect.clone()),
            _ => Ok(()),
        }
    }

    /// Returns the time at which [`Self::check_failure`] fails, if it ever does.
    pub(super) fn failure_deadline(&self) -> Option<Instant> {
        self.failure.as_ref().map(|failure| failure.read_until)
    }
}
