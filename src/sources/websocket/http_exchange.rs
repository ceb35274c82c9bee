//! Reading the answer to a request, and nothing after it.

use std::io;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};
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
        match parser.begun_response() {
            Ok(None) => Self::Closed,
            Ok(Some(_)) => Self::ClosedWithin,
            Err(error) => Self::Response(error),
        }
    }
}

/// Sends a request and reads the head of the response. The bytes after it stay in the stream.
///
/// If the head cannot be read to its end, `parser` holds what came of it.
pub(super) async fn exchange(
    stream: &mut (impl AsyncBufRead + AsyncWrite + Unpin),
    request: &[u8],
    parser: &mut ResponseParser,
) -> Result<HttpResponse, ExchangeError> {
    let sent = send(stream, request).await;
    answer_or_send_error(read_response(stream, parser).await, sent)
}

/// Does what [`exchange`] does over a socket without a buffer. The bytes after the head stay in the
/// socket: they belong to whoever reads it next.
pub(super) async fn exchange_over_socket(
    tcp: &mut TcpStream,
    request: &[u8],
    parser: &mut ResponseParser,
) -> Result<HttpResponse, ExchangeError> {
    let sent = send(tcp, request).await;
    answer_or_send_error(read_response_from_socket(tcp, parser).await, sent)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), request: &[u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await
}

/// Returns the response. A server that refuses without reading the request may have answered although
/// the request could not be sent.
fn answer_or_send_error(
    response: Result<HttpResponse, ExchangeError>,
    sent: io::Result<()>,
) -> Result<HttpResponse, ExchangeError> {
    match (response, sent) {
        (Err(_), Err(error)) => Err(error.into()),
        (response, _) => response,
    }
}

async fn read_response(
    stream: &mut (impl AsyncBufRead + Unpin),
    parser: &mut ResponseParser,
) -> Result<HttpResponse, ExchangeError> {
    loop {
        let block = stream.fill_buf().await?;
        if block.is_empty() {
            return Err(ExchangeError::end_of_stream(parser));
        }
        let progress = parser.push(block)?;
        stream.consume(progress.consumed);
        if let Some(response) = progress.response {
            return Ok(response);
        }
    }
}

async fn read_response_from_socket(
    tcp: &mut TcpStream,
    parser: &mut ResponseParser,
) -> Result<HttpResponse, ExchangeError> {
    let mut block = vec![0; PEEK_SIZE];
    loop {
        let peeked = tcp.peek(&mut block).await?;
        if peeked == 0 {
            return Err(ExchangeError::end_of_stream(parser));
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
    use tokio::io::BufReader;
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
            let mut parser = ResponseParser::default();
            let response = if is_buffered {
                let mut stream = BufReader::new(client);
                let response = read_response(&mut stream, &mut parser).await.unwrap();
                stream.read_to_end(&mut rest).await.unwrap();
                response
            } else {
                let mut client = client;
                let response = read_response_from_socket(&mut client, &mut parser).await.unwrap();
                client.read_to_end(&mut rest).await.unwrap();
                response
            };
            assert_eq!((response.status(), response.value("a")), (200, Some("b")));
            assert_eq!(rest, TUNNELED, "{is_buffered}");
        }
    }

    #[tokio::test]
    async fn an_end_within_the_answer_is_told_from_no_answer() {
        let mut parser = ResponseParser::default();
        let closed = read_response(&mut b"\r\n".as_slice(), &mut parser).await;
        assert!(matches!(closed, Err(ExchangeError::Closed)), "{closed:?}");
        let closed = read_response(&mut b"HTTP/1.1 10".as_slice(), &mut parser).await;
        let words = closed.unwrap_err().to_string();
        assert!(words.ends_with("HTTP/1.1 10"), "{words}");
        let rest = b"1\r\nA: b\r\nC: ";
        let closed = read_response(&mut rest.as_slice(), &mut parser).await;
        assert!(matches!(closed, Err(ExchangeError::ClosedWithin)), "{closed:?}");
        let begun = parser.begun_response().unwrap().unwrap();
        assert_eq!((begun.value("a"), begun.value("c")), (Some("b"), None));
    }
}
