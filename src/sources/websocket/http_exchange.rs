//! Reading the answer to a request, and nothing after it.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use tokio::net::TcpStream;

use super::http_response::HttpResponse;
use super::response_parser::{ResponseError, ResponseParser};

/// Number of bytes that are looked at together in a socket without a buffer.
const PEEK_SIZE: usize = 4096;

/// A request to which no response was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("it closed the connection within its answer")]
    ClosedWithin,
    #[error("its answer {0}")]
    Response(#[from] ResponseError),
}

impl ExchangeError {
    fn end_of_stream(parser: &ResponseParser) -> Self {
        if parser.is_at_start() { Self::Closed } else { Self::ClosedWithin }
    }
}

/// Reads the head of the response. The bytes after it stay in the stream.
pub(super) async fn read_response(
    stream: &mut (impl AsyncBufRead + Unpin),
) -> Result<HttpResponse, ExchangeError> {
    let mut parser = ResponseParser::default();
    loop {
        let block = stream.fill_buf().await?;
        if block.is_empty() {
            return Err(ExchangeError::end_of_stream(&parser));
        }
        let progress = parser.push(block)?;
        stream.consume(progress.consumed);
        if let Some(response) = progress.response {
            return Ok(response);
        }
    }
}

/// Reads the head of the response from a socket. The bytes after it stay in the socket: they belong
/// to whoever reads it next.
pub(super) async fn read_response_from_socket(
    tcp: &mut TcpStream,
) -> Result<HttpResponse, ExchangeError> {
    let mut parser = ResponseParser::default();
    let mut block = vec![0; PEEK_SIZE];
    loop {
        let peeked = tcp.peek(&mut block).await?;
        if peeked == 0 {
            return Err(ExchangeError::end_of_stream(&parser));
        }
        let progress = parser.push(block.split_at(peeked).0)?;
        tcp.read_exact(block.split_at_mut(progress.consumed).0).await?;
        if let Some(response) = progress.response {
            return Ok(response);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    const ANSWER: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    const TUNNELED: &[u8] = b"\r\n\r\nbytes of the tunnel\r\n\r\n";

    #[tokio::test]
    async fn the_bytes_after_the_response_stay_in_the_stream_and_in_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for is_buffered in [true, false] {
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            server.write_all(&[ANSWER, TUNNELED].concat()).await.unwrap();
            drop(server);
            let mut rest = Vec::new();
            let response = if is_buffered {
                let mut stream = BufReader::new(client);
                let response = read_response(&mut stream).await.unwrap();
                stream.read_to_end(&mut rest).await.unwrap();
                response
            } else {
                let mut client = client;
                let response = read_response_from_socket(&mut client).await.unwrap();
                client.read_to_end(&mut rest).await.unwrap();
                response
            };
            assert_eq!((response.status(), response.value("a")), (200, Some("b")));
            assert_eq!(rest, TUNNELED, "{is_buffered}");
        }
    }

    #[tokio::test]
    async fn an_end_within_the_answer_is_told_from_no_answer() {
        let closed = read_response(&mut b"".as_slice()).await;
        assert!(matches!(closed, Err(ExchangeError::Closed)), "{closed:?}");
        let closed = read_response(&mut b"HTTP/1.1 101".as_slice()).await;
        assert!(matches!(closed, Err(ExchangeError::ClosedWithin)), "{closed:?}");
    }
}
