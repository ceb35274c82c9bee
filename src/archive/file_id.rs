//! The identity of a file, independent of its name.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device and inode of a file. Two handles or names with the same `FileId` lead to the same file,
/// as long as one of them keeps the file from being removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Returns the identity of the file that `metadata` describes.
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Returns whether `path` leads to the open `file`. A path that leads nowhere does not.
///
/// # Errors
/// The file or the path cannot be examined, for another reason than that nothing has that name.
pub(super) fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(named) => Ok(FileId::from_metadata(&file.metadata()?) == FileId::from_metadata(&named)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_or_removed_file_is_not_the_same_and_an_unreadable_path_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = File::create(&path).unwrap();
        assert!(is_same_file(&file, &path).unwrap());
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        assert!(!is_same_file(&file, &path).unwrap());
        File::create(&path).unwrap();
        assert!(!is_same_file(&file, &path).unwrap());
        // A component of the path that is no directory: ENOTDIR, not ENOENT.
        assert!(is_same_file(&file, &path.join("below")).is_err());
    }
}
