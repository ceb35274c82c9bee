//! The kinds of reasons for a disconnect.

use serde::Serialize;

/// The kind of reason for a disconnect, by which disconnects are counted.
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
    /// TLS failed: an untrusted certificate, a wrong name, a protocol error.
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
    /// The connection was reset or failed with another I/O error.
    Io,
    /// No frame arrived for `idle_timeout`.
    Idle,
    /// A frame broke RFC 6455.
    Protocol,
    /// A text message was not UTF-8.
    Utf8,
    /// A message was longer than `max_message_size`.
    TooLarge,
    /// No data arrived over an open connection (`silence_timeout`, `topic_silence`).
    Silent,
    /// The program whose output is recorded has ended.
    Exited,
    /// The topic was added while the recorder runs, and is not confirmed yet.
    Added,
    /// Neither a confirmation nor a message of the topic has come; it may arrive all the same.
    Unconfirmed,
    /// Any other reason that a plugin may have.
    Other,
}

impl DownCause {
    /// Returns the cause as it is spelled in the log, the journal and the status.
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
            Self::Added => "added",
            Self::Unconfirmed => "unconfirmed",
            Self::Other => "other",
        }
    }
}
