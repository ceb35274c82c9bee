//! A stream that requests a pause after a small read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt::socket_recv_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::base::pacer::Pacer;

/// Size in bytes below which a burst is never near the receive window.
const MIN_WINDOW_BURST: usize = 16 << 10;

/// A socket that requests a pause once it is drained, so that one wake-up serves many messages.
///
/// The socket lies below TLS, where the size of a burst shows.
#[derive(Debug)]
pub(super) struct PacedStream {
    stream: TcpStream,
    pacer: Arc<Pacer>,
    pause: Duration,
    /// Number of bytes read since the socket was last found empty.
    burst_bytes: usize,
}

impl PacedStream {
    pub(super) fn new(stream: TcpStream, pacer: Arc<Pacer>, pause: Duration) -> Self {
        Self { stream, pacer, pause, burst_bytes: 0 }
    }

    /// Returns whether the burst nearly filled the receive window, so that the server may have been
    /// blocked. No pause is requested then: every pause would block the server for as long as it
    /// takes to fill a window. The window is about half of the buffer, which the kernel grows with
    /// the traffic.
    fn is_near_window(&self) -> bool {
        self.burst_bytes >= MIN_WINDOW_BURST
            && socket_recv_buffer_size(&self.stream)
                .map_or(true, |size| self.burst_bytes >= size / 8 * 3)
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        if read.is_ready() {
            self.burst_bytes += out.filled().len() - before;
        } else {
            if self.burst_bytes > 0 && !self.is_near_window() {
                self.pacer.request_pause(self.pause);
            }
            self.burst_bytes = 0;
        }
        read
    }
}

impl AsyncWrite for PacedStream {
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
