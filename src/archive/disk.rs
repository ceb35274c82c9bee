//! Changes to a directory. Every change that the archive makes goes through here, one function an
//! operation, so that a test can let any one of them fail, or end the process before it.

mod disk_operation;
mod failure_scope;

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise};

pub(super) use self::disk_operation::DiskOperation;
pub(crate) use self::disk_operation::Support;
pub use self::failure_scope::FailureScope;
use crate::base::descriptors::{is_shortage, record_if_shortage};
use crate::base::heartbeat::beat;

/// Mode of new files: the owner writes, the group reads.
pub const DEFAULT_FILE_MODE: u32 = 0o640;

/// Flag for opening that refuses a symbolic link: another user may have put one where a file of the
/// archive belongs.
pub(super) const NO_FOLLOW: i32 = OFlags::NOFOLLOW.bits().cast_signed();
/// Flag for opening that does not wait for the writer of a FIFO.
const NON_BLOCKING: i32 = OFlags::NONBLOCK.bits().cast_signed();

/// Failure of an operation on a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct FileError {
    /// Operation, as a verb.
    pub action: &'static str,
    /// Path of the file.
    pub path: PathBuf,
    /// Error of the system.
    pub source: io::Error,
}

impl FileError {
    /// Returns a function, for `map_err`, that adds the action and the path to an error.
    pub(super) fn from_io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            // Whoever keeps files open closes some.
            record_if_shortage(&source);
            Self { action, path: path.to_owned(), source }
        }
    }

    /// Returns whether the disk, or the quota of the user, has no space left.
    pub fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Returns whether the file has the largest size that the file system, or the limit of the
    /// process (`ulimit -f`), allows.
    pub fn is_too_large(&self) -> bool {
        self.source.kind() == io::ErrorKind::FileTooLarge
    }

    /// Returns whether the process, or the system, has no file descriptor left.
    pub(super) fn is_shortage_of_descriptors(&self) -> bool {
        is_shortage(&self.source)
    }

    /// Returns whether another program holds the lock of the file.
    pub fn is_locked(&self) -> bool {
        self.source.kind() == io::ErrorKind::WouldBlock
    }

    /// Returns what can be done about the failure, where the words of the system do not tell.
    pub fn hint(&self) -> Option<&'static str> {
        let is_removal = matches!(self.action, "remove" | "rename");
        let is_forbidden = self.source.kind() == io::ErrorKind::PermissionDenied;
        (is_removal && is_forbidden).then_some(
            "the directory is not writable for this user, or the file is immutable (`lsattr`, `chattr -i`) or another user's in a directory with the sticky bit",
        )
    }

    /// Returns the part of the archive that the failure concerns.
    pub fn scope(&self) -> FailureScope {
        FailureScope::of(&self.source, &self.path)
    }
}

/// Creates the file for reading and writing, or empties the existing one.
pub(super) fn create(path: &Path) -> Result<File, FileError> {
    fault_point()
        .and_then(|()| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(DEFAULT_FILE_MODE)
                .custom_flags(NO_FOLLOW)
                .open(path)
        })
        .map_err(FileError::from_io("create", path))
}

/// Opens the regular file for reading and appending; creates it if it does not exist.
pub(super) fn open_append(path: &Path) -> Result<File, FileError> {
    open_append_with_mode(path, DEFAULT_FILE_MODE)
}

/// Opens the regular file for reading and appending; creates it with `mode` if it does not exist. A
/// symbolic link is refused.
pub(super) fn open_append_with_mode(path: &Path, mode: u32) -> Result<File, FileError> {
    fault_point()
        .and_then(|()| open_or_create(&append_options(mode), path, mode))
        .inspect(|_| beat())
        .and_then(require_regular)
        .inspect(|file| chown_like_parent(file, path))
        .map_err(FileError::from_io("open", path))
}

/// Opens the file, and creates it with exactly this mode if it does not exist: `open(2)` takes away
/// what the mask of the process forbids (`umask`).
pub(super) fn open_or_create(options: &OpenOptions, path: &Path, mode: u32) -> io::Result<File> {
    loop {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match options.clone().create_new(true).open(path) {
            // Another process has created it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => {
                let file = created?;
                if file.metadata()?.mode() & 0o7777 != mode {
                    set_attribute(path, DiskOperation::SetMode, || {
                        file.set_permissions(Permissions::from_mode(mode))
                    })?;
                }
                return Ok(file);
            }
        }
    }
}

/// Opens the regular file for reading and appending; returns `None` if it does not exist.
pub(super) fn open_append_existing(path: &Path) -> Result<Option<File>, FileError> {
    match fault_point()
        .and_then(|()| require_regular(append_options(DEFAULT_FILE_MODE).open(path)?))
    {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::from_io("open", path)(error)),
    }
}

