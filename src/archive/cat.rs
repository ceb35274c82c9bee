//! The lines of an hour, wherever they are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::directory::{FileInfo, HourEntry};
use super::disk::FileError;
use super::file_id::is_same_file;
use super::file_name::FileKind;
use super::journal;
use super::progress::Progress;
use super::read_ahead::{CHUNKS_IN_FLIGHT, fill_chunk, read_ahead};
use super::reconciler::{Overlap, Reconciler};
use super::seal_error::SealError;
use super::tail_repair::find_last_line_end;
use super::zstd_frame::decode_intact_frames;

/// Why the lines of an hour did not all come out.
#[derive(Debug, thiserror::Error)]
pub enum CatError {
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A part of the sealed file is damaged. All that is whole came out.
    #[error("`{}` is damaged at its bytes {} to {} ({why}): the lines in there are left out; restore the file from a copy, and see `streamer verify`", path.display(), range.start, range.end)]
    Damaged {
        /// The sealed file.
        path: PathBuf,
        /// The first damaged part.
        range: Range<u64>,
        /// What the decoder says.
        why: String,
    },
    /// Whoever should get them does not take them.
    #[error("cannot write the lines")]
    Write(#[source] io::Error),
}

/// Writes the lines of an hour: first those that are sealed, then those that are not. An hour that
/// is being written gives the lines that are whole, one that is sealed meanwhile gives each line
/// once. What is damaged is left out, frame by frame, and is an error when all else has come.
///
/// # Errors
/// [`CatError`]
pub fn cat_hour(dir: &Path, entry: &HourEntry, out: &mut dyn Write) -> Result<(), CatError> {
    let (lines_path, sealed_path) =
        (entry.path(dir, FileKind::Lines), entry.path(dir, FileKind::Sealed));
    let fail = || FileError::from_io("read", &lines_path);
    // The lines are opened first: they lose their name only after the sealed file has got its own.
    let lines = open_if_exists(&lines_path)?;
    let (sealed, skip) = loop {
        let sealed = open_if_exists(&sealed_path)?;
        let (Some(lines), Some(sealed)) = (&lines, &sealed) else { break (sealed, 0) };
        let info = FileInfo::from_metadata(&lines.metadata().map_err(fail())?);
        let standing = sealed_prefix_len(dir, entry, lines, info)?;
        // What was just compared must be what is read: it may have been replaced meanwhile.
        if is_same_file(sealed, &sealed_path)
            .map_err(FileError::from_io("look up the name of", &sealed_path))?
        {
            let sealed = sealed.try_clone().map_err(FileError::from_io("read", &sealed_path))?;
            break match standing {
                Some(skip) => (Some(sealed), skip),
                None => (None, 0),
            };
        }
    };
    let mut damage = Vec::new();
    if let Some(sealed) = sealed {
        let mut last = b'\n';
        let each = |chunk: &[u8]| {
            last = chunk.last().copied().unwrap_or(last);
            out.write_all(chunk).map_err(CopyError::Write)
        };
        decode_intact_frames(&sealed, each, |range, why| damage.push((range, why)))
            .map_err(|failed| failed.into_cat_error("read", &sealed_path))?;
        if last != b'\n' {
            // What follows is a line of its own.
            out.write_all(b"\n").map_err(CatError::Write)?;
        }
    }
    if let Some(mut lines) = lines {
        let length = lines.metadata().map_err(fail())?.len();
        let whole = find_last_line_end(&lines, 0, length).map_err(fail())?.unwrap_or(0);
        lines.seek(io::SeekFrom::Start(skip)).map_err(fail())?;
        let mut rest = lines.take(whole.saturating_sub(skip));
        read_ahead(
            CHUNKS_IN_FLIGHT,
            |chunk| fill_chunk(&mut rest, chunk),
            |chunk| out.write_all(chunk).map_err(CopyError::Write),
        )
        .map_err(|failed| failed.into_cat_error("read", &lines_path))?;
    }
    match damage.into_iter().next() {
        None => Ok(()),
        Some((range, why)) => Err(CatError::Damaged { path: sealed_path, range, why }),
    }
}

/// How many bytes at the start of the lines are in the sealed file as well; `None` when all that is
/// sealed is in the lines.
fn sealed_prefix_len(
    dir: &Path,
    entry: &HourEntry,
    lines: &File,
    info: FileInfo,
) -> Result<Option<u64>, FileError> {
    let (stem, hour) = (&entry.stem, entry.hour);
    let progress = &Progress::default();
    match (Reconciler { dir, stem, hour, lines, lines_info: info, progress }).reconcile() {
        Ok(Overlap::Contained { .. }) => Ok(Some(info.bytes)),
        Ok(Overlap::Extends { skip, .. }) => Ok(Some(skip)),
        Ok(Overlap::Supersedes) => Ok(None),
        Err(SealError::File(error)) => Err(error),
        // Its lines may be there in whole, when it is yet to be sealed again.
        Ok(Overlap::Corrupt(_)) if contains_last_sealed(dir, entry, lines, info) => Ok(None),
        // A corrupt file says so itself when it is decoded.
        Ok(Overlap::Corrupt(_)) | Err(_) => Ok(Some(0)),
    }
}

/// Whether the lines are all that was ever sealed of the hour, or more.
fn contains_last_sealed(dir: &Path, entry: &HourEntry, lines: &File, info: FileInfo) -> bool {
    let entries = journal::read_compacted(&entry.path(dir, FileKind::Journal))
        .ok()
        .flatten()
        .unwrap_or_default();
    let last = journal::sealed_records(&entries).next_back();
    last.is_some_and(|record| {
        journal::has_sealed_prefix(record, lines, info.bytes).unwrap_or(false)
    })
}

fn open_if_exists(path: &Path) -> Result<Option<File>, FileError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::from_io("open", path)(error)),
    }
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl CopyError {
    fn into_cat_error(self, action: &'static str, path: &Path) -> CatError {
        match self {
            Self::Read(error) => FileError::from_io(action, path)(error).into(),
            Self::Write(error) => CatError::Write(error),
        }
    }
}
