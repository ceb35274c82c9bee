//! The URL of a WebSocket or HTTP endpoint.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::encryption::Encryption;
use super::host_port::{HostPort, HostPortError};

/// Characters that a path must not contain as they are (RFC 3986, 3.3). `%` is looked at by itself.
const PATH_ESCAPES: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Maximum length of a URL in bytes. No server reads more.
const MAX_URL_BYTES: usize = 60_000;

/// The protocol that a URL is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UrlProtocol {
    /// `ws://` and `wss://`.
    WebSocket,
    /// `http://` and `https://`.
    Http,
}

/// A URL of a WebSocket or HTTP endpoint, in normal form (RFC 3986, 6.2): scheme and host in lower
/// case, without the default port and without dot segments, and with a path. What a URL cannot
/// contain is percent-encoded as UTF-8; what is encoded already stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointUrl {
    protocol: UrlProtocol,
    pub(super) encryption: Encryption,
    pub(super) server: HostPort,
    /// Path, which begins with `/`.
    path: String,
    query: Option<String>,
}

/// The reason why a text is not the URL of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("it must begin with `{plain}://` or `{tls}://`{hint}")]
    Scheme { plain: &'static str, tls: &'static str, hint: String },
    #[error("it holds a user name")]
    User,
    #[error(transparent)]
    Address(#[from] HostPortError),
    #[error("it holds a line break or another control character")]
    ControlCharacter,
    #[error("it is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    #[error("it holds a `#`, behind which nothing is sent: write `%23` for the character itself")]
    Fragment,
}

impl UrlProtocol {
    fn scheme(self, encryption: Encryption) -> &'static str {
        match (self, encryption) {
            (Self::WebSocket, Encryption::Plain) => "ws",
            (Self::WebSocket, Encryption::Tls) => "wss",
            (Self::Http, Encryption::Plain) => "http",
            (Self::Http, Encryption::Tls) => "https",
        }
    }

    /// Returns the encryption that a scheme in lower case stands for.
    fn encryption(self, scheme: &str) -> Result<Encryption, UrlError> {
        let other = match self {
            Self::WebSocket => Self::Http,
            Self::Http => Self::WebSocket,
        };
        let all = [Encryption::Plain, Encryption::Tls];
        if let Some(encryption) = all.into_iter().find(|e| self.scheme(*e) == scheme) {
            return Ok(encryption);
        }
        let meant = all.into_iter().find(|e| other.scheme(*e) == scheme);
        let hint = meant.map_or_else(String::new, |encryption| {
            format!("; write `{}://` instead of `{scheme}://`", self.scheme(encryption))
        });
        let [plain, tls] = all.map(|encryption| self.scheme(encryption));
        Err(UrlError::Scheme { plain, tls, hint })
    }
}

impl EndpointUrl {
    /// Parses a URL. White space around it is ignored.
    pub(super) fn parse(text: &str, protocol: UrlProtocol) -> Result<Self, UrlError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let encryption = protocol.encryption(&scheme.to_ascii_lowercase())?;
        if rest.contains(char::is_control) {
            return Err(UrlError::ControlCharacter);
        }
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (before_query, query) = match rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (rest, None),
        };
        let (authority, path) = match before_query.find('/') {
            Some(start) => before_query.split_at(start),
            None => (before_query, "/"),
        };
        if authority.contains('@') {
            return Err(UrlError::User);
        }
        let url = Self {
            protocol,
            encryption,
            server: HostPort::parse(authority, encryption.default_port())?,
            path: remove_dot_segments(&escape(path)),
            query: query.map(escape),
        };
        if url.to_string().len() > MAX_URL_BYTES { Err(UrlError::TooLong) } else { Ok(url) }
    }

    /// Resolves a reference to a URL, such as one in a header `Location` (RFC 3986, 5.2). The
    /// fragment, which is not sent, is left out.
    pub(super) fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = reference.trim().split('#').next().unwrap_or_default();
        let scheme = self.scheme();
        let is_absolute =
            reference.split(['/', '?']).next().is_some_and(|begin| begin.ends_with(':'));
        let directory = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let server = &self.server;
        let resolved = match reference {
            "" => self.to_string(),
            _ if is_absolute => reference.to_owned(),
            _ if reference.starts_with("//") => format!("{scheme}:{reference}"),
            _ if reference.starts_with('/') => format!("{scheme}://{server}{reference}"),
            _ if reference.starts_with('?') => {
                format!("{scheme}://{server}{}{reference}", self.path)
            }
            _ => format!("{scheme}://{server}{directory}/{reference}"),
        };
        Self::parse(&resolved, self.protocol)
    }

    fn scheme(&self) -> &'static str {
        self.protocol.scheme(self.encryption)
    }

    /// Returns the host and the port as the header `Host` names them: without the default port, and
    /// without the zone of an IPv6 address, which means nothing to the server.
    pub(super) fn authority(&self) -> String {
        let HostPort { host, port } = &self.server;
        let host = match host.split_once('%') {
            Some((address, _)) => format!("[{address}]"),
            None if host.contains(':') => format!("[{host}]"),
            None => host.clone(),
        };
        if *port == self.encryption.default_port() { host } else { format!("{host}:{port}") }
    }

    /// Returns the path and the query, as the request line holds them.
    pub(super) fn request_target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// Returns the URL without the query, which may hold a token.
    pub(super) fn without_query(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority(), self.path)
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.request_target())
    }
}