/// Opens the regular file for reading. A symbolic link is refused, and the writer of a FIFO not
/// waited for.
pub(super) fn open_regular(path: &Path) -> Result<File, FileError> {
    read_options().open(path).and_then(require_regular).map_err(FileError::from_io("open", path))
}

/// Opens the regular file like [`open_regular`], to lock it against all others. It is opened for
/// writing where that is possible, since NFS refuses that lock on other descriptors.
pub(super) fn open_to_lock(path: &Path) -> Result<File, FileError> {
    match read_options().write(true).open(path) {
        Ok(file) => require_regular(file).map_err(FileError::from_io("open", path)),
        // A file that may only be read can be sealed, and removed.
        Err(_) => open_regular(path),
    }
}

/// Checks that the file is a regular file. A FIFO or a device accepts writes, but keeps nothing.
pub(super) fn require_regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

fn read_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(NO_FOLLOW | NON_BLOCKING);
    options
}

fn append_options(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(mode).custom_flags(NO_FOLLOW);
    options
}

/// Gives a new file to the owner of its directory, if this process is root: the service that owns
/// the directory must be able to use what root creates there.
pub(super) fn chown_like_parent(file: &File, path: &Path) {
    let dir = path.parent().unwrap_or(Path::new("."));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    if let (Ok(dir), Ok(metadata)) = (std::fs::metadata(dir), file.metadata())
        && metadata.uid() != dir.uid()
        && metadata.len() == 0
    {
        // Best effort: where root may not change the owner, on a network file system, it stays.
        drop(fchown(file, Some(dir.uid()), Some(dir.gid())));
    }
}

/// Writes all bytes, at the end of a file that is open for appending, else at its position.
pub(super) fn write_all(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_fault_point(file, bytes)
        .and_then(|()| file.write_all(bytes))
        .map_err(FileError::from_io("write to", path))
}

/// Appends all bytes to a file that is open for appending.
///
/// # Errors
/// [`PartialAppend`]: the caller cuts off the part that was written.
pub(super) fn append_all(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), PartialAppend> {
    let mut written = 0;
    let result = counted_write_fault_point(file, bytes, &mut written).and_then(|()| {
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            #[expect(clippy::disallowed_methods, reason = "what is not written is written next")]
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    beat();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    });
    result.map_err(|error| PartialAppend {
        written: written as u64,
        error: FileError::from_io("write to", path)(error),
    })
}

/// An append that failed after a part of the bytes was written.
#[derive(Debug)]
pub(super) struct PartialAppend {
    /// Number of bytes that were written.
    pub(super) written: u64,
    pub(super) error: FileError,
}

/// Makes the content and the metadata of the file durable (`fsync(2)`), as far as the file system
/// can.
pub(super) fn sync(file: &File, path: &Path) -> Result<Support, FileError> {
    sync_with(file, path, File::sync_all)
}

/// Makes the content of the file durable, as far as the file system can, without metadata that is
/// not needed to read it, such as its time (`fdatasync(2)`).
pub(super) fn sync_data(file: &File, path: &Path) -> Result<Support, FileError> {
    sync_with(file, path, File::sync_data)
}

fn sync_with(
    file: &File,
    path: &Path,
    sync: fn(&File) -> io::Result<()>,
) -> Result<Support, FileError> {
    let synced =
        fault_point().and_then(|()| support_point(DiskOperation::Sync)).and_then(|()| sync(file));
    beat();
    let support = DiskOperation::Sync
        .check_support(path, synced)
        .map_err(FileError::from_io("sync", path))?;
    if support == Support::Done {
        record_durable_len(file, path);
    }
    Ok(support)
}

/// Starts to write these bytes of the file to the disk, without waiting, so that a later sync finds
/// little to do. The bytes must not be synced yet: the page cache gives up those that are on the
/// disk already, though a seal reads them soon. Where the system does not do it, the sync has more
/// to do, and nothing is lost.
pub(super) fn start_writeback(file: &File, range: Range<u64>) {
    // `sync_file_range(2)` does this alone, but has no safe wrapper.
    let length = NonZeroU64::new(range.end - range.start);
    let _advised = fadvise(file, range.start, length, Advice::DontNeed);
}

/// Makes the names in the directory durable, as far as the file system can.
pub(super) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    let synced = fault_point()
        .and_then(|()| support_point(DiskOperation::SyncDirectory))
        .and_then(|()| File::open(dir)?.sync_all());
    DiskOperation::SyncDirectory
        .check_support(dir, synced)
        // A file system without the operation makes names durable by itself, or not at all.
        .map(drop)
        .map_err(FileError::from_io("sync the directory", dir))
}

