//! The evidence that gap detection has of one hour.

use crate::archive::journal::JournalEntry;
use crate::archive::missing_lines::MissingLines;
use crate::base::time::Hour;

/// The journal of one hour of one stem, and whether the hour has lines.
#[derive(Debug, Clone)]
pub struct HourRecord {
    /// The hour.
    pub hour: Hour,
    /// True if the hour has lines, sealed or not, and also if its journal cannot be read, which
    /// would say whether there should be any.
    pub may_have_lines: bool,
    /// Lines that the journal records and the files do not have.
    pub missing_lines: Vec<MissingLines>,
    /// Entries of the journal, or the reason why there are none. Of successive marks the last one
    /// suffices.
    pub journal: Result<Vec<JournalEntry>, &'static str>,
}
