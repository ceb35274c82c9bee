//! The part of an archive that a failure concerns.

use std::io;
use std::path::Path;

use rustix::fs::Access;
use rustix::io::Errno;

/// The part of an archive that a failed operation on a file concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureScope {
    /// The file alone, such as a directory at its name: other files can be written.
    File,
    /// The disk, the directory or the process: other files are likely to fail as well.
    Disk,
}

/// Errors of a disk, of the way to it, and of the process.
const DISK_ERRORS: &[Errno] = &[
    Errno::NOSPC,
    Errno::DQUOT,
    Errno::IO,
    Errno::ROFS,
    Errno::NODEV,
    Errno::STALE,
    Errno::NOTCONN,
    Errno::TIMEDOUT,
    Errno::HOSTDOWN,
    Errno::HOSTUNREACH,
    Errno::NETDOWN,
    Errno::NETUNREACH,
    Errno::CONNABORTED,
    Errno::CONNREFUSED,
    Errno::CONNRESET,
    Errno::SHUTDOWN,
    Errno::REMOTEIO,
    Errno::NOMEM,
    Errno::NOBUFS,
    Errno::MFILE,
    Errno::NFILE,
];

impl FailureScope {
    /// Returns the scope of an error of an operation on the file at `path`.
    ///
    /// What is not known as an error of the disk belongs to the file: its own gap is better than a
    /// recording that stands still for it.
    pub(super) fn of(error: &io::Error, path: &Path) -> Self {
        // A device or a socket in place of the file has errors of its own.
        if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Self::File;
        }
        let is_of_disk = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(errno) => DISK_ERRORS.contains(&errno),
            None => matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::StaleNetworkFileHandle
                    | io::ErrorKind::OutOfMemory
            ),
        };
        if is_of_disk || is_directory_closed(path) { Self::Disk } else { Self::File }
    }
}

/// Returns whether this process may create no file in the directory of `path`.
fn is_directory_closed(path: &Path) -> bool {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_belongs_to_the_file_unless_it_is_known_of_disks_or_the_directory_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.jsonl");
        let scope = |errno: Errno| FailureScope::of(&errno.into(), &path);
        for errno in [
            Errno::FBIG,
            Errno::ISDIR,
            Errno::PERM,
            Errno::ACCESS,
            Errno::LOOP,
            Errno::NAMETOOLONG,
            Errno::AGAIN,
            Errno::NXIO,
            Errno::TXTBSY,
            Errno::OVERFLOW,
        ] {
            assert_eq!(scope(errno), FailureScope::File, "{errno}");
        }
        for errno in
            [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::NODEV, Errno::STALE]
        {
            assert_eq!(scope(errno), FailureScope::Disk, "{errno}");
        }
        std::fs::create_dir(&path).unwrap();
        assert_eq!(scope(Errno::NODEV), FailureScope::File, "the name is not that of a file");
        let gone = dir.path().join("gone/t_3600.jsonl");
        assert_eq!(FailureScope::of(&Errno::NOENT.into(), &gone), FailureScope::Disk);
    }
}
