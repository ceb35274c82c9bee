//! The search for the head of a response in a stream of bytes.

use super::http_response::{HttpResponse, StatusLineError, may_begin_status_line};
use super::quote::quote;

/// Maximum length of all heads together in bytes, which is that of browsers.
const MAX_HEAD_BYTES: usize = 256 << 10;
/// First bytes of a TLS alert (RFC 8446, 5.1).
const TLS_ALERT: &[u8] = &[0x15, 0x03];
/// Length of the head of an HTTP/2 frame (RFC 9113, 4.1).
const HTTP2_HEAD_BYTES: usize = 9;
/// Number of bytes in which the name of the protocol is looked for.
const MAX_BEGINNING_BYTES: usize = 64;

/// Finds the response that ends an exchange: blocks of bytes go in, a response comes out.
///
/// Interim responses (100 Continue, 103 Early Hints) are skipped. A head ends with an empty line; the
/// end of a line is a line feed, with any number of carriage returns before it.
#[derive(Debug, Default)]
pub(super) struct ResponseParser {
    /// The response whose head is not complete.
    response: Option<HttpResponse>,
    /// The beginning of a line.
    line: Vec<u8>,
    /// Length of what belongs to heads, in bytes.
    length: usize,
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
    #[error("{0}: {line}", line = quote(.1))]
    StatusLine(StatusLineError, Vec<u8>),
    #[error("is not HTTP but TLS: the port is for encrypted connections, `wss://`")]
    Tls,
    #[error("is HTTP/2, which WebSocket is not spoken over here: enable HTTP/1.1 at the server")]
    Http2,
    #[error("has a head of more than {MAX_HEAD_BYTES} bytes")]
    TooLong,
}

impl ResponseParser {
    /// Parses the next block of the stream.
    pub(super) fn push(&mut self, block: &[u8]) -> Result<ParseProgress, ResponseError> {
        let mut consumed = 0;
        for part in block.split_inclusive(|byte| *byte == b'\n') {
            consumed += part.len();
            self.length += part.len();
            if self.length > MAX_HEAD_BYTES {
                return Err(ResponseError::TooLong);
            }
            self.line.extend_from_slice(part);
            let response = if part.ends_with(b"\n") { self.end_line()? } else { None };
            if response.is_some() {
                return Ok(ParseProgress { consumed, response });
            }
        }
        // An answer that is not HTTP may have no lines.
        let beginning = self.line.get(..MAX_BEGINNING_BYTES).unwrap_or(&self.line);
        let is_other = other_protocol(beginning).is_some() || !may_begin_status_line(beginning);
        if self.response.is_none() && is_other {
            return Err(self.not_http(StatusLineError::NotHttp));
        }
        Ok(ParseProgress { consumed, response: None })
    }

    /// Takes a whole line. Returns the response if the line ends it.
    fn end_line(&mut self) -> Result<Option<HttpResponse>, ResponseError> {
        let is_empty = self.line.iter().all(|byte| b"\r\n".contains(byte));
        match self.response.take() {
            // Lines before the status line are skipped (RFC 9112, 2.2).
            None if self.line.trim_ascii().is_empty() => {}
            None => {
                let response = HttpResponse::from_status_line(&self.line);
                self.response = Some(response.map_err(|error| self.not_http(error))?);
            }
            Some(response) if is_empty && response.is_interim() => {}
            Some(response) if is_empty => return Ok(Some(response)),
            Some(mut response) => {
                response.push_line(&self.line);
                self.response = Some(response);
            }
        }
        self.line.clear();
        Ok(None)
    }

    /// Returns the response that has begun, with the headers whose lines are complete. `None` if
    /// nothing was received of it.
    pub(super) fn begun_response(&self) -> Result<Option<HttpResponse>, ResponseError> {
        if self.response.is_some() || self.line.is_empty() {
            return Ok(self.response.clone());
        }
        let response = HttpResponse::from_status_line(&self.line);
        response.map(Some).map_err(|error| self.not_http(error))
    }

    /// Returns the refusal that has begun. Its headers may be incomplete.
    pub(super) fn begun_refusal(&self) -> Option<HttpResponse> {
        let begun = self.begun_response().ok().flatten();
        begun.filter(|response| response.status() >= 200)
    }

    fn not_http(&self, error: StatusLineError) -> ResponseError {
        other_protocol(&self.line)
            .unwrap_or_else(|| ResponseError::StatusLine(error, self.line.clone()))
    }
}

/// Returns the error if an answer begins as one of another protocol that is known.
fn other_protocol(bytes: &[u8]) -> Option<ResponseError> {
    if bytes.starts_with(TLS_ALERT) {
        return Some(ResponseError::Tls);
    }
    match bytes.get(..HTTP2_HEAD_BYTES) {
        // The first frame of a server is a short SETTINGS (RFC 9113, 3.4).
        Some([0, 0, _, 4, 0, 0, 0, 0, 0]) => Some(ResponseError::Http2),
        _ => None,
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
        let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x80";
        let error = ResponseParser::default().push(settings).unwrap_err();
        assert!(error.to_string().contains("HTTP/2"), "{error}");
    }

    #[test]
    fn a_head_ends_with_an_empty_line_and_no_other() {
        for (head, end) in [
            ("HTTP/1.1 101\r\n \t\r\nA: b\r\n\0\r\n \r\n", "\r\n"),
            ("HTTP/1.1 101\r\r\nA: b\r\r\n", "\r\r\n"),
            ("HTTP/1.1 101\nA: b\r\n", "\n"),
            (" \r\n\n\u{feff}HTTP/1.1 101\r\n\rA: b\r\n", "\r\n"),
        ] {
            let mut parser = ResponseParser::default();
            let progress = parser.push(head.as_bytes()).unwrap();
            assert_eq!(progress, ParseProgress { consumed: head.len(), response: None }, "{head}");
            let progress = parser.push(format!("{end}\x01").as_bytes()).unwrap();
            assert_eq!(progress.consumed, end.len());
            assert_eq!(progress.response.unwrap().value("a"), Some("b"), "{head}");
        }
    }
}
