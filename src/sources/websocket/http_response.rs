//! The head of an HTTP response (RFC 9112, 4 and 5).

use std::fmt;

use tokio_tungstenite::tungstenite::http::StatusCode;

/// Beginning of a status line, in any case.
const PROTOCOL: &[u8] = b"HTTP/";
/// Maximum number of stray bytes before a status line, which is that of browsers.
const MAX_STRAY_BYTES: usize = 4;

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

/// A first line of an answer that is no status line. The text continues "its answer …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StatusLineError {
    #[error("is not HTTP/1.1")]
    NotHttp,
    #[error("has no status, which is a number of three digits")]
    NoStatus,
}

impl HttpResponse {
    /// Parses a status line (RFC 9112, 4), as leniently as browsers do.
    ///
    /// Bytes that no line may contain count as spaces, as they do in headers (RFC 9112, 2.2). A
    /// response of a later minor version is one of HTTP/1.1 (RFC 9110, 2.5).
    pub(super) fn from_status_line(line: &[u8]) -> Result<Self, StatusLineError> {
        let line = blank_control_bytes(line);
        let start = protocol_offset(&line).ok_or(StatusLineError::NotHttp)?;
        let after = String::from_utf8_lossy(line.split_at(start + PROTOCOL.len()).1);
        let is_version = |char: char| char.is_ascii_digit() || char == '.';
        let (version, rest) = after.split_at(after.find(|c| !is_version(c)).unwrap_or(after.len()));
        let rest = rest.trim_start();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if version.is_empty() || digits != 3 {
            return Err(StatusLineError::NoStatus);
        }
        let (code, reason) = rest.split_at(digits);
        let status = code.parse().ok().filter(|status| *status >= 100);
        let status = status.ok_or(StatusLineError::NoStatus)?;
        // Whoever switches to WebSocket speaks HTTP/1.1, whatever is written here.
        let is_version_1 = version.split('.').next() == Some("1");
        if !is_version_1 && status != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
            return Err(StatusLineError::NotHttp);
        }
        Ok(Self { status, reason: reason.trim().to_owned(), headers: Vec::new() })
    }

    /// Adds a line of the head: a header, or the continuation of one.
    pub(super) fn push_line(&mut self, line: &[u8]) {
        // Carriage returns before a line belong to the end of the line before it.
        let first = line.iter().find(|byte| **byte != b'\r');
        let is_continuation = matches!(first, Some(b' ' | b'\t'));
        let blanked = blank_control_bytes(line);
        let text = String::from_utf8_lossy(&blanked);
        match (text.trim(), self.headers.last_mut()) {
            ("", _) => {}
            (text, Some(header)) if is_continuation => header.push_continuation(text),
            // Before the first header, white space counts as nothing.
            (text, _) => self.headers.push(HttpHeader::parse(text)),
        }
    }

    /// Parses a head whose lines are given as a whole.
    #[cfg(test)]
    pub(super) fn parse(head: &str) -> Self {
        let mut lines = head.split_inclusive('\n');
        let mut response = Self::from_status_line(lines.next().unwrap().as_bytes()).unwrap();
        lines.for_each(|line| response.push_line(line.as_bytes()));
        response
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
        write!(f, "{}", self.status)?;
        if reason.is_empty() { Ok(()) } else { write!(f, " {reason}") }
    }
}

impl HttpHeader {
    /// Parses the first line of a header. A line that is none becomes a header without a name, so that
    /// the lines that continue it belong to no other.
    fn parse(line: &str) -> Self {
        let (name, value) = line.split_once(':').unwrap_or(("", line));
        Self { name: name.trim().to_owned(), value: value.trim().to_owned() }
    }

    /// Adds a further line to the value. The line break, with the white space around it, becomes a
    /// space (RFC 9112, 5.2).
    fn push_continuation(&mut self, text: &str) {
        if !self.value.is_empty() {
            self.value.push(' ');
        }
        self.value.push_str(text);
    }
}

/// Returns whether bytes may be the beginning of a status line.
pub(super) fn may_begin_status_line(bytes: &[u8]) -> bool {
    let line = blank_control_bytes(bytes);
    let is_short = line.trim_ascii_start().len() < MAX_STRAY_BYTES + PROTOCOL.len();
    is_short || protocol_offset(&line).is_some()
}

