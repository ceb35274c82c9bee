//! The free space of a file system.

use std::path::Path;

use rustix::io::Errno;

use super::disk::{self, DiskOperation, FileError, Support};

/// The space on the file system of a directory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskSpace {
    /// Bytes that this process may still write.
    pub(super) available: u64,
    /// Size of the file system.
    pub(super) total: u64,
}

impl DiskSpace {
    /// The space on a file system that does not tell: there is no limit.
    const UNKNOWN: Self = Self { available: u64::MAX, total: u64::MAX };

    /// Asks the operating system for the space on the directory's file system. Where the file
    /// system does not tell, there is no limit.
    ///
    /// # Errors
    /// The directory's file system cannot be queried.
    pub(super) fn query(dir: &Path) -> Result<Self, FileError> {
        let operation = DiskOperation::FreeSpace;
        let mut space = Self::UNKNOWN;
        let queried = disk::support_point(operation).and_then(|()| {
            let stat = rustix::fs::statvfs(dir)?;
            space = Self {
                available: stat.f_bavail.saturating_mul(stat.f_frsize),
                total: stat.f_blocks.saturating_mul(stat.f_frsize),
            };
            // FUSE answers for a program that does not know the operation.
            if space.total == 0 { Err(Errno::NOSYS.into()) } else { Ok(()) }
        });
        let support = operation
            .check_support(dir, queried)
            .map_err(FileError::from_io("read the free space of", dir))?;
        Ok(match support {
            Support::Done => space,
            Support::Missing => Self::UNKNOWN,
        })
    }
}
