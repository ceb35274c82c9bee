//! The progress of a connection, as its task reports it to its slot.

use super::line_index::LineIndex;

/// A step in the life of a connection. Each occurs at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Milestone {
    /// The connection is established.
    Connected,
    /// The server has answered all subscriptions.
    Subscribed,
    /// The server is known to send the subscribed topics.
    Delivering,
    /// The server has announced that it will end the connection.
    CloseAnnounced,
}

/// A milestone of the connection on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MilestoneNotice {
    pub(super) line: LineIndex,
    pub(super) milestone: Milestone,
}
