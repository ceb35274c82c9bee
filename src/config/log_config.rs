//! The destinations of log lines.

use std::path::PathBuf;

/// The destinations of log lines, and the limits of the log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) file: Option<PathBuf>,
    pub(crate) to_stdout: bool,
    /// Size in bytes at which the log file is renamed to `.1` and a new one begins; 0 for no limit.
    pub(crate) max_size: u64,
    /// Number of renamed log files that are kept.
    pub(crate) max_old_files: u16,
}
