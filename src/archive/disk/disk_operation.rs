//! The operations of a file system that the archive needs, and those that it can do without.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;

use rustix::io::Errno;
use tracing::{Level, enabled, warn};

/// Errors by which a file system says that it does not have an operation.
const UNSUPPORTED: &[Errno] = &[Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY];
/// Errors by which a file system refuses to change the owner, the mode or the time of a file.
const NOT_PERMITTED: &[Errno] = &[Errno::PERM, Errno::ACCESS];

/// An operation that some file systems do not have: network file systems, FAT, FUSE. The archive
/// does without it; `docs/archive.md` says what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::archive) enum DiskOperation {
    /// `flock(2)`.
    Lock,
    /// `fsync(2)` and `fdatasync(2)` of a file.
    Sync,
    /// `fsync(2)` of a directory.
    SyncDirectory,
    /// `syncfs(2)`.
    SyncFileSystem,
    /// `fchown(2)`.
    SetOwner,
    /// `fchmod(2)`.
    SetMode,
    /// `futimens(2)`.
    SetTime,
    /// `statvfs(3)`.
    FreeSpace,
}

/// The result of an operation that a file system may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// The operation was done.
    Done,
    /// The file system does not have the operation. The log says so once.
    Missing,
}

/// Operations whose absence was logged, each with the device of the file system.
static LOGGED: Mutex<BTreeSet<(DiskOperation, u64)>> = Mutex::new(BTreeSet::new());

impl DiskOperation {
    /// Separates the absence of the operation from other failures, and logs it once for each file
    /// system. `path` leads to the file or directory.
    ///
    /// # Errors
    /// The file system has the operation, and it failed.
    pub(in crate::archive) fn check_support(
        self,
        path: &Path,
        result: io::Result<()>,
    ) -> io::Result<Support> {
        match result {
            Ok(()) => Ok(Support::Done),
            Err(error) if self.is_missing(&error) => {
                self.log_missing(path, &error);
                Ok(Support::Missing)
            }
            Err(error) => Err(error),
        }
    }

    /// Logs that the file system of `path` does not have the operation, unless that was logged.
    pub(in crate::archive) fn log_missing(self, path: &Path, error: &io::Error) {
        // The log starts after the directory was locked; what happens before is logged the next time.
        if !enabled!(Level::WARN) {
            return;
        }
        let device = std::fs::metadata(path).as_ref().map_or(0, Metadata::dev);
        let mut logged = LOGGED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if logged.insert((self, device)) {
            let path = path.display();
            let name = self.name();
            let consequence = self.consequence();
            warn!(%path, %error, "this file system does not support `{name}`: {consequence}");
        }
    }

    fn is_missing(self, error: &io::Error) -> bool {
        let Some(errno) = error.raw_os_error().map(Errno::from_raw_os_error) else { return false };
        let others: &[Errno] = match self {
            // NFS emulates the lock of a file by one of its bytes, which needs a descriptor that is
            // open for writing (EBADF) and a lock manager on the server (ENOLCK).
            Self::Lock => &[Errno::NOLCK, Errno::BADF],
            // A directory that may be searched, and not read, cannot be opened for its sync.
            Self::SyncDirectory => &[Errno::BADF, Errno::ISDIR, Errno::ACCESS, Errno::PERM],
            Self::SyncFileSystem => &[Errno::BADF, Errno::ACCESS, Errno::PERM],
            Self::SetOwner | Self::SetMode | Self::SetTime => NOT_PERMITTED,
            Self::Sync | Self::FreeSpace => &[],
        };
        UNSUPPORTED.contains(&errno) || others.contains(&errno)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lock => "flock",
            Self::Sync => "fsync",
            Self::SyncDirectory => "fsync of a directory",
            Self::SyncFileSystem => "syncfs",
            Self::SetOwner => "fchown",
            Self::SetMode => "fchmod",
            Self::SetTime => "futimens",
            Self::FreeSpace => "statvfs",
        }
    }

    fn consequence(self) -> &'static str {
        match self {
            Self::Lock => {
                "nothing keeps a second recorder or archive job out of the directory, so take care that there is only one"
            }
            Self::Sync => {
                "lines are written, and a power cut may lose more than those of `sync_interval`; the journal calls none of them durable"
            }
            Self::SyncDirectory => "it keeps the names of new files in its own way",
            Self::SyncFileSystem => "files are synced one by one",
            Self::SetOwner => "files belong to the user that the file system chooses",
            Self::SetMode => "files have the mode that the file system chooses",
            Self::SetTime => "sealed files have the time at which they were sealed",
            Self::FreeSpace => "`min_free_disk` has no effect",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_absence_of_an_operation_is_forgiven() {
        let path = Path::new("/");
        let check = |operation: DiskOperation, errno: Errno| {
            operation.check_support(path, Err(errno.into())).ok()
        };
        for (operation, errno) in [
            (DiskOperation::Lock, Errno::BADF),
            (DiskOperation::Lock, Errno::NOLCK),
            (DiskOperation::Lock, Errno::NOSYS),
            (DiskOperation::Lock, Errno::OPNOTSUPP),
            (DiskOperation::SyncDirectory, Errno::INVAL),
            (DiskOperation::SyncDirectory, Errno::NOTSUP),
            (DiskOperation::SyncDirectory, Errno::BADF),
            (DiskOperation::SyncDirectory, Errno::ACCESS),
            (DiskOperation::Sync, Errno::INVAL),
            (DiskOperation::SyncFileSystem, Errno::NOSYS),
            (DiskOperation::SetMode, Errno::PERM),
            (DiskOperation::SetOwner, Errno::INVAL),
            (DiskOperation::SetTime, Errno::PERM),
            (DiskOperation::FreeSpace, Errno::NOSYS),
        ] {
            assert_eq!(check(operation, errno), Some(Support::Missing), "{operation:?} {errno}");
        }
        for (operation, errno) in [
            (DiskOperation::Lock, Errno::IO),
            (DiskOperation::SyncDirectory, Errno::IO),
            (DiskOperation::Sync, Errno::IO),
            (DiskOperation::Sync, Errno::NOSPC),
            (DiskOperation::Sync, Errno::BADF),
            (DiskOperation::SetMode, Errno::ROFS),
            (DiskOperation::FreeSpace, Errno::IO),
        ] {
            assert_eq!(check(operation, errno), None, "{operation:?} {errno}");
        }
    }
}
