//! The head of an HTTP response (RFC 9112, 4 and 5).

use std::fmt;

use httparse::{ParserConfig, Status};
use tokio_tungstenite::tungstenite::http::StatusCode;

/// The head of a response: its status and its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HttpResponse {
    status: u16,
    reason: String,
    headers: Vec<HttpHeader>,
}

/// A header, whose value is trimmed and on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HttpHeader {
    name: String,
    value: String,
}

impl HttpResponse {
    /// Parses the head at the start of `bytes`. Returns it with its length in bytes, or `None` if
    /// it is incomplete.
    ///
    /// What browsers take is taken: lines that end with a line feed alone, folded lines, white
    /// space before a colon. A line that is no header is skipped, and bytes that no line may contain
    /// count as spaces (RFC 9112, 2.2).
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, httparse::Error> {
        match Self::parse_strictly(bytes) {
            Err(httparse::Error::HeaderValue | httparse::Error::HeaderName) => {
                Self::parse_strictly(&without_forbidden_bytes(bytes))
            }
            parsed => parsed,
        }
    }

    fn parse_strictly(bytes: &[u8]) -> Result<Option<(Self, usize)>, httparse::Error> {
        // Each header has a line.
        let max_headers = memchr::memchr_iter(b'\n', bytes).count();
        let mut headers = vec![httparse::EMPTY_HEADER; max_headers];
        let mut parsed = httparse::Response::new(&mut headers);
        let status = ParserConfig::default()
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .allow_space_before_first_header_name(true)
            .ignore_invalid_headers_in_responses(true)
            .parse_response(&mut parsed, bytes)?;
        let Status::Complete(length) = status else { return Ok(None) };
        let headers = parsed
            .headers
            .iter()
            .map(|header| HttpHeader { name: header.name.to_owned(), value: unfold(header.value) });
        let response = Self {
            status: parsed.code.unwrap_or_default(),
            reason: parsed.reason.unwrap_or_default().to_owned(),
            headers: headers.collect(),
        };
        Ok(Some((response, length)))
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Returns whether another response follows (RFC 9110, 15.2).
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != StatusCode::SWITCHING_PROTOCOLS.as_u16()
    }

    /// Returns the values of all headers of this name, in order.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let is_named = move |header: &&HttpHeader| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(is_named).map(|header| header.value.as_str())
    }

    /// Returns the value of the first header of this name.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// Returns the members of the lists that all headers of this name hold (RFC 9110, 5.6.1).
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let members = self.values(name).flat_map(|value| value.split(','));
        members.map(str::trim).filter(|member| !member.is_empty())
    }

    /// Returns whether a list holds a token, in whatever case.
    pub(super) fn list_contains(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|member| member.eq_ignore_ascii_case(token))
    }
}

/// Writes the status and its reason: `404 Not Found`.
impl fmt::Display for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason());
        let reason = match self.reason.trim() {
            "" => usual.unwrap_or_default(),
            reason => reason,
        };
        write!(f, "{} {reason}", self.status)
    }
}

/// Replaces every NUL, and every carriage return that ends no line, by a space.
fn without_forbidden_bytes(head: &[u8]) -> Vec<u8> {
    let mut next = head.iter().skip(1);
    let mut is_forbidden = |byte: u8| {
        let is_before_feed = matches!(next.next(), Some(b'\n') | None);
        byte == 0 || byte == b'\r' && !is_before_feed
    };
    head.iter().map(|&byte| if is_forbidden(byte) { b' ' } else { byte }).collect()
}

/// Returns the value of a header as one line. A line break in it, with the white space around it,
/// becomes a space (RFC 9112, 5.2).
fn unfold(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let lines: Vec<_> = text.split(['\r', '\n']).map(str::trim).filter(|l| !l.is_empty()).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> HttpResponse {
        let (response, length) = HttpResponse::parse(head.as_bytes()).unwrap().unwrap();
        assert_eq!(length, head.len());
        response
    }

    #[test]
    fn headers_are_found_in_any_case_and_their_lists_are_joined() {
        let response = parse(
            "HTTP/1.1 101 Switching\r\nconnection: keep-alive,\r\nCONNECTION : x , Upgrade\r\n\r\n",
        );
        assert_eq!(response.list("Connection").collect::<Vec<_>>(), ["keep-alive", "x", "Upgrade"]);
        assert!(response.list_contains("connection", "UPGRADE"));
        assert!(!response.list_contains("connection", "Up"));
        assert_eq!(response.value("upgrade"), None);
    }

    #[test]
    fn folded_lines_lone_line_feeds_and_lines_without_a_colon_are_taken() {
        let response =
            parse("HTTP/1.0 403\nLocation:\t a\r\n  b \n\tc\nno header\nRetry-After:  7 \n\n");
        assert_eq!((response.status(), response.value("location")), (403, Some("a b c")));
        assert_eq!(response.value("Retry-After"), Some("7"));
        assert_eq!(response.to_string(), "403 Forbidden");
    }

    #[test]
    fn bytes_that_no_line_may_contain_count_as_spaces() {
        let response = parse("HTTP/1.1 101 Yes\r\nA: b\rc\0d\r\nE: f\r\r\nG: h\r\n\r\n");
        assert_eq!((response.value("a"), response.value("g")), (Some("b c d"), Some("h")));
        let half = "HTTP/1.1 101 Yes\r\nA: b\0\r";
        assert_eq!(HttpResponse::parse(half.as_bytes()), Ok(None));
    }

    #[test]
    fn a_response_may_have_any_number_of_headers() {
        let headers = "X-Header: value\r\n".repeat(5_000);
        let response = parse(&format!("HTTP/1.1 200  Fine by me\r\n{headers}A: b\r\n\r\n"));
        assert_eq!((response.values("x-header").count(), response.value("a")), (5_000, Some("b")));
        assert_eq!(response.to_string(), "200 Fine by me");
    }
}
