//! Every change that the archive makes to a directory goes through here, one function an
//! operation, so that a test can let any one of them fail, or end the process before it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Mode of new files: the owner writes, the group reads.
pub const DEFAULT_FILE_MODE: u32 = 0o640;

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct FileError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: the error of this action on this file.
    pub(super) fn from_io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }

    /// Whether there was no room.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// Creates the file, or empties it.
pub(super) fn create(path: &Path) -> Result<File, FileError> {
    fault_point()
        .and_then(|()| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(DEFAULT_FILE_MODE)
                .custom_flags(no_follow_flag())
                .open(path)
        })
        .map_err(FileError::from_io("create", path))
}

/// Opens the file to append to it; creates it if need be.
pub(super) fn open_append(path: &Path) -> Result<File, FileError> {
    open_append_with_mode(path, DEFAULT_FILE_MODE)
}

/// The same with a mode for a new file. A symbolic link is not followed.
pub(super) fn open_append_with_mode(path: &Path, mode: u32) -> Result<File, FileError> {
    fault_point()
        .and_then(|()| require_regular(append_options(mode).create(true).open(path)?))
        .inspect(|file| chown_like_parent(file, path))
        .map_err(FileError::from_io("open", path))
}

/// Opens a file that exists to append to it; `None` when there is none.
pub(super) fn open_append_existing(path: &Path) -> Result<Option<File>, FileError> {
    match fault_point()
        .and_then(|()| require_regular(append_options(DEFAULT_FILE_MODE).open(path)?))
    {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::from_io("open", path)(error)),
    }
}

/// A FIFO or a device takes what is written to it, and keeps nothing.
pub(super) fn require_regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

fn append_options(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(mode).custom_flags(no_follow_flag());
    options
}

/// A link that somebody put where a file of ours belongs leads nowhere.
pub(super) fn no_follow_flag() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// When root works in the directory of a service, what root creates there belongs to the service:
/// it must be able to go on.
pub(super) fn chown_like_parent(file: &File, path: &Path) {
    let dir = path.parent().unwrap_or(Path::new("."));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let (Ok(dir), Ok(own)) = (std::fs::metadata(dir), file.metadata())
        && own.uid() != dir.uid()
        && own.len() == 0
    {
        // Where it may not be changed it stays, which is no worse than before.
        drop(fchown(file, Some(dir.uid()), Some(dir.gid())));
    }
}

/// Opens a regular file to read it; a symbolic link is not followed, and a FIFO not waited for.
pub(super) fn open_read_no_follow(path: &Path) -> Result<File, FileError> {
    let wait_for_nothing = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    OpenOptions::new()
        .read(true)
        .custom_flags(no_follow_flag() | wait_for_nothing)
        .open(path)
        .map_err(FileError::from_io("open", path))
}

/// Appends to the file, or writes on where it was opened.
pub(super) fn write_all(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_fault_point(file, bytes)
        .and_then(|()| file.write_all(bytes))
        .map_err(FileError::from_io("write to", path))
}

/// Makes durable what is in the file.
pub(super) fn sync(file: &File, path: &Path) -> Result<(), FileError> {
    fault_point().and_then(|()| file.sync_all()).map_err(FileError::from_io("sync", path))?;
    record_durable_len(file, path);
    Ok(())
}

/// The same without what is not needed to read it, such as the time of its change.
pub(super) fn sync_data(file: &File, path: &Path) -> Result<(), FileError> {
    fault_point().and_then(|()| file.sync_data()).map_err(FileError::from_io("sync", path))?;
    record_durable_len(file, path);
    Ok(())
}

/// Makes durable which names are in the directory.
pub(super) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    fault_point()
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(FileError::from_io("sync the directory", dir))
}

/// Makes durable everything that was written to the file system of this directory: one wait, where
/// many files have changed.
///
/// # Errors
/// [`FileError`].
pub fn sync_file_system(dir: &Path) -> Result<(), FileError> {
    fault_point()
        .and_then(|()| Ok(rustix::fs::syncfs(File::open(dir)?)?))
        .map_err(FileError::from_io("sync the file system of", dir))
}

/// Appends lines to a file beside those of the archive's hours; creates it with this mode.
///
/// # Errors
/// [`FileError`]; the file is as it was.
pub fn append_lines(path: &Path, mode: u32, lines: &[u8]) -> Result<(), FileError> {
    let file = open_append_with_mode(path, mode)?;
    let length = file.metadata().map_err(FileError::from_io("read the size of", path))?.len();
    write_all(&file, path, lines).inspect_err(|_| {
        // All of it or nothing: it is tried again.
        drop(truncate(&file, path, length));
    })
}

/// Makes the content of this file durable, if it still exists.
///
/// # Errors
/// [`FileError`].
pub fn sync_if_exists(path: &Path) -> Result<(), FileError> {
    match open_append_existing(path)? {
        Some(file) => sync(&file, path),
        None => Ok(()),
    }
}

pub(super) fn truncate(file: &File, path: &Path, length: u64) -> Result<(), FileError> {
    fault_point().and_then(|()| file.set_len(length)).map_err(FileError::from_io("cut back", path))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fault_point()
        .and_then(|()| std::fs::rename(from, to))
        .map_err(FileError::from_io("rename", from))
}

/// Removes the file. It is no error when it is gone already.
pub(super) fn remove_if_exists(path: &Path) -> Result<(), FileError> {
    match fault_point().and_then(|()| std::fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::from_io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Gives the file the mode, the owner and the modification time of another. The owner stays when
/// this process may not change it.
pub(super) fn copy_metadata(file: &File, path: &Path, like: &File) -> Result<(), FileError> {
    fault_point()
        .and_then(|()| {
            let like = like.metadata()?;
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (like.uid(), like.gid())
                && let Err(error) = fchown(file, Some(like.uid()), Some(like.gid()))
                && error.kind() != io::ErrorKind::PermissionDenied
            {
                return Err(error);
            }
            file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
            file.set_modified(like.modified()?)
        })
        .map_err(FileError::from_io("set the mode and time of", path))
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it does fail")]
fn fault_point() -> io::Result<()> {
    Ok(())
}

/// For tests of a power cut: so much of the file would be there after one.
#[cfg(not(test))]
fn record_durable_len(_: &File, _: &Path) {}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it does fail")]
fn write_fault_point(_: &File, _: &[u8]) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use self::injected_fault::{fault_point, record_durable_len, write_fault_point};

#[cfg(test)]
pub(crate) mod injected_fault;
