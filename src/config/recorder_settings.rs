//! The settings of the recorder itself, which all pipelines share.

use std::path::PathBuf;
use std::time::Duration;

use super::archive_location::ArchiveLocation;
use super::log_config::LogConfig;
use super::on_event_config::OnEventConfig;
use crate::base::secrets::Secrets;

/// The settings of the recorder itself, which all pipelines share.
#[derive(Debug, Clone)]
pub(crate) struct RecorderSettings {
    /// Maximum time that a stop may take.
    pub(crate) shutdown_timeout: Duration,
    /// Time between status lines in the log; `None` for no status lines.
    pub(crate) status_interval: Option<Duration>,
    /// Path of the Unix socket that answers status queries.
    pub(crate) status_socket: Option<PathBuf>,
    pub(crate) log: LogConfig,
    /// The program that is told of alerts.
    pub(crate) on_event: Option<OnEventConfig>,
    /// Texts that must not be shown.
    pub(crate) secrets: Secrets,
    /// Warnings about the configuration.
    pub(crate) warnings: Vec<String>,
    /// The archive that the sidecar works on; `None` when closed hours stay as they are.
    pub(crate) archive: Option<ArchiveLocation>,
}
