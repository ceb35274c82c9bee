//! What a link sends: requests, answers, its farewell.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tracing::debug;

use super::{WebsocketConnection, io_disconnect};
use crate::plugin::{Disconnect, DownCause};
use crate::sources::websocket::frame_decoder::ControlFrame;

/// For how long a connection that is given up is told so.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// For how long the end of a connection is waited for on which nothing can be sent. After a reset it
/// is there as soon as the system has told all that came before.
const READ_REMAINDER_TIMEOUT: Duration = Duration::from_millis(500);
/// A server that pings without reading the pongs is given up when this much waits for it.
const MAX_UNSENT_BYTES: usize = 1 << 20;

impl WebsocketConnection {
    pub(super) async fn send_opening(&mut self) -> io::Result<()> {
        let mut opening = self.tracker.opening_messages().into_iter();
        while let Some(text) =
            opening.next().or_else(|| self.tracker.start_due_request(Instant::now()))
        {
            self.queue_text(text);
            let unsent = std::mem::take(&mut self.write_buffer);
            self.stream.write_all(&unsent).await?;
        }
        self.stream.flush().await
    }

    /// Sends what is to be sent, and makes the requests for which there was no room before.
    pub(super) fn send_pending(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Err(error) = self.poll_write_buffer(cx) {
                self.on_write_error(&error);
            }
            let due = |at| at <= Instant::now();
            if self.closing
                || !self.write_buffer.is_empty()
                || !self.tracker.request_due_at().is_some_and(due)
            {
                return;
            }
            self.send_due(Instant::now());
        }
    }

    pub(super) fn on_write_error(&mut self, error: &io::Error) {
        debug!(%error, "nothing can be sent any more");
        self.write_failure = Some((io_disconnect(error), Instant::now() + READ_REMAINDER_TIMEOUT));
        self.write_buffer.clear();
        self.needs_flush = false;
        self.reset_timer();
    }

    fn poll_write_buffer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.write_buffer.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.write_buffer) {
                Poll::Ready(sent) => drop(self.write_buffer.drain(..sent?)),
                Poll::Pending => return Ok(()),
            }
            self.needs_flush = true;
        }
        if self.needs_flush {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    self.needs_flush = false;
                    flushed?;
                }
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    /// No data frames follow a close frame (RFC 6455, 5.5.1).
    pub(super) fn queue_text(&mut self, text: String) {
        if !self.closing {
            self.queue_frame(Frame::message(text, OpCode::Data(Data::Text), true));
        }
    }

    pub(super) fn queue_frame(&mut self, mut frame: Frame) {
        if self.write_failure.is_some() {
            return;
        }
        if self.write_buffer.len() > MAX_UNSENT_BYTES {
            let detail =
                format!("the server does not read: {MAX_UNSENT_BYTES} bytes wait to be sent");
            self.disconnect.get_or_insert(Disconnect::new(DownCause::Io, detail));
            return;
        }
        // Clients mask, with a key that nobody can foresee (RFC 6455, 5.3 and 10.3).
        let mut mask = [0; 4];
        if self.random.fill(&mut mask).is_err() {
            mask = fastrand::u32(..).to_ne_bytes();
        }
        frame.header_mut().mask = Some(mask);
        frame.format(&mut self.write_buffer).expect("writing to a Vec cannot fail");
    }

    pub(super) fn queue_close(&mut self, code: CloseCode) {
        self.queue_frame(Frame::close(Some(CloseFrame { code, reason: "".into() })));
    }

    pub(super) fn on_control_frame(&mut self, control: ControlFrame) {
        match control {
            ControlFrame::Ping(payload) => self.queue_frame(Frame::pong(payload)),
            ControlFrame::Pong => debug!("pong"),
            ControlFrame::Close(frame) => {
                if !self.closing {
                    let code = frame.as_ref().map_or(CloseCode::Normal, |(code, _)| (*code).into());
                    self.queue_close(if code.is_allowed() { code } else { CloseCode::Protocol });
                    self.closing = true;
                }
                let detail = match frame {
                    None => "the server closed the connection without a code".to_owned(),
                    Some((code, reason)) if reason.is_empty() => {
                        format!("the server closed the connection with code {code}")
                    }
                    Some((code, reason)) => {
                        format!("the server closed the connection with code {code}: {reason}")
                    }
                };
                self.disconnect = Some(Disconnect::new(DownCause::Closed, detail));
            }
        }
    }

    /// Tells the server that it is over, and why, as far as it listens.
    pub(super) async fn send_close(&mut self, over: &Disconnect) {
        let code = match over.cause {
            DownCause::Eof | DownCause::Io => return,
            DownCause::Protocol => CloseCode::Protocol,
            DownCause::Utf8 => CloseCode::Invalid,
            DownCause::TooLarge => CloseCode::Size,
            _ => CloseCode::Normal,
        };
        if !self.closing {
            self.queue_close(code);
        }
        let unsent = std::mem::take(&mut self.write_buffer);
        let told = async {
            self.stream.write_all(&unsent).await?;
            self.stream.shutdown().await
        };
        // The link is given up whether or not this was heard.
        drop(timeout(CLOSE_TIMEOUT, told).await);
    }
}