/// Makes everything durable that was written to the file system of the directory (`syncfs(2)`).
/// Faster than single syncs where many files have changed.
///
/// # Errors
/// [`FileError`]
pub(crate) fn sync_file_system(dir: &Path) -> Result<Support, FileError> {
    let synced = fault_point()
        .and_then(|()| support_point(DiskOperation::SyncFileSystem))
        .and_then(|()| Ok(rustix::fs::syncfs(File::open(dir)?)?));
    DiskOperation::SyncFileSystem
        .check_support(dir, synced)
        .map_err(FileError::from_io("sync the file system of", dir))
}

/// Appends lines to a file; creates it with `mode` if it does not exist.
///
/// # Errors
/// [`FileError`]: a part that was written is cut off again, if the disk allows it.
pub fn append_lines(path: &Path, mode: u32, lines: &[u8]) -> Result<(), FileError> {
    let file = open_append_with_mode(path, mode)?;
    let length = file.metadata().map_err(FileError::from_io("read the size of", path))?.len();
    write_all(&file, path, lines).inspect_err(|_| {
        // The caller appends all of the lines again.
        drop(cut_back(&file, path, length));
    })
}

/// Makes the content of the file durable, if it exists.
///
/// # Errors
/// [`FileError`]
pub fn sync_if_exists(path: &Path) -> Result<(), FileError> {
    match open_append_existing(path)? {
        // A file system without the operation has no way to do this.
        Some(file) => sync(&file, path).map(drop),
        None => Ok(()),
    }
}

/// Cuts the file off after `length` bytes.
pub(super) fn truncate(file: &File, path: &Path, length: u64) -> Result<(), FileError> {
    fault_point().and_then(|()| file.set_len(length)).map_err(FileError::from_io("cut back", path))
}

/// Cuts the file off after `length` bytes, unless it is shorter by now: it is never made longer.
pub(super) fn cut_back(file: &File, path: &Path, length: u64) -> Result<(), FileError> {
    let current = file.metadata().map_err(FileError::from_io("read the size of", path))?.len();
    if current > length { truncate(file, path, length) } else { Ok(()) }
}

/// Renames the file; replaces a file that has the new name.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fault_point()
        .and_then(|()| std::fs::rename(from, to))
        .map_err(FileError::from_io("rename", from))
}

/// Removes the file, if it exists.
pub(super) fn remove_if_exists(path: &Path) -> Result<(), FileError> {
    match fault_point().and_then(|()| std::fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::from_io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Gives the file the mode, the owner and the modification time of `model`, as far as the file
/// system and the rights of this process allow.
pub(super) fn copy_metadata(file: &File, path: &Path, model: &File) -> Result<(), FileError> {
    fault_point()
        .and_then(|()| {
            let model = model.metadata()?;
            let current = file.metadata()?;
            if (current.uid(), current.gid()) != (model.uid(), model.gid()) {
                set_attribute(path, DiskOperation::SetOwner, || {
                    fchown(file, Some(model.uid()), Some(model.gid()))
                })?;
            }
            set_attribute(path, DiskOperation::SetMode, || {
                file.set_permissions(Permissions::from_mode(model.mode() & 0o7777))
            })?;
            set_attribute(path, DiskOperation::SetTime, || file.set_modified(model.modified()?))
        })
        .map_err(FileError::from_io("set the mode and time of", path))
}

/// Sets an attribute of a file, unless the file system or the rights of this process do not allow
/// that.
fn set_attribute(
    path: &Path,
    operation: DiskOperation,
    set: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let result = support_point(operation).and_then(|()| set());
    operation.check_support(path, result).map(drop)
}

/// Point before an operation, at which a test injects a fault.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests")]
fn fault_point() -> io::Result<()> {
    Ok(())
}

/// Point before an operation that a file system may lack, at which a test takes it away.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests")]
pub(super) fn support_point(_: DiskOperation) -> io::Result<()> {
    Ok(())
}

/// Records, in tests of a power cut, that the length of the file is durable.
#[cfg(not(test))]
fn record_durable_len(_: &File, _: &Path) {}

/// Point before a write, at which a test injects a fault.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests")]
fn write_fault_point(_: &File, _: &[u8]) -> io::Result<()> {
    Ok(())
}

/// Point before a write whose bytes are counted, at which a test injects a fault.
#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "fails in tests")]
fn counted_write_fault_point(_: &File, _: &[u8], _: &mut usize) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use self::injected_fault::support_point;
#[cfg(test)]
use self::injected_fault::{
    counted_write_fault_point, fault_point, record_durable_len, write_fault_point,
};

#[cfg(test)]
pub(crate) mod injected_fault;
