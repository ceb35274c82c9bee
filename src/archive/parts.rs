//! The parts of an hour's files that could take no more.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{self, FileError};
use super::file_name::{FileKind, FileName, MAX_PARTS};

/// A constructor of the [`FileKind`] of a part, such as [`FileKind::Part`].
pub(crate) type PartKind = fn(u16) -> FileKind;

/// Returns the number of the part that the file at `path`, which can take no more, becomes.
///
/// # Errors
/// The hour has as many parts as it may have.
pub(super) fn next_part_number(path: &Path, kind: PartKind) -> Result<u16, FileError> {
    let is_used =
        |number: &u16| part_path(path, kind(*number)).is_some_and(|p| p.symlink_metadata().is_ok());
    // Parts are read in the order of their numbers.
    let last = (1..=MAX_PARTS).rev().find(is_used).unwrap_or(0);
    if last == MAX_PARTS {
        let full = io::ErrorKind::FileTooLarge;
        return Err(FileError::from_io("continue", path)(full.into()));
    }
    Ok(last + 1)
}

/// Makes the file at `path` a part of its hour, so that the next write begins a new file.
///
/// # Errors
/// The name of the file is unchanged, or the new one may not be durable.
pub(super) fn rename_to_part(path: &Path, part: FileKind) -> Result<(), FileError> {
    let to = part_path(path, part).ok_or_else(|| {
        FileError::from_io("continue", path)(io::ErrorKind::InvalidFilename.into())
    })?;
    disk::rename(path, &to)?;
    disk::sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes the file at `path`, which can take no more, a part of its hour. Returns the number of the
/// part; `None` for an empty file, which can take no more than the next one.
///
/// # Durability
/// The file is synced, and so is its new name.
///
/// # Errors
/// The file cannot be synced or renamed, or the hour has as many parts as it may have.
pub(crate) fn continue_in_next_file(path: &Path, kind: PartKind) -> Result<Option<u16>, FileError> {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.len() == 0) {
        return Ok(None);
    }
    // Later syncs are of the new file.
    disk::sync_if_exists(path)?;
    let number = next_part_number(path, kind)?;
    rename_to_part(path, kind(number))?;
    Ok(Some(number))
}

/// Returns the paths of the parts of the file at `path`, in the order of their numbers: those up to
/// the number `last`, whether they exist or not, and those after it that exist.
pub(super) fn part_paths(path: &Path, kind: PartKind, last: u16) -> impl Iterator<Item = PathBuf> {
    let paths = (1..=MAX_PARTS)
        .map_while(move |number| Some((number, part_path(path, kind(number))?)))
        .take_while(move |(number, path)| *number <= last || path.symlink_metadata().is_ok());
    paths.map(|(_, path)| path)
}

pub(super) fn part_path(path: &Path, part: FileKind) -> Option<PathBuf> {
    let FileName { stem, hour, .. } = FileName::parse(path.file_name()?.to_str()?)?;
    Some(stem.path(path.parent().unwrap_or(Path::new(".")), hour, part))
}
