//! Output of the lines of an hour, from its sealed file and from the lines that are not sealed yet.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::checkpoints::Checkpoints;
use super::disk::FileError;
use super::file_id::is_same_file;
use super::file_info::FileInfo;
use super::file_name::FileKind;
use super::hour_entry::HourEntry;
use super::journal;
use super::line_position::LinePosition;
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
    /// A file is shorter than its journal says. All lines that it has were written.
    #[error("`{}` has {found} bytes of lines, and its journal says that there were {messages} messages in {bytes} bytes: the rest is missing; restore the file from a copy, and see `streamer verify`", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// Number of bytes of its lines.
        found: u64,
        /// Number of bytes of lines that the journal records.
        bytes: u64,
        /// Number of messages that the journal records.
        messages: u64,
    },
    /// The output failed.
    #[error("cannot write the lines")]
    Write(#[source] io::Error),
}

/// Lines that the journal of an hour records, and that its files should have.
#[derive(Debug, Clone, Copy, Default)]
struct RecordedLines {
    /// End of the lines of the sealed file, if a seal is recorded.
    sealed: Option<LinePosition>,
    /// End of the lines that are not sealed.
    unsealed: LinePosition,
}

impl RecordedLines {
    /// Reads the journal. One that cannot be read records nothing, which `streamer verify` reports.
    fn read(dir: &Path, entry: &HourEntry) -> Self {
        let entries = journal::read(&entry.path(dir, FileKind::Journal)).unwrap_or_default();
        let sealed = journal::sealed_records(&entries).next_back();
        let unsealed = Checkpoints::from_journal(&entries).last();
        Self {
            sealed: sealed
                .map(|record| LinePosition { bytes: record.raw_bytes, messages: record.messages }),
            unsealed: unsealed.map_or_else(LinePosition::default, |mark| LinePosition {
                bytes: mark.bytes,
                messages: mark.messages,
            }),
        }
    }
}

/// Writes the lines of an hour: first those that are sealed, then those that are not. Of an hour
/// that is being written, the complete lines are written; of an hour that is sealed meanwhile, each
/// line is written once. Damaged frames are left out and reported after all others were written; so is
/// a file that is shorter than its journal says.
///
/// # Errors
/// [`CatError`]
pub fn cat_hour(dir: &Path, entry: &HourEntry, out: &mut dyn Write) -> Result<(), CatError> {
    let recorded = RecordedLines::read(dir, entry);
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
    let mut incomplete = None;
    if let Some(sealed) = sealed {
        let mut last_byte = b'\n';
        let mut found = 0;
        let write_chunk = |chunk: &[u8]| {
            last_byte = chunk.last().copied().unwrap_or(last_byte);
            found += chunk.len() as u64;
            out.write_all(chunk).map_err(CopyError::Write)
        };
        decode_intact_frames(&sealed, write_chunk, |range, why| damage.push((range, why)))
            .map_err(|error| error.into_cat_error(&sealed_path))?;
        if last_byte != b'\n' {
            // The lines that follow begin a line of their own.
            out.write_all(b"\n").map_err(CatError::Write)?;
        }
        // A seal may have extended the file since, and recorded that.
        let missing = |recorded: RecordedLines| recorded.sealed.filter(|end| end.bytes > found);
        if let Some(LinePosition { bytes, messages }) = missing(recorded)
            && missing(RecordedLines::read(dir, entry)).is_some()
            && is_same_file(&sealed, &sealed_path).is_ok_and(|same| same)
        {
            let path = sealed_path.clone();
            incomplete = Some(CatError::Incomplete { path, found, bytes, messages });
        } else if found == 0 && damage.is_empty() && recorded.sealed.is_none() {
            // No journal says that all lines of the hour were damaged.
            damage.push((0..0, "it holds no lines".to_owned()));
        }
    }
    if let Some(lines) = lines {
        let found = cat_lines(&lines_path, lines, skip, out)?;
        if kind == FileKind::Lines {
            incomplete = incomplete.or_else(|| find_missing_lines(dir, entry, found, recorded));
        }
    }
    for kind in kinds {
        let path = entry.path(dir, kind);
        if let Some(lines) = open_if_exists(&path)? {
            let found = cat_lines(&path, lines, 0, out)?;
            if kind == FileKind::Lines {
                incomplete = incomplete.or_else(|| find_missing_lines(dir, entry, found, recorded));
            }
        }
    }
    match damage.into_iter().next() {
        None => incomplete.map_or(Ok(()), Err),
        Some((range, why)) => Err(CatError::Damaged { path: sealed_path, range, why }),
    }
}

/// Compares the lines that are not sealed with what the journal `recorded` before they were read,
/// and records now: lines that were sealed meanwhile are not missing.
fn find_missing_lines(
    dir: &Path,
    entry: &HourEntry,
    found: u64,
    recorded: RecordedLines,
) -> Option<CatError> {
    let is_short = |recorded: RecordedLines| recorded.unsealed.bytes > found;
    (is_short(recorded) && is_short(RecordedLines::read(dir, entry))).then(|| {
        let path = entry.path(dir, FileKind::Lines);
        let LinePosition { bytes, messages } = recorded.unsealed;
        CatError::Incomplete { path, found, bytes, messages }
    })
}

/// Writes the complete lines of a file that follow the first `skip` bytes, and returns the end of
/// the complete lines.
fn cat_lines(
    path: &Path,
    mut lines: File,
    skip: u64,
    out: &mut dyn Write,
) -> Result<u64, CatError> {
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
    .map_err(|error| error.into_cat_error(path))?;
    Ok(lines_end)
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
