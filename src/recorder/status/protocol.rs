//! The protocol of status queries.

use std::time::Duration;

/// Request for the snapshot as JSON. The line feed may be left out at the end of the stream.
pub(super) const JSON_REQUEST: &[u8] = b"json\n";
/// Request to reload the configuration, which is answered with the report as JSON.
pub(super) const RELOAD_REQUEST: &[u8] = b"reload\n";
/// Length of the longest request.
pub(super) const MAX_REQUEST_BYTES: usize = 7;
/// Maximum time for a reload: the configuration may be on a slow disk.
pub(super) const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for a response, on both sides.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// The status line.
    Line,
    /// The snapshot as JSON.
    Json,
    /// A reload of the configuration.
    Reload,
}

impl Request {
    /// Returns whether a request that is longer than the line may begin with these bytes.
    pub(super) fn is_beginning(bytes: &[u8]) -> bool {
        JSON_REQUEST.starts_with(bytes) || RELOAD_REQUEST.starts_with(bytes)
    }

    /// Returns the request that the bytes are. A line feed may be left out at the end of the stream.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let is = |request: &[u8]| bytes.trim_ascii_end() == request.trim_ascii_end();
        if is(JSON_REQUEST) {
            Self::Json
        } else if is(RELOAD_REQUEST) {
            Self::Reload
        } else {
            Self::Line
        }
    }
}