/// Returns the offset of the name of the protocol in a status line. What is before it is white space
/// and a few stray bytes, such as a byte order mark or the rest of something else.
fn protocol_offset(line: &[u8]) -> Option<usize> {
    let blank = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let mut offsets = blank..=blank + MAX_STRAY_BYTES;
    offsets.find(|offset| {
        let name = line.get(*offset..offset + PROTOCOL.len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(PROTOCOL))
    })
}

/// Returns a line in which every control byte is a space.
fn blank_control_bytes(line: &[u8]) -> Vec<u8> {
    line.iter().map(|&byte| if byte.is_ascii_control() { b' ' } else { byte }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> HttpResponse {
        HttpResponse::parse(head)
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
        let response = parse(
            "HTTP/1.0 403\nLocation:\t a\r\n  b \n \r\n\tc\nno header\n d\nRetry-After:  7 \n\n",
        );
        assert_eq!((response.status(), response.value("location")), (403, Some("a b c")));
        assert_eq!(response.value("Retry-After"), Some("7"));
        assert_eq!(response.to_string(), "403 Forbidden");
        let response = parse("HTTP/1.1 101\r\n \t\r\n A: b\r\n");
        assert_eq!(response.value("a"), Some("b"), "white space before the first header");
    }

    #[test]
    fn bytes_that_no_line_may_contain_count_as_spaces() {
        let response =
            parse("HTTP/1.1 101 Yes\r\nA: b\rc\0d\r\n\rE: f\r\r\nG: h\x7f\r\nI: \x1bj\r\n");
        let values = ["a", "e", "g", "i"].map(|name| response.value(name).unwrap());
        assert_eq!(values, ["b c d", "f", "h", "j"]);
    }

    #[test]
    fn a_status_line_is_taken_if_it_has_a_status() {
        for (line, status, shown) in [
            ("HTTP/1.1 101 Switching Protocols\r\n", 101, "101 Switching Protocols"),
            ("HTTP/1.1 101 Switching\0Protocols\r\r\n", 101, "101 Switching Protocols"),
            ("HTTP/1.1\x0b101\rYes\x01\n", 101, "101 Yes"),
            ("HTTP/1.1  \t 503\n", 503, "503 Service Unavailable"),
            ("HTTP/1.1 503Busy\n", 503, "503 Busy"),
            ("HTTP/1.1 503: Busy\n", 503, "503 : Busy"),
            ("HTTP/1.2 429 Slow\n", 429, "429 Slow"),
            ("HTTP/1 429 Slow\n", 429, "429 Slow"),
            ("http/1.1 429 Slow\n", 429, "429 Slow"),
            (" \0\r HTTP/1.1 429 Slow\n", 429, "429 Slow"),
            ("\u{feff}HTTP/1.1 429 Slow\n", 429, "429 Slow"),
            ("}\r\r HTTP/1.1 429 Slow\n", 429, "429 Slow"),
            ("HTTP/1.1 999", 999, "999"),
            ("HTTP/2.0 101", 101, "101 Switching Protocols"),
        ] {
            let response = HttpResponse::from_status_line(line.as_bytes()).unwrap();
            assert_eq!(
                (response.status(), response.to_string().as_str()),
                (status, shown),
                "{line}"
            );
        }
        let error = |line: &str| HttpResponse::from_status_line(line.as_bytes()).unwrap_err();
        for line in ["", "HTTP", "ICY 200 OK", "junk HTTP/1.1 200 OK", "HTTP/2 200", "HTTP/3.0 503"]
        {
            assert_eq!(error(line), StatusLineError::NotHttp, "{line}");
        }
        for line in
            ["HTTP/1.1", "HTTP/1.1 50", "HTTP/1.1 OK", "HTTP/1.1 5030", "HTTP/1.1 099", "HTTP/ 200"]
        {
            assert_eq!(error(line), StatusLineError::NoStatus, "{line}");
        }
    }

    #[test]
    fn a_response_may_have_any_number_of_headers() {
        let headers = "X-Header: value\r\n".repeat(5_000);
        let response = parse(&format!("HTTP/1.1 200  Fine by me\r\n{headers}A: b\r\n\r\n"));
        assert_eq!((response.values("x-header").count(), response.value("a")), (5_000, Some("b")));
        assert_eq!(response.to_string(), "200 Fine by me");
    }
}
