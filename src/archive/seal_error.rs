//! The error of sealing and of the work that it is made of.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::FileError;
use super::file_name::MAX_CORRUPT_FILES;
use super::progress::Stopped;

/// Why an hour was not sealed. Its lines are where they were.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// An operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading ahead failed; becomes a [`FileError`] where the path is known.
    #[error("cannot read")]
    Io(#[from] io::Error),
    /// The disk is nearly full.
    #[error("only {available} bytes are free in `{}`, and {reserve} are left for the recorder: free some, or set `retention`", dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
        /// Bytes that are free.
        available: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// What was decoded is not what was compressed.
    #[error("`{}` does not decode to the lines that went into it; nothing was changed. Memory or disk may be failing", .0.display())]
    ReadBackMismatch(PathBuf),
    /// The sealed file that was to be extended is not what it was.
    #[error("`{}` is not what was sealed before; run `streamer verify`", .0.display())]
    BaseMismatch(PathBuf),
    /// The lines changed meanwhile.
    #[error("`{}` was rewritten while it was sealed", .0.display())]
    LinesRewritten(PathBuf),
    /// There are too many corrupt files of this hour.
    #[error("`{}` is corrupt, and {MAX_CORRUPT_FILES} corrupt files of its hour are kept already", .0.display())]
    TooManyCorrupt(PathBuf),
    /// The work was told to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl SealError {
    /// Gives an error of the system its place.
    pub(super) fn with_path(self, action: &'static str, path: &Path) -> Self {
        match self {
            Self::Io(source) => FileError::from_io(action, path)(source).into(),
            other => other,
        }
    }

    /// Whether there was no room.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::File(error) => error.is_no_space(),
            _ => false,
        }
    }
}
