//! What the status says of the sidecar.

use serde::{Deserialize, Serialize};

use crate::archive::job::JobSummary;

/// What the sidecar did since the recorder started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ArchiveStats {
    /// Whether a run is under way.
    pub running: bool,
    /// Runs that have ended.
    pub runs: u64,
    /// When the last one began, RFC 3339.
    pub last_run: Option<String>,
    /// How long the last one that ended took.
    pub last_run_seconds: f64,
    /// When the next one is due, RFC 3339.
    pub next_run: Option<String>,
    /// Hours that were sealed.
    pub sealed_hours: u64,
    /// Bytes of their lines.
    pub sealed_raw_bytes: u64,
    /// Bytes of the sealed files.
    pub sealed_stored_bytes: u64,
    /// The former by the latter; 0 when nothing was sealed.
    pub ratio: f64,
    /// Hours that retention removed.
    pub removed_hours: u64,
    /// Bytes of their files.
    pub removed_bytes: u64,
    /// Things that failed; each is tried again at the next run.
    pub failures: u64,
    /// The last of them.
    pub last_failure: Option<String>,
}

impl ArchiveStats {
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
