//! The metadata of a file by which the archive tells files apart.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, UNIX_EPOCH};

use crate::base::time::UnixNanos;

/// Metadata of a file of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileInfo {
    /// Length.
    pub bytes: u64,
    /// Inode. The number may be used again after the file was removed.
    pub inode: u64,
    /// Time of the last write. A time before 1970 counts as 1970.
    pub modified: UnixNanos,
    /// Time of the creation, where the file system records it.
    pub created: Option<UnixNanos>,
}

impl FileInfo {
    /// Takes the relevant part of the metadata.
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        let since_epoch = u64::try_from(metadata.mtime())
            .map_or(Duration::ZERO, Duration::from_secs)
            .saturating_add(
                u64::try_from(metadata.mtime_nsec()).map_or(Duration::ZERO, Duration::from_nanos),
            );
        let created = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified: UnixNanos::default().saturating_add(since_epoch),
            created: created.map(|since_epoch| UnixNanos::default().saturating_add(since_epoch)),
        }
    }
}
