//! The free space of a file system.

use std::path::Path;

use super::disk::FileError;

/// The space on the file system of a directory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskSpace {
    /// Bytes that this process may still write.
    pub(super) available: u64,
    /// Size of the file system.
    pub(super) total: u64,
}

impl DiskSpace {
    /// Asks the operating system for the space on the directory's file system.
    ///
    /// # Errors
    /// The directory's file system cannot be queried.
    pub(super) fn query(dir: &Path) -> Result<Self, FileError> {
        let stat = rustix::fs::statvfs(dir)
            .map_err(|error| FileError::from_io("read the free space of", dir)(error.into()))?;
        Ok(Self {
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}
