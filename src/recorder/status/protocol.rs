//! The protocol of status queries.

use std::time::Duration;

/// Request for the snapshot as JSON. The line feed may be left out at the end of the stream.
pub(super) const JSON_REQUEST: &[u8] = b"json\n";
/// Maximum time for a response, on both sides.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The format of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    /// The status line.
    Line,
    /// The snapshot as JSON.
    Json,
}
