//! A stream that asks for a rest after a small read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pacing::Pacer;

/// After a burst of this many bytes the next is awaited at once: at such rates every wake-up has
/// enough to do, and a rest would let a sender fill its window and stall.
const PLENTY: usize = 256 << 10;

/// Lies between TCP and TLS, so that it sees what the socket gives.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    pacer: Arc<Pacer>,
    rest: Duration,
    /// Bytes read since the socket was last found empty.
    burst: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pacer: Arc<Pacer>, rest: Duration) -> Self {
        Self {
            stream,
            pacer,
            rest,
            burst: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        if read.is_ready() {
            self.burst += out.filled().len() - before;
        } else {
            if (1..PLENTY).contains(&self.burst) {
                self.pacer.ask(self.rest);
            }
            self.burst = 0;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
