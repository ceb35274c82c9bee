//! The configuration in the status.

use serde::{Deserialize, Serialize};

/// The configuration that a recorder runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Path of the file.
    pub file: String,
    /// SHA-256 of the resolved form of what runs, as in the journals.
    pub sha256: String,
    /// Time since when it runs, RFC 3339.
    pub since: String,
    /// True if the file has another text than the one that runs; `null` if that is unknown.
    pub file_differs: Option<bool>,
    /// Time of the last reload, RFC 3339.
    pub last_reload: Option<String>,
    /// Problems for which the last reload changed nothing.
    pub last_reload_error: Option<String>,
    /// What the last reload found to differ and could not change.
    pub needs_restart: Vec<String>,
}
