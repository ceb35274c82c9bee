//! The result of a connection that has ended.

use std::time::Duration;

use super::line_index::LineIndex;
use crate::plugin::{Disconnect, Source, SourceError};

/// A connection that has ended.
pub(super) struct EndedConnection {
    pub(super) line: LineIndex,
    pub(super) source: Box<dyn Source>,
    pub(super) summary: ConnectionSummary,
    /// `Ok` if the recorder closed the connection.
    pub(super) result: Result<CloseOutcome, SourceError>,
}

/// The totals of a connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionSummary {
    pub(super) duration: Duration,
    pub(super) messages: u64,
    /// Set if a message carried data.
    pub(super) has_data: bool,
}

/// The result of a close by the recorder, with the time since when messages may be missing.
#[derive(Debug)]
pub(super) enum CloseOutcome {
    /// The server answered at once: everything that it had sent was read.
    Clean(Disconnect),
    /// The server answered late, and may have sent nothing since it was asked.
    Delayed(Disconnect),
    /// The server did not answer: messages may be missing.
    Unacknowledged(Disconnect),
}
