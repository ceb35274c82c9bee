//! The hour and the file that an event of the job concerns.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::archive::file_name::FileKind;
use crate::archive::hour_entry::HourEntry;

/// An hour and one of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HourLocation {
    /// Stem of the hour's file names.
    pub stem: String,
    /// Start of the hour, RFC 3339.
    pub hour: String,
    /// Path of the file.
    pub path: PathBuf,
}

impl HourLocation {
    /// Returns the location of the file after which the hour is named in messages.
    pub(super) fn of_hour(dir: &Path, entry: &HourEntry) -> Self {
        Self {
            stem: entry.stem.as_str().to_owned(),
            hour: entry.hour.start().to_string(),
            path: hour_path(dir, entry),
        }
    }

    /// Returns the location of the sealed file.
    pub(super) fn of_sealed(dir: &Path, entry: &HourEntry) -> Self {
        Self { path: entry.path(dir, FileKind::Sealed), ..Self::of_hour(dir, entry) }
    }
}

/// Returns the path of the file after which the hour is named in messages.
pub(super) fn hour_path(dir: &Path, entry: &HourEntry) -> PathBuf {
    dir.join(entry.display_name())
}
