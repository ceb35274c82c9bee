//! Every change that the archive makes to a directory goes through here, one function an
//! operation, so that a test can let any one of them fail, or end the process before it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Mode of new files: the owner writes, the group reads.
pub const FILE_MODE: u32 = 0o640;

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
    pub(super) fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
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
    gate()
        .and_then(|()| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .custom_flags(no_follow())
                .open(path)
        })
        .map_err(FileError::of("create", path))
}

/// Opens the file to append to it; creates it if need be.
pub(super) fn append(path: &Path) -> Result<File, FileError> {
    append_as(path, FILE_MODE)
}

/// The same with a mode for a new file. A symbolic link is not followed.
pub(super) fn append_as(path: &Path, mode: u32) -> Result<File, FileError> {
    gate()
        .and_then(|()| regular(appending(mode).create(true).open(path)?))
        .inspect(|file| own_as_directory(file, path))
        .map_err(FileError::of("open", path))
}

/// Opens a file that exists to append to it; `None` when there is none.
pub(super) fn append_to_existing(path: &Path) -> Result<Option<File>, FileError> {
    match gate().and_then(|()| regular(appending(FILE_MODE).open(path)?)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("open", path)(error)),
    }
}

/// A FIFO or a device takes what is written to it, and keeps nothing.
pub(super) fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

fn appending(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(mode).custom_flags(no_follow());
    options
}

/// A link that somebody put where a file of ours belongs leads nowhere.
pub(super) fn no_follow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

/// When root works in the directory of a service, what root creates there belongs to the service:
/// it must be able to go on.
pub(super) fn own_as_directory(file: &File, path: &Path) {
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
pub(super) fn open_regular(path: &Path) -> Result<File, FileError> {
    let wait_for_nothing = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    OpenOptions::new()
        .read(true)
        .custom_flags(no_follow() | wait_for_nothing)
        .open(path)
        .map_err(FileError::of("open", path))
}

/// Appends to the file, or writes on where it was opened.
pub(super) fn write(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    gate_write(file, bytes)
        .and_then(|()| file.write_all(bytes))
        .map_err(FileError::of("write to", path))
}

/// Makes durable what is in the file.
pub(super) fn sync(file: &File, path: &Path) -> Result<(), FileError> {
    gate().and_then(|()| file.sync_all()).map_err(FileError::of("sync", path))?;
    durable(file, path);
    Ok(())
}

/// The same without what is not needed to read it, such as the time of its change.
pub(super) fn sync_data(file: &File, path: &Path) -> Result<(), FileError> {
    gate().and_then(|()| file.sync_data()).map_err(FileError::of("sync", path))?;
    durable(file, path);
    Ok(())
}

/// Makes durable which names are in the directory.
pub(super) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    gate()
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(FileError::of("sync the directory", dir))
}

/// Makes durable everything that was written to the file system of this directory: one wait, where
/// many files have changed.
///
/// # Errors
/// [`FileError`].
pub fn sync_all(dir: &Path) -> Result<(), FileError> {
    gate()
        .and_then(|()| Ok(rustix::fs::syncfs(File::open(dir)?)?))
        .map_err(FileError::of("sync the file system of", dir))
}

/// Appends lines to a file beside those of the archive's hours; creates it with this mode.
///
/// # Errors
/// [`FileError`]; the file is as it was.
pub fn append_lines(path: &Path, mode: u32, lines: &[u8]) -> Result<(), FileError> {
    let file = append_as(path, mode)?;
    let length = file.metadata().map_err(FileError::of("read the size of", path))?.len();
    write(&file, path, lines).inspect_err(|_| {
        // All of it or nothing: it is tried again.
        drop(set_len(&file, path, length));
    })
}

/// Makes the content of this file durable, if it still exists.
///
/// # Errors
/// [`FileError`].
pub fn sync_path(path: &Path) -> Result<(), FileError> {
    match append_to_existing(path)? {
        Some(file) => sync(&file, path),
        None => Ok(()),
    }
}

pub(super) fn set_len(file: &File, path: &Path, length: u64) -> Result<(), FileError> {
    gate().and_then(|()| file.set_len(length)).map_err(FileError::of("cut back", path))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    gate().and_then(|()| std::fs::rename(from, to)).map_err(FileError::of("rename", from))
}

/// Removes the file. It is no error when it is gone already.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match gate().and_then(|()| std::fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::of("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Gives the file the mode, the owner and the modification time of another. The owner stays when
/// this process may not change it.
pub(super) fn dress(file: &File, path: &Path, like: &File) -> Result<(), FileError> {
    gate()
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
        .map_err(FileError::of("set the mode and time of", path))
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it does fail")]
fn gate() -> io::Result<()> {
    Ok(())
}

/// For tests of a power cut: so much of the file would be there after one.
#[cfg(not(test))]
fn durable(_: &File, _: &Path) {}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "in tests it does fail")]
fn gate_write(_: &File, _: &[u8]) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use faults::{durable, gate, gate_write};

#[cfg(test)]
pub(crate) mod faults;
