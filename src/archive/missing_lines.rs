//! Lines that an hour should have and does not have.

use super::file_name::FileKind;
use crate::base::time::UnixNanos;

/// Lines that the journal records for a file of an hour, and that the file does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingLines {
    /// The file.
    pub kind: FileKind,
    /// Number of bytes of lines in the file.
    pub found_bytes: u64,
    /// Number of bytes of lines that the journal records.
    pub bytes: u64,
    /// Number of messages that the journal records.
    pub messages: u64,
    /// Number of missing messages; `None` if it is not known.
    pub lost: Option<u64>,
    /// Time at which no missing line had come; the epoch if it is not known.
    pub since: UnixNanos,
    /// Time at which the last missing line had come; earlier than `since` if the clock was set back.
    pub until: UnixNanos,
    /// `true` if the journal has an event that counts these lines as lost.
    pub is_recorded: bool,
}
