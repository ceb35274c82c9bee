//! The totals of one run of the job.

use serde::Serialize;

use super::event::JobEvent;

/// The totals of one run of the job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct JobSummary {
    /// Number of sealed hours.
    pub sealed: u64,
    /// Bytes of the lines that were sealed.
    pub raw_bytes: u64,
    /// Bytes that the sealed files gained.
    pub stored_bytes: u64,
    /// Number of recorded hours that other programs had sealed.
    pub recorded: u64,
    /// Number of removed hours.
    pub removed: u64,
    /// Bytes of the removed files.
    pub removed_bytes: u64,
    /// Number of failures.
    pub failures: u64,
}

impl JobSummary {
    /// Adds an event to the totals.
    pub(super) fn record(&mut self, event: &JobEvent) {
        match event {
            JobEvent::Sealed { added_raw_bytes, added_stored_bytes, .. } => {
                self.sealed += 1;
                self.raw_bytes += added_raw_bytes;
                self.stored_bytes += added_stored_bytes;
            }
            JobEvent::Finished { raw_bytes, stored_bytes, .. } => {
                self.sealed += 1;
                self.raw_bytes += raw_bytes;
                self.stored_bytes += stored_bytes;
            }
            JobEvent::Recorded { .. } => self.recorded += 1,
            JobEvent::Removed { bytes, .. } => {
                self.removed += 1;
                self.removed_bytes += bytes;
            }
            JobEvent::Failed { .. } => self.failures += 1,
            JobEvent::Remark { .. } | JobEvent::Unmet { .. } | JobEvent::Deferred { .. } => {}
        }
    }
}