/// Percent-encodes what a path or a query must not contain as it is, and a `%` that encodes nothing.
fn escape(text: &str) -> String {
    let mut pieces = text.split('%');
    let escaped = |piece| utf8_percent_encode(piece, PATH_ESCAPES).to_string();
    let mut result = pieces.next().map(escaped).unwrap_or_default();
    for piece in pieces {
        let is_encoded = piece.bytes().take_while(u8::is_ascii_hexdigit).take(2).count() == 2;
        result.push_str(if is_encoded { "%" } else { "%25" });
        result.push_str(&escaped(piece));
    }
    result
}

/// Resolves `.` and `..` in a path that begins with `/` (RFC 3986, 5.2.4).
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_brought_into_their_normal_form() {
        for (written, normal) in [
            ("wss://host?token=x", "wss://host/?token=x"),
            ("ws://host", "ws://host/"),
            (" WSS://Host.Example:443/P \n", "wss://host.example/P"),
            ("ws://h:80/a", "ws://h/a"),
            ("ws://h:443/a", "ws://h:443/a"),
            ("ws://h:/a", "ws://h/a"),
            ("ws://h./a", "ws://h./a"),
            ("ws://h/\u{fc}?q=\u{fc} x", "ws://h/%C3%BC?q=%C3%BC%20x"),
            ("ws://h/%c3%BC%2F?a=%7e", "ws://h/%c3%BC%2F?a=%7e"),
            ("ws://h/100%?a=50%&b=%4", "ws://h/100%25?a=50%25&b=%254"),
            ("ws://h/a|b{c}[d]\"<>^`\\", "ws://h/a%7Cb%7Bc%7D%5Bd%5D%22%3C%3E%5E%60%5C"),
            ("ws://h/a?b=c?d/e@f:g;h,i'(j)*!$&+=~", "ws://h/a?b=c?d/e@f:g;h,i'(j)*!$&+=~"),
            ("ws://h/btcusdt@trade", "ws://h/btcusdt@trade"),
            ("ws://h/a/./b/../c/..", "ws://h/a/"),
            ("ws://h/../../x", "ws://h/x"),
            ("ws://h//x//", "ws://h//x//"),
            ("ws://h/?", "ws://h/?"),
            ("ws://[FE80::1%25eth0]:8080/", "ws://[fe80::1]:8080/"),
        ] {
            let parsed = EndpointUrl::parse(written, UrlProtocol::WebSocket).unwrap();
            assert_eq!(parsed.to_string(), normal, "{written:?}");
            let again = EndpointUrl::parse(normal, UrlProtocol::WebSocket).unwrap();
            assert_eq!(again.to_string(), normal);
        }
    }

    #[test]
    fn a_text_that_is_no_endpoint_is_an_error_with_a_hint() {
        for (text, words) in [
            ("https://h", "begin with `ws://` or `wss://`; write `wss://` instead of `https://`"),
            ("HTTP://h", "write `ws://` instead of `http://`"),
            ("ftp://h", "it must begin with `ws://` or `wss://`"),
            ("h", "it must begin with"),
            ("wss:/h", "it must begin with"),
            ("", "it must begin with"),
            ("wss://user:pass@h", "a user name"),
            ("wss:///path", "the host is missing"),
            ("wss://?token", "the host is missing"),
            ("wss://h:99999", "the port is not"),
            ("wss://h/?token=a#b", "`%23`"),
            ("wss://h/#", "`%23`"),
            ("wss://h/a\nb", "a line break"),
            ("wss://h/a\tb", "a line break"),
            ("wss://b\u{fc}cher/", "xn--"),
        ] {
            let error = EndpointUrl::parse(text, UrlProtocol::WebSocket).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        let error = EndpointUrl::parse("wss://h", UrlProtocol::Http).unwrap_err().to_string();
        assert!(error.contains("write `https://` instead of `wss://`"), "{error}");
    }
}
