//! The body of a response (RFC 9112, 6 and 7).

use std::io::Read;
use std::time::Duration;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use httparse::Status;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

use super::encoding::has_zlib_header;
use super::http_response::HttpResponse;

/// Number of bytes of a text for each that is not UTF-8, at least.
const MIN_LETTERS_PER_REPLACEMENT: usize = 4;
/// First bytes of gzip (RFC 1952, 2.3.1).
const GZIP_START: &[u8] = &[0x1F, 0x8B];
/// Maximum number of bytes that are read of the body of a refusal.
const MAX_REFUSAL_BYTES: usize = 16 << 10;
/// Maximum time for which the body of a refusal is awaited.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);

/// The limits of reading a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// Maximum length in bytes, encoded and decoded.
    pub(super) max_bytes: usize,
    pub(super) deadline: Instant,
}

/// A body, decoded.
#[derive(Debug)]
pub(super) struct HttpBody {
    pub(super) content: Vec<u8>,
    /// Not set if the body broke off, or was too long or too late.
    pub(super) is_complete: bool,
}

/// The end of a body in the stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyFraming {
    /// The body has this length.
    Length(usize),
    /// The body comes in chunks, each with its length.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

impl BodyFraming {
    fn of(response: &HttpResponse) -> Self {
        if matches!(response.status(), 204 | 304) {
            return Self::Length(0);
        }
        // Chunks are the outermost encoding, and rule out a length (RFC 9112, 6.3).
        match response.list("Transfer-Encoding").last() {
            Some(last) if is_chunked(last) => return Self::Chunked,
            Some(last) if !is_identity(last) => return Self::UntilClose,
            _ => {}
        }
        // Several lengths that differ leave only the end of the connection.
        let mut lengths = response.list("Content-Length");
        let first = lengths.next().and_then(|length| length.parse().ok());
        match first {
            Some(length) if lengths.all(|other| other.parse() == Ok(length)) => {
                Self::Length(length)
            }
            _ => Self::UntilClose,
        }
    }

    /// Returns whether the bytes hold the whole body.
    fn is_complete(self, bytes: &[u8]) -> bool {
        match self {
            Self::Length(length) => bytes.len() >= length,
            Self::Chunked => join_chunks(bytes).is_complete,
            Self::UntilClose => false,
        }
    }

    /// Returns the content of the bytes, as far as they hold it.
    fn content(self, bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Length(length) => bytes.split_at(length.min(bytes.len())).0.to_vec(),
            Self::Chunked => join_chunks(&bytes).content.unwrap_or(bytes),
            Self::UntilClose => bytes,
        }
    }
}

fn is_chunked(encoding: &str) -> bool {
    encoding.eq_ignore_ascii_case("chunked")
}

/// Returns whether the name of an encoding stands for none. Some servers write the character set.
fn is_identity(encoding: &str) -> bool {
    ["identity", "none", "utf-8", "utf8"].iter().any(|none| encoding.eq_ignore_ascii_case(none))
}

/// The content of a body that comes in chunks, as far as it was received.
struct JoinedChunks {
    /// `None` if the body begins with no chunk.
    content: Option<Vec<u8>>,
    /// Set if no further chunk can follow.
    is_complete: bool,
}

/// Joins chunks and leaves out their lengths, extensions and trailers.
fn join_chunks(bytes: &[u8]) -> JoinedChunks {
    let mut content = Vec::new();
    let mut rest = bytes;
    loop {
        let (head_len, length) = match httparse::parse_chunk_size(rest) {
            Ok(Status::Complete(size)) => size,
            Ok(Status::Partial) => {
                return JoinedChunks { content: Some(content), is_complete: false };
            }
            Err(_) => {
                let is_chunked = rest.len() < bytes.len();
                let content = is_chunked.then_some(content);
                return JoinedChunks { content, is_complete: is_chunked };
            }
        };
        if length == 0 {
            return JoinedChunks { content: Some(content), is_complete: true };
        }
        let data = rest.split_at(head_len).1;
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(data.len());
        let (data, after) = data.split_at(length);
        content.extend_from_slice(data);
        rest = after.strip_prefix(b"\r\n").or(after.strip_prefix(b"\n")).unwrap_or(after);
    }
}

/// Reads the body of a refusal, which holds the server's words. Returns what came of it, decoded: the
/// words are worth having, but their lack is no error of its own.
pub(super) async fn read_refusal_body(
    stream: &mut (impl AsyncRead + Unpin),
    response: &HttpResponse,
    deadline: Instant,
) -> Vec<u8> {
    let deadline = deadline.min(Instant::now() + REFUSAL_TIMEOUT);
    let limits = BodyLimits { max_bytes: MAX_REFUSAL_BYTES, deadline };
    read_body(stream, response, limits).await.content
}

