//! Output of the lines of an hour, from its sealed file and from the lines that are not sealed yet.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::disk::FileError;
use super::file_id::is_same_file;
use super::file_info::FileInfo;
use super::file_name::FileKind;
use super::hour_entry::HourEntry;
use super::journal;
use super::progress::Progress;
use super::read_ahead::{CHUNKS_IN_FLIGHT, fill_chunk, read_ahead};
use super::reconciler::{Overlap, Reconciler};
use super::seal_error::SealError;
use super::tail_repair::find_last_line_end;
use super::zstd_frame::decode_intact_frames;

/// Reason for which the lines of an hour were not written, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum CatError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// A part of the sealed file is damaged. All lines outside of it were written.
    #[error("`{}` is damaged at its bytes {} to {} ({why}): the lines in there are left out; restore the file from a copy, and see `streamer verify`", path.display(), range.start, range.end)]
    Damaged {
        /// The sealed file.
        path: PathBuf,
        /// First damaged part.
        range: Range<u64>,
        /// Error of the decoder.
        why: String,
    },
    /// The output failed.
    #[error("cannot write the lines")]
    Write(#[source] io::Error),
}

/// Writes the lines of an hour: first those that are sealed, then those that are not. Of an hour
/// that is being written, the complete lines are written; of an hour that is sealed meanwhile, each
/// line is written once. Damaged frames are left out and reported after all others were written.
///
/// # Errors
/// [`CatError`]
pub fn cat_hour(dir: &Path, entry: &HourEntry, out: &mut dyn Write) -> Result<(), CatError> {
    // A seal takes the files in this order, so that only the first may be in the sealed file.
    let mut kinds = entry.unsealed_kinds();
    let kind = kinds.next().unwrap_or(FileKind::Lines);
    let lines_path = entry.path(dir, kind);
    let sealed_path = entry.path(dir, FileKind::Sealed);
    let lines_error = || FileError::from_io("read", &lines_path);
    let sealed_error = |action| FileError::from_io(action, &sealed_path);
    // The lines are opened first: they lose their name only after the sealed file has its own.
    let lines = open_if_exists(&lines_path)?;
    let (sealed, skip) = loop {
        let sealed = open_if_exists(&sealed_path)?;
        let (Some(lines), Some(sealed_file)) = (&lines, &sealed) else { break (sealed, 0) };
        let info = FileInfo::from_metadata(&lines.metadata().map_err(lines_error())?);
        let prefix_len = sealed_prefix_len(dir, entry, kind, lines, info)?;
        // The file that was compared must be the one that is read: a seal may have replaced it.
        if is_same_file(sealed_file, &sealed_path).map_err(sealed_error("look up the name of"))? {
            break match prefix_len {
                Some(skip) => (sealed, skip),
                None => (None, 0),
            };
        }
    };
    let mut damage = Vec::new();
    if let Some(sealed) = sealed {
        let mut last_byte = b'\n';
        let write_chunk = |chunk: &[u8]| {
            last_byte = chunk.last().copied().unwrap_or(last_byte);
            out.write_all(chunk).map_err(CopyError::Write)
        };
        decode_intact_frames(&sealed, write_chunk, |range, why| damage.push((range, why)))
            .map_err(|error| error.into_cat_error(&sealed_path))?;
        if last_byte != b'\n' {
            // The lines that follow begin a line of their own.
            out.write_all(b"\n").map_err(CatError::Write)?;
        }
    }
    if let Some(lines) = lines {
        cat_lines(&lines_path, lines, skip, out)?;
    }
    for kind in kinds {
        let path = entry.path(dir, kind);
        if let Some(lines) = open_if_exists(&path)? {
            cat_lines(&path, lines, 0, out)?;
        }
    }
    match damage.into_iter().next() {
        None => Ok(()),
        Some((range, why)) => Err(CatError::Damaged { path: sealed_path, range, why }),
    }
}

/// Writes the complete lines of a file that follow the first `skip` bytes.
fn cat_lines(path: &Path, mut lines: File, skip: u64, out: &mut dyn Write) -> Result<(), CatError> {
    let lines_error = || FileError::from_io("read", path);
    let length = lines.metadata().map_err(lines_error())?.len();
    let lines_end = find_last_line_end(&lines, 0..length).map_err(lines_error())?.unwrap_or(0);
    lines.seek(io::SeekFrom::Start(skip)).map_err(lines_error())?;
    let mut unsealed = lines.take(lines_end.saturating_sub(skip));
    read_ahead(
        CHUNKS_IN_FLIGHT,
        |chunk| fill_chunk(&mut unsealed, chunk),
        |chunk| out.write_all(chunk).map_err(CopyError::Write),
    )
    .map_err(|error| error.into_cat_error(path))
}

/// Returns the number of bytes at the start of the lines that are in the sealed file as well;
/// `None` when all sealed lines are among these, so that the sealed file is not needed.
fn sealed_prefix_len(
    dir: &Path,
    entry: &HourEntry,
    kind: FileKind,
    lines: &File,
    lines_info: FileInfo,
) -> Result<Option<u64>, FileError> {
    let HourEntry { stem, hour, .. } = entry;
    // Nobody asks this comparison to stop.
    let progress = &Progress::default();
    let reconciler = Reconciler { dir, stem, hour: *hour, kind, lines, lines_info, progress };
    match reconciler.reconcile() {
        Ok(Overlap::Contained { .. }) => Ok(Some(lines_info.bytes)),
        Ok(Overlap::Extends { skip, .. }) => Ok(Some(skip)),
        Ok(Overlap::Supersedes) => Ok(None),
        // The hour may be about to be sealed again, from all of its lines. Else the intact frames
        // are written, and the decoder reports the corrupt ones.
        Ok(Overlap::Corrupt(_)) => {
            let superseded = contains_last_sealed(dir, entry, lines, lines_info)?;
            Ok(if superseded { None } else { Some(0) })
        }
        Err(SealError::File(error)) => Err(error),
        Err(error) => {
            let path = entry.path(dir, FileKind::Sealed);
            Err(FileError::from_io("compare the lines with", &path)(io::Error::other(error)))
        }
    }
}

/// Returns whether the lines begin with everything that was sealed last.
fn contains_last_sealed(
    dir: &Path,
    entry: &HourEntry,
    lines: &File,
    lines_info: FileInfo,
) -> Result<bool, FileError> {
    let journal_path = entry.path(dir, FileKind::Journal);
    let entries = journal::read_compacted(&journal_path)
        .map_err(FileError::from_io("read", &journal_path))?
        .unwrap_or_default();
    // Without a record it is unknown what was sealed.
    let Some(record) = journal::sealed_records(&entries).next_back() else { return Ok(false) };
    journal::has_sealed_prefix(record, lines, lines_info.bytes)
        .map_err(|error| FileError::from_io("read", &entry.path(dir, FileKind::Lines))(error))
}

fn open_if_exists(path: &Path) -> Result<Option<File>, FileError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::from_io("open", path)(error)),
    }
}

/// Error of a copy, by the side that failed.
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
    fn into_cat_error(self, path: &Path) -> CatError {
        match self {
            Self::Read(error) => FileError::from_io("read", path)(error).into(),
            Self::Write(error) => CatError::Write(error),
        }
    }
}
