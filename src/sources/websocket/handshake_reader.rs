//! A reader that stops the handshake from reading past its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that end the head of an HTTP response.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Number of bytes read at a time in search of the end of the head.
const READ_SIZE: usize = 4096;

/// Reads the head of an HTTP response and nothing after it.
///
/// Bytes that follow the head in the same segment (the first frames, or the body of an error) are
/// kept for [`HandshakeReader::into_parts`].
#[derive(Debug)]
pub(super) struct HandshakeReader<S> {
    stream: S,
    /// Bytes that were read from the stream and not yet returned.
    pending: Vec<u8>,
    /// The last bytes that were returned, to find an end that is split between two reads.
    tail: Vec<u8>,
    is_head_complete: bool,
}

impl<S> HandshakeReader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, pending: Vec::new(), tail: Vec::new(), is_head_complete: false }
    }

    /// Returns the stream and the bytes that were read after the head.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.pending)
    }

    /// Returns the number of bytes in `pending` that belong to the head.
    fn head_len(&self) -> usize {
        let tail_len = self.tail.len();
        let joined = [self.tail.as_slice(), self.pending.as_slice()].concat();
        match memchr::memmem::find(&joined, END_OF_HEAD) {
            Some(start) => (start + END_OF_HEAD.len()).saturating_sub(tail_len),
            None => self.pending.len(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HandshakeReader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_head_complete {
            // Reports the end of the stream, so that the handshake reads no further.
            return Poll::Ready(Ok(()));
        }
        if self.pending.is_empty() {
            let mut block = [0; READ_SIZE];
            let mut read = ReadBuf::new(&mut block);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            self.pending.extend_from_slice(read.filled());
        }
        let head = self.head_len();
        let taken: Vec<u8> = self.pending.drain(..head.min(out.remaining())).collect();
        out.put_slice(&taken);
        self.tail.extend_from_slice(&taken);
        self.is_head_complete = self.tail.ends_with(END_OF_HEAD);
        let keep = self.tail.len().saturating_sub(END_OF_HEAD.len() - 1);
        self.tail.drain(..keep);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HandshakeReader<S> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn bytes_after_the_head_are_kept_back_at_every_split() {
        let bytes = b"HTTP/1.1 101 OK\r\nA: b\r\n\r\n\x81\x02hi\r\n\r\n";
        for cut in 1..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let mut head = HandshakeReader::new(first.chain(second));
            let mut read = Vec::new();
            head.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"HTTP/1.1 101 OK\r\nA: b\r\n\r\n", "cut at {cut}");
            let (mut stream, mut rest) = head.into_parts();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"\x81\x02hi\r\n\r\n", "cut at {cut}");
        }
    }
}
