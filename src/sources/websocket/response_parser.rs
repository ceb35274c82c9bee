//! The search for the head of a response in a stream of bytes.

use super::http_response::HttpResponse;
use super::quote::quote;

/// Maximum length of all heads together in bytes, which is that of browsers.
const MAX_HEAD_BYTES: usize = 256 << 10;
/// Empty lines, which end a head.
const EMPTY_LINES: [&[u8]; 2] = [b"\n\r\n", b"\n\n"];
/// Length up to which a head is parsed with every block, which shows an answer that is not HTTP.
const MAX_PREFIX_BYTES: usize = 64;
/// First bytes of a TLS alert (RFC 8446, 5.1).
const TLS_ALERT: &[u8] = &[0x15, 0x03];

/// Finds the response that ends an exchange: blocks of bytes go in, a response comes out.
///
/// Interim responses (100 Continue, 103 Early Hints) are skipped.
#[derive(Debug, Default)]
pub(super) struct ResponseParser {
    /// The beginning of a head.
    head: Vec<u8>,
    /// Length of the heads that were skipped.
    skipped_bytes: usize,
}

/// The progress of one call of [`ResponseParser::push`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParseProgress {
    /// Number of bytes of the block that belong to heads. What follows is data.
    pub(super) consumed: usize,
    /// The response, once it is complete.
    pub(super) response: Option<HttpResponse>,
}

/// An answer that is no HTTP response. The text continues "its answer …".
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("is not HTTP/1.1 ({0}): {beginning}", beginning = quote(.1))]
    NotHttp(httparse::Error, Vec<u8>),
    #[error("is not HTTP but TLS: the port is for encrypted connections, `wss://`")]
    Tls,
    #[error("has a head of more than {MAX_HEAD_BYTES} bytes")]
    TooLong,
}

impl ResponseParser {
    /// Parses the next block of the stream.
    pub(super) fn push(&mut self, block: &[u8]) -> Result<ParseProgress, ResponseError> {
        let mut consumed = 0;
        loop {
            let rest = block.split_at(consumed).1;
            let before = self.head.len();
            self.head.extend_from_slice(rest);
            // A long head is parsed once it is complete, however small the blocks are.
            let parsed = if before < MAX_PREFIX_BYTES || self.has_empty_line_after(before) {
                HttpResponse::parse(&self.head).map_err(|error| self.not_http(error))?
            } else {
                None
            };
            let length = parsed.as_ref().map_or(self.head.len(), |(_, length)| *length);
            if self.skipped_bytes + length > MAX_HEAD_BYTES {
                return Err(ResponseError::TooLong);
            }
            let Some((response, length)) = parsed else {
                return Ok(ParseProgress { consumed: block.len(), response: None });
            };
            consumed += length - before;
            self.skipped_bytes += length;
            self.head.clear();
            if !response.is_interim() {
                return Ok(ParseProgress { consumed, response: Some(response) });
            }
        }
    }

    /// Returns whether nothing was received of a further response.
    pub(super) fn is_at_start(&self) -> bool {
        self.head.is_empty()
    }

    /// Returns whether an empty line ends after this offset.
    fn has_empty_line_after(&self, offset: usize) -> bool {
        let unseen = self.head.split_at(offset.saturating_sub(2)).1;
        EMPTY_LINES.iter().any(|line| memchr::memmem::find(unseen, line).is_some())
    }

    fn not_http(&self, error: httparse::Error) -> ResponseError {
        if self.head.starts_with(TLS_ALERT) {
            return ResponseError::Tls;
        }
        ResponseError::NotHttp(error, self.head.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\nLink: </>\n\nHTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n\x81\x02hi\r\n\r\n";
    const FRAMES: &[u8] = b"\x81\x02hi\r\n\r\n";

    /// Returns the response and the bytes after it, if the stream comes in blocks of this size.
    fn parse_in_blocks(size: usize) -> (HttpResponse, Vec<u8>) {
        let mut parser = ResponseParser::default();
        let mut rest = STREAM;
        loop {
            let block = rest.split_at(size.min(rest.len())).0;
            let progress = parser.push(block).unwrap();
            rest = rest.split_at(progress.consumed).1;
            if let Some(response) = progress.response {
                return (response, rest.to_vec());
            }
        }
    }

    #[test]
    fn bytes_after_the_head_are_kept_back_and_interim_responses_skipped_in_blocks_of_any_size() {
        for size in 1..=STREAM.len() {
            let (response, rest) = parse_in_blocks(size);
            assert_eq!((response.status(), response.value("a")), (101, Some("b")), "{size}");
            assert_eq!(rest, FRAMES, "{size}");
        }
    }

    #[test]
    fn endless_heads_and_endless_interim_responses_reach_the_limit() {
        for repeated in ["X-Header: value\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
            let mut parser = ResponseParser::default();
            let first = parser.push(b"HTTP/1.1 100 Continue\r\n").unwrap();
            assert_eq!(first.response, None);
            let blocks = MAX_HEAD_BYTES / repeated.len() + 1;
            let failed = (0..blocks).find_map(|_| parser.push(repeated.as_bytes()).err());
            assert!(matches!(failed, Some(ResponseError::TooLong)), "{repeated}");
        }
    }

    #[test]
    fn an_answer_of_another_protocol_is_told_at_its_first_block() {
        let error = ResponseParser::default().push(b"SSH-2.0-OpenSSH_9.2").unwrap_err();
        assert!(error.to_string().ends_with("SSH-2.0-OpenSSH_9.2"), "{error}");
        let error = ResponseParser::default().push(b"\x15\x03\x01\x00\x02\x02\x46").unwrap_err();
        assert!(error.to_string().contains("`wss://`"), "{error}");
    }
}
