//! The error of sealing and of the steps that it consists of.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::FileError;
use super::file_name::MAX_CORRUPT_FILES;
use super::progress::Stopped;

/// Reason for which an hour was not sealed. Its lines are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// An operation on a file failed.
    #[error(transparent)]
    File(FileError),
    /// The sealed file would be larger than a file may be.
    #[error(
        "the sealed hour would be larger than a file may be here: raise the limit (`ulimit -f`, `LimitFSIZE=`; a file system such as FAT32 has its own); until then its lines stay as they are, until a limit removes them with their hour"
    )]
    TooLarge(#[source] FileError),
    /// Reading ahead failed. Becomes a [`FileError`] where the path is known.
    #[error("cannot read")]
    Io(#[from] io::Error),
    /// The disk is nearly full.
    #[error("only {available} bytes are free in `{}`, of which {reserve} are reserved for the recorder: free some space, or set `retention`", dir.display())]
    NoSpace {
        /// Directory of the archive.
        dir: PathBuf,
        /// Bytes that are free.
        available: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The compressed file does not decode to the lines that were compressed.
    #[error("`{}` does not decode to the lines that went into it; nothing was changed. Memory or disk may be failing", .0.display())]
    ReadBackMismatch(PathBuf),
    /// The sealed file that was to be extended differs from its record in the journal.
    #[error("`{}` is not what was sealed before; run `streamer verify`", .0.display())]
    BaseMismatch(PathBuf),
    /// The lines were changed, other than by an append, while they were sealed.
    #[error("`{}` was rewritten while it was sealed", .0.display())]
    LinesRewritten(PathBuf),
    /// The hour has as many corrupt files as it may have.
    #[error("`{}` is corrupt, and {MAX_CORRUPT_FILES} corrupt files of its hour are kept already; remove some", .0.display())]
    TooManyCorrupt(PathBuf),
    /// A stop was requested.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<FileError> for SealError {
    fn from(error: FileError) -> Self {
        if error.is_too_large() { Self::TooLarge(error) } else { Self::File(error) }
    }
}

impl SealError {
    /// Adds the action and the path to a bare I/O error; other errors have theirs.
    pub(super) fn with_path(self, action: &'static str, path: &Path) -> Self {
        match self {
            Self::Io(source) => FileError::from_io(action, path)(source).into(),
            other => other,
        }
    }

    /// Returns whether the disk has no space for the sealed file.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::File(error) => error.is_no_space(),
            _ => false,
        }
    }
}
