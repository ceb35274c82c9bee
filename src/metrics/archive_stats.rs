//! The counters of the sidecar.

use serde::{Deserialize, Serialize};

use crate::archive::job::JobSummary;

/// The work of the sidecar since the recorder started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArchiveStats {
    /// True if a run is in progress.
    pub running: bool,
    /// Number of completed runs.
    pub runs: u64,
    /// Start of the last run, RFC 3339.
    pub last_run: Option<String>,
    /// Duration of the last completed run.
    pub last_run_seconds: f64,
    /// Start of the next run, RFC 3339.
    pub next_run: Option<String>,
    /// Number of sealed hours.
    pub sealed_hours: u64,
    /// Bytes of the lines of these hours.
    pub sealed_raw_bytes: u64,
    /// Bytes of the sealed files of these hours.
    pub sealed_stored_bytes: u64,
    /// `sealed_raw_bytes` divided by `sealed_stored_bytes`; 0 if nothing was sealed.
    pub ratio: f64,
    /// Number of hours removed by retention.
    pub removed_hours: u64,
    /// Bytes of the files of these hours.
    pub removed_bytes: u64,
    /// Number of failures. The next run retries what failed.
    pub failures: u64,
    /// Error of the last failure.
    pub last_failure: Option<String>,
    /// Failures before the last run began.
    #[serde(skip)]
    pub(super) earlier_failures: u64,
    /// True if the last run has failures.
    #[serde(default)]
    pub(super) is_failing: bool,
}

impl ArchiveStats {
    /// Adds the work of one run in one directory.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub(super) fn add_summary(&mut self, summary: &JobSummary) {
        self.sealed_hours += summary.sealed;
        self.sealed_raw_bytes += summary.raw_bytes;
        self.sealed_stored_bytes += summary.stored_bytes;
        self.removed_hours += summary.removed;
        self.removed_bytes += summary.removed_bytes;
        if self.sealed_stored_bytes > 0 {
            self.ratio = self.sealed_raw_bytes as f64 / self.sealed_stored_bytes as f64;
        }
    }
}
