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

use super::{Link, broken};
use crate::plugin::{Cause, Disconnect};
use crate::sources::websocket::frames::Control;

/// For how long a connection that is given up is told so.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// For how long the end of a connection is waited for on which nothing can be sent. After a reset it
/// is there as soon as the system has told all that came before.
const REST_TIMEOUT: Duration = Duration::from_millis(500);
/// A server that pings without reading the pongs is given up when this much waits for it.
const MAX_UNSENT: usize = 1 << 20;

impl Link {
    pub(super) async fn say_first(&mut self) -> io::Result<()> {
        let mut opening = self.watch.opening().into_iter();
        while let Some(text) = opening.next().or_else(|| self.watch.due(Instant::now())) {
            self.queue_text(text);
            let unsent = std::mem::take(&mut self.unsent);
            self.stream.write_all(&unsent).await?;
        }
        self.stream.flush().await
    }

    /// Sends what is to be sent, and makes the requests for which there was no room before.
    pub(super) fn send(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Err(error) = self.poll_send(cx) {
                self.cannot_send(&error);
            }
            let due = |at| at <= Instant::now();
            if self.closing || !self.unsent.is_empty() || !self.watch.request_at().is_some_and(due)
            {
                return;
            }
            self.speak(Instant::now());
        }
    }

    pub(super) fn cannot_send(&mut self, error: &io::Error) {
        debug!(%error, "nothing can be sent any more");
        self.unsendable = Some((broken(error), Instant::now() + REST_TIMEOUT));
        self.unsent.clear();
        self.unflushed = false;
        self.set_timer();
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.unsent) {
                Poll::Ready(sent) => drop(self.unsent.drain(..sent?)),
                Poll::Pending => return Ok(()),
            }
            self.unflushed = true;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(flushed) => {
                    self.unflushed = false;
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
            self.queue(Frame::message(text, OpCode::Data(Data::Text), true));
        }
    }

    pub(super) fn queue(&mut self, mut frame: Frame) {
        if self.unsendable.is_some() {
            return;
        }
        if self.unsent.len() > MAX_UNSENT {
            let detail = format!("the server does not read: {MAX_UNSENT} bytes wait to be sent");
            self.over.get_or_insert(Disconnect::new(Cause::Io, detail));
            return;
        }
        // Clients mask, with a key that nobody can foresee (RFC 6455, 5.3 and 10.3).
        let mut mask = [0; 4];
        if self.random.fill(&mut mask).is_err() {
            mask = fastrand::u32(..).to_ne_bytes();
        }
        frame.header_mut().mask = Some(mask);
        frame.format(&mut self.unsent).expect("writing to a Vec cannot fail");
    }

    pub(super) fn queue_close(&mut self, code: CloseCode) {
        self.queue(Frame::close(Some(CloseFrame { code, reason: "".into() })));
    }

    pub(super) fn answer(&mut self, control: Control) {
        match control {
            Control::Ping(payload) => self.queue(Frame::pong(payload)),
            Control::Pong => debug!("pong"),
            Control::Close(frame) => {
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
                self.over = Some(Disconnect::new(Cause::Closed, detail));
            }
        }
    }

    /// Tells the server that it is over, and why, as far as it listens.
    pub(super) async fn goodbye(&mut self, over: &Disconnect) {
        let code = match over.cause {
            Cause::Eof | Cause::Io => return,
            Cause::Protocol => CloseCode::Protocol,
            Cause::Utf8 => CloseCode::Invalid,
            Cause::TooLarge => CloseCode::Size,
            _ => CloseCode::Normal,
        };
        if !self.closing {
            self.queue_close(code);
        }
        let unsent = std::mem::take(&mut self.unsent);
        let told = async {
            self.stream.write_all(&unsent).await?;
            self.stream.shutdown().await
        };
        // The link is given up whether or not this was heard.
        drop(timeout(GOODBYE_TIMEOUT, told).await);
    }
}