/// Reads the body of a response, bounded in bytes and in time, and decodes it.
pub(super) async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    response: &HttpResponse,
    limits: BodyLimits,
) -> HttpBody {
    let framing = BodyFraming::of(response);
    let mut body = Vec::new();
    let mut is_complete = framing.is_complete(&body);
    while body.len() < limits.max_bytes && !is_complete {
        let mut limited = (&mut *stream).take((limits.max_bytes - body.len()) as u64);
        match timeout_at(limits.deadline, limited.read_buf(&mut body)).await {
            Ok(Ok(1..)) => is_complete = framing.is_complete(&body),
            Ok(Ok(0)) => {
                is_complete = framing == BodyFraming::UntilClose;
                break;
            }
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let transfer = response.list("Transfer-Encoding").filter(|encoding| !is_chunked(encoding));
    let encodings: Vec<_> = response.list("Content-Encoding").chain(transfer).collect();
    let content = decode_content(framing.content(body), &encodings, limits.max_bytes);
    HttpBody { content, is_complete }
}

/// Decodes the content as far as it is complete. `encodings` are in the order in which they were
/// applied. Of what does not become a text, words of our own remain.
fn decode_content(content: Vec<u8>, encodings: &[&str], max_bytes: usize) -> Vec<u8> {
    if content.is_empty() {
        return content;
    }
    let mut text = content;
    for encoding in encodings.iter().rev().filter(|encoding| !is_identity(encoding)) {
        match decode(&text, encoding, max_bytes) {
            // A server may say that it compresses, and not do so.
            None if is_text(&text) => break,
            None => return format!("(a text in the encoding `{encoding}`)").into_bytes(),
            Some(decoded) => text = decoded,
        }
    }
    // A server may compress, and not say so.
    if text.starts_with(GZIP_START) {
        text = decode(&text, "gzip", max_bytes).unwrap_or(text);
    }
    if is_text(&text) {
        text
    } else {
        format!("({} bytes that are no text)", text.len()).into_bytes()
    }
}

/// Decodes the beginning of one encoding. Returns `None` if there is none, or the encoding is unknown.
fn decode(content: &[u8], encoding: &str, max_bytes: usize) -> Option<Vec<u8>> {
    let decoded = match encoding.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => read_prefix(MultiGzDecoder::new(content), max_bytes),
        "deflate" if has_zlib_header(content) => read_prefix(ZlibDecoder::new(content), max_bytes),
        "deflate" => read_prefix(DeflateDecoder::new(content), max_bytes),
        "zstd" => read_prefix(zstd::stream::read::Decoder::new(content).ok()?, max_bytes),
        _ => return None,
    };
    (!decoded.is_empty()).then_some(decoded)
}

/// Returns whether bytes are UTF-8 but for a few letters of another character set and a few control
/// characters that texts do not have (the binary data bytes of the WHATWG's MIME sniffing).
fn is_text(bytes: &[u8]) -> bool {
    let shown = String::from_utf8_lossy(bytes);
    let replaced = shown.chars().filter(|char| *char == char::REPLACEMENT_CHARACTER).count();
    let is_binary = |byte: &&u8| matches!(byte, 0..=8 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F);
    let binary = bytes.iter().filter(is_binary).count();
    (replaced + binary) * MIN_LETTERS_PER_REPLACEMENT <= bytes.len()
}

/// Reads at most so many bytes, up to the first error.
fn read_prefix(decoder: impl Read, max_bytes: usize) -> Vec<u8> {
    let mut content = Vec::new();
    // A body that is cut short ends with an error; what came before it is kept.
    drop(decoder.take(max_bytes as u64).read_to_end(&mut content));
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use tokio::io::AsyncWriteExt as _;

    /// Returns the body that is read if the server sends these bytes, byte by byte, and ends or
    /// keeps the connection.
    async fn read(headers: &str, body: &[u8], is_kept: bool) -> String {
        let head = format!("HTTP/1.1 403 Forbidden\r\n{headers}\r\n");
        let response = HttpResponse::parse(&head);
        let (mut client, mut server) = tokio::io::duplex(1);
        let send = async {
            // The reader stops at the end of the body.
            drop(server.write_all(body).await);
            if is_kept {
                std::future::pending::<()>().await;
            }
            drop(server);
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        let read = read_refusal_body(&mut client, &response, deadline);
        let body = tokio::select! {
            biased;
            body = read => body,
            () = async { send.await; std::future::pending().await } => unreachable!(),
        };
        String::from_utf8(body).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_ends_where_its_framing_says() {
        let started = Instant::now();
        assert_eq!(read("Content-Length: 4\r\n", b"slow down", true).await, "slow");
        assert_eq!(read("Content-Length: 4, 4\r\n", b"slow down", true).await, "slow");
        let chunks = b"5;ext=\"a\"\r\nslow \r\n004\r\ndown\r\n0\r\nTrailer: x\r\n\r\n";
        assert_eq!(read("Transfer-Encoding: Chunked\r\n", chunks, true).await, "slow down");
        let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(read(both, chunks, true).await, "slow down");
        assert_eq!(started.elapsed(), Duration::ZERO, "no time is waited for more");
        assert_eq!(read("", b"slow down", false).await, "slow down");
        assert_eq!(read("Content-Length: 40\r\n", b"slow down", false).await, "slow down");
        assert_eq!(read("Transfer-Encoding: chunked\r\n", b"5\r\nslow", false).await, "slow");
        // A server that only says that it sends chunks.
        assert_eq!(read("Transfer-Encoding: chunked\r\n", b"slow down", false).await, "slow down");
        assert_eq!(started.elapsed(), Duration::ZERO, "no time is waited for more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_end_takes_half_a_second_and_is_bounded() {
        let started = Instant::now();
        assert_eq!(read("", b"slow down", true).await, "slow down");
        assert_eq!(read("Content-Length: 40\r\n", b"slow down", true).await, "slow down");
        assert_eq!(started.elapsed(), 2 * REFUSAL_TIMEOUT);
        assert_eq!(read("", &vec![b'x'; 1 << 20], true).await.len(), MAX_REFUSAL_BYTES);
        assert_eq!(started.elapsed(), 2 * REFUSAL_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_compressed_body_is_decoded_and_an_unknown_encoding_named() {
        let text = "too many connections ".repeat(20);
        let encode = |mut reader: Box<dyn Read + '_>| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let level = Compression::default();
        let gzip = encode(Box::new(GzEncoder::new(text.as_bytes(), level)));
        let zlib = encode(Box::new(ZlibEncoder::new(text.as_bytes(), level)));
        let raw = encode(Box::new(DeflateEncoder::new(text.as_bytes(), level)));
        assert_eq!(read("Content-Encoding: GZIP\r\n", &gzip, false).await, text);
        assert_eq!(read("Content-Encoding: deflate\r\n", &zlib, false).await, text);
        assert_eq!(read("Content-Encoding: deflate\r\n", &raw, false).await, text);
        assert_eq!(
            read("Content-Encoding: br\r\n", b"\x0b", false).await,
            "(a text in the encoding `br`)"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn raw_bytes_are_never_shown_whatever_the_headers_say() {
        let text = "too many connections ".repeat(20);
        let level = Compression::default();
        let encode = |text: &[u8]| {
            let mut bytes = Vec::new();
            GzEncoder::new(text, level).read_to_end(&mut bytes).unwrap();
            bytes
        };
        let gzip = encode(text.as_bytes());
        let mut chunks = format!("{:x}\r\n", gzip.len()).into_bytes();
        chunks.extend_from_slice(&[&gzip, &b"\r\n0\r\n\r\n"[..]].concat());
        let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
        for (headers, body) in [
            ("Transfer-Encoding: gzip, chunked\r\n", &chunks),
            ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", &chunks),
            ("Transfer-Encoding: chunked\r\nContent-Encoding: identity, GZIP\r\n", &chunks),
            ("Transfer-Encoding: chunked\r\n", &chunks),
            ("Transfer-Encoding: gzip\r\nContent-Length: 3\r\n", &gzip),
            ("Content-Encoding: gzip, gzip\r\n", &encode(&gzip)),
            ("Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", &encode(&gzip)),
            ("Content-Encoding: zstd\r\n", &zstd),
            ("Content-Encoding: gzip\r\n", &text.clone().into_bytes()),
            ("Content-Encoding: br\r\n", &text.clone().into_bytes()),
            ("Content-Encoding: utf-8\r\n", &text.clone().into_bytes()),
        ] {
            assert_eq!(read(headers, body, false).await, text, "{headers}");
        }
        assert_eq!(read("", b"\x00\x01\x02", false).await, "(3 bytes that are no text)");
        assert_eq!(read("", b"\xfe\xe4\xb5/", false).await, "(4 bytes that are no text)");
        for (headers, body) in [
            ("Content-Encoding: gzip\r\n", &gzip[..8]),
            ("Content-Encoding: br, gzip\r\n", &encode(b"\x0b\x02\x80")),
            ("Content-Encoding: zstd\r\n", &zstd[..5]),
        ] {
            let shown = read(headers, body, false).await;
            assert!(shown.starts_with("(a text in the encoding `"), "{headers}: {shown}");
        }
    }
}
