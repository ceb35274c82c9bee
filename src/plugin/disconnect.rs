//! Why a source is not connected.

use std::time::Duration;

use serde::Serialize;

use super::SourceError;

/// Why a connection is gone, for the log, the status and the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// The kind of cause, by which disconnects are counted.
    pub cause: DownCause,
    /// The particulars in words. May quote the server.
    pub detail: String,
    /// The pause that the server asked for.
    pub retry_after: Option<Duration>,
    /// For how long nothing had been heard: the connection may have been dead since.
    pub silent_for: Option<Duration>,
}

impl Disconnect {
    /// A disconnect of this kind.
    ///
    /// Control characters, which a terminal might obey, are escaped in `detail`.
    pub fn new(cause: DownCause, detail: impl AsRef<str>) -> Self {
        let mut plain = String::new();
        for char in detail.as_ref().chars() {
            if char.is_control() {
                plain.extend(char.escape_default());
            } else {
                plain.push(char);
            }
        }
        Self { cause, detail: plain, retry_after: None, silent_for: None }
    }
}

impl From<Disconnect> for SourceError {
    fn from(disconnect: Disconnect) -> Self {
        Self::Disconnected(disconnect)
    }
}

/// The kinds of causes by which disconnects are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DownCause {
    /// The host name could not be resolved.
    Dns,
    /// The TCP connection was refused or the host is unreachable.
    Connect,
    /// Connecting took longer than `connect_timeout`.
    ConnectTimeout,
    /// TLS: an untrusted certificate, a wrong name, a protocol error.
    Tls,
    /// The server answered the handshake with an HTTP status other than 101.
    Http,
    /// The server's answer to the handshake breaks RFC 6455 or HTTP.
    Handshake,
    /// The server refused the subscription.
    Refused,
    /// The server sent a close frame.
    Closed,
    /// The connection ended without a close frame.
    Eof,
    /// The connection was reset or failed in another way.
    Io,
    /// No frame for `idle_timeout`.
    Idle,
    /// A frame that breaks RFC 6455.
    Protocol,
    /// A text message that is not UTF-8.
    Utf8,
    /// A message longer than `max_message_size`.
    TooLarge,
    /// No data, though the connection stands (`silence_timeout`, `topic_silence`).
    Silent,
    /// The program whose output is recorded has ended.
    Exited,
    /// Anything else a plugin may meet.
    Other,
}

impl DownCause {
    /// The cause as it is spelled in log and status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Handshake => "handshake",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Eof => "eof",
            Self::Io => "io",
            Self::Idle => "idle",
            Self::Protocol => "protocol",
            Self::Utf8 => "utf8",
            Self::TooLarge => "too_large",
            Self::Silent => "silent",
            Self::Exited => "exited",
            Self::Other => "other",
        }
    }
}
