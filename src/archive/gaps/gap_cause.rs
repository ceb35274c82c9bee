//! The causes that gap detection assigns itself.

/// The cause of a gap that no journal event names.
///
/// The causes of disconnects and drops are not here: gap detection copies them from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GapCause {
    /// The recorder was started for the first time.
    FirstStart,
    /// The recorder was stopped.
    Stopped,
    /// The recorder ended without a closing event in its journal.
    Crashed,
    /// The machine was suspended.
    Suspended,
    /// The disk took no writes.
    Disk,
    /// Lines that the journal counts are missing.
    LinesMissing,
    /// Lines could not be made durable.
    SyncFailed,
    /// The journal is missing, torn or incomplete.
    Journal,
    /// The journal says that the source was not connected, but not why.
    Other,
}

impl GapCause {
    /// Cause of a topic of which neither a confirmation nor a message has come, as journals have it.
    const UNCONFIRMED: &str = "unconfirmed";

    /// Returns whether a cause of a journal leaves it open whether messages arrived all the same.
    pub(super) fn is_doubt(cause: &str) -> bool {
        cause == Self::UNCONFIRMED
    }

    /// Returns the cause as `streamer gaps` prints it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::FirstStart => "first_start",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Suspended => "suspended",
            Self::Disk => "disk",
            Self::LinesMissing => "lines_missing",
            Self::SyncFailed => "sync_failed",
            Self::Journal => "journal",
            Self::Other => "other",
        }
    }
}
