//! The log: its destinations, format and limits.

use std::path::PathBuf;

use super::log_format::LogFormat;
use super::log_level::LogLevel;

/// The destinations of log lines, their format and level, and the limits of the log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) file: Option<PathBuf>,
    pub(crate) to_stdout: bool,
    pub(crate) format: LogFormat,
    pub(crate) level: LogLevel,
    /// Size in bytes at which the log file is renamed to `.1` and a new one begins; 0 for no limit.
    pub(crate) max_size: u64,
    /// Number of renamed log files that are kept.
    pub(crate) max_old_files: u16,
}
