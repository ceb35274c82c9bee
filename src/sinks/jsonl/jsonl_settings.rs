//! The settings of the files of one sink.

use std::path::PathBuf;
use std::time::Duration;

use crate::archive::hour_writer::TimeIndexing;
use crate::base::units::FileMode;

/// The settings of the files of one sink.
#[derive(Debug, Clone)]
pub(super) struct JsonlSettings {
    pub(super) dir: PathBuf,
    pub(super) file_mode: FileMode,
    /// Time between two syncs; `None` leaves syncing to the operating system.
    pub(super) sync_interval: Option<Duration>,
    pub(super) mark_interval: Duration,
    pub(super) max_open_files: u32,
    pub(super) time_index: TimeIndexing,
}
