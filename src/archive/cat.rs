//! Output of the lines of an hour, from its sealed file and from the lines that are not sealed yet.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::checkpoints::Checkpoints;
use super::disk::FileError;
use super::file_id::is_same_file;
use super::file_info::FileInfo;
use super::file_name::FileKind;
use super::found_lines::{FoundLines, SealedContent};
use super::hour_entry::{HourEntry, SealState};
use super::journal::{self, JournalEntry};
use super::missing_lines::MissingLines;
use super::progress::Progress;
use super::read_ahead::{CHUNKS_IN_FLIGHT, fill_chunk, read_ahead};
use super::reconciler::{Overlap, Reconciler};
use super::recorded_lines::RecordedLines;
use super::seal_error::SealError;
use super::tail_repair::find_last_line_end;
use super::zstd_frame::decode_intact_frames;
use crate::base::time::UnixNanos;

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
    /// The last line of an hour that nobody writes any more has no line feed. All others were written.
    #[error("`{}` ends with {bytes} bytes that have no line feed, which are left out: a crash or another program left them; `streamer archive` repairs the file", path.display())]
    Unterminated {
        /// The file.
        path: PathBuf,
        /// Number of bytes.
        bytes: u64,
    },
    /// The output failed.
    #[error("cannot write the lines")]
    Write(#[source] io::Error),
}

/// The files of an hour at one moment.
struct OpenFiles {
    /// Content of the journal shortly before.
    journal: Vec<JournalEntry>,
    sealed: Option<File>,
    /// Files with lines that are not sealed, in the order of the lines.
    unsealed: Vec<LinesFile>,
}

/// An open file of lines.
struct LinesFile {
    kind: FileKind,
    path: PathBuf,
    file: File,
    info: FileInfo,
}

impl OpenFiles {
    /// Opens the files. All of them have their names at one moment, so that no line appears twice or
    /// not at all if the hour is sealed or continued meanwhile.
    fn open(dir: &Path, entry: &HourEntry) -> Result<Self, FileError> {
        let sealed_path = entry.path(dir, FileKind::Sealed);
        loop {
            // A journal that cannot be read records nothing, which `streamer verify` reports.
            let journal = journal::read(&entry.path(dir, FileKind::Journal)).unwrap_or_default();
            let recorded = RecordedLines::from_journal(&journal);
            let kinds: BTreeSet<_> =
                entry.unsealed_kinds().chain(recorded.unsealed_kinds()).collect();
            // The lines are opened first: they lose their name only after the sealed file has its own.
            let mut unsealed = Vec::new();
            for kind in &kinds {
                unsealed.extend(LinesFile::open_if_exists(dir, entry, *kind)?);
            }
            let sealed = open_if_exists(&sealed_path)?;
            let is_in_place = unsealed.iter().all(LinesFile::is_in_place)
                && match &sealed {
                    Some(file) => is_same_file(file, &sealed_path).is_ok_and(|same| same),
                    None => !sealed_path.exists(),
                }
                && kinds.iter().filter(|kind| entry.path(dir, **kind).exists()).count()
                    == unsealed.len();
            if is_in_place {
                unsealed.sort_by_key(|lines| (lines.kind == FileKind::Lines, lines.kind));
                return Ok(Self { journal, sealed, unsealed });
            }
        }
    }
}

impl LinesFile {
    fn open_if_exists(
        dir: &Path,
        entry: &HourEntry,
        kind: FileKind,
    ) -> Result<Option<Self>, FileError> {
        let path = entry.path(dir, kind);
        let Some(file) = open_if_exists(&path)? else { return Ok(None) };
        let metadata = file.metadata().map_err(FileError::from_io("read the size of", &path))?;
        Ok(Some(Self { kind, info: FileInfo::from_metadata(&metadata), path, file }))
    }

    fn is_in_place(&self) -> bool {
        is_same_file(&self.file, &self.path).is_ok_and(|same| same)
    }
}

/// Writes the lines of an hour: first those that are sealed, then those that are not. Of an hour
/// that is being written, the complete lines are written; of an hour that is sealed meanwhile, each
/// line is written once. Damaged frames are left out and reported after all others were written; so
/// are lines that the journal records and the files do not have, and a last line without its line
/// feed where nobody can be writing it any more.
///
/// # Errors
/// [`CatError`]
pub fn cat_hour(
    dir: &Path,
    entry: &HourEntry,
    now: UnixNanos,
    out: &mut dyn Write,
) -> Result<(), CatError> {
    let OpenFiles { journal, sealed, unsealed } = OpenFiles::open(dir, entry)?;
    let sealed_path = entry.path(dir, FileKind::Sealed);
    let mut damage = Vec::new();
    let mut unterminated = None;
    let mut found = FoundLines::default();
    // A seal takes the files in this order, so that only the first may be in the sealed file.
    let prefix_len = match (&sealed, unsealed.first()) {
        (Some(_), Some(lines)) => sealed_prefix_len(dir, entry, lines)?,
        _ => Some(0),
    };
    match (sealed, unsealed.first(), prefix_len) {
        (Some(sealed), _, Some(_)) => {
            let mut last_byte = b'\n';
            let mut bytes = 0;
            let write_chunk = |chunk: &[u8]| {
                last_byte = chunk.last().copied().unwrap_or(last_byte);
                bytes += chunk.len() as u64;
                out.write_all(chunk).map_err(CopyError::Write)
            };
            decode_intact_frames(&sealed, write_chunk, |range, why| damage.push((range, why)))
                .map_err(|error| error.into_cat_error(&sealed_path))?;
            if last_byte != b'\n' {
                // The lines that follow begin a line of their own.
                out.write_all(b"\n").map_err(CatError::Write)?;
            }
            if bytes == 0 && damage.is_empty() && journal::sealed_records(&journal).next().is_none()
            {
                // No journal says that all lines of the hour were damaged.
                damage.push((0..0, "it holds no lines".to_owned()));
            }
            found.sealed = SealedContent::Bytes(bytes);
        }
        (Some(_), Some(lines), None) => found.sealed = SealedContent::Decompressed(lines.kind),
        _ => {}
    }
    let checkpoints = Checkpoints::from_journal(&journal);
    for (index, lines) in unsealed.into_iter().enumerate() {
        let skip = if index == 0 { prefix_len.unwrap_or(0) } else { 0 };
        let LinesFile { kind, path, file, .. } = lines;
        let end = cat_lines(&path, file, skip, out)?;
        found.unsealed.insert(kind, end.complete);
        // What a crash has torn is in the gap of the crash, and was never a line.
        let is_torn_by_crash = !checkpoints.is_empty() && !checkpoints.is_closed();
        if end.length > end.complete
            && !is_torn_by_crash
            && entry.seal_state(dir, now) == SealState::Closed
        {
            let bytes = end.length - end.complete;
            unterminated.get_or_insert(CatError::Unterminated { path, bytes });
        }
    }
    if found.sealed == SealedContent::Absent {
        let look_up = found.find_decompressed(dir, entry, &journal);
        found.sealed = look_up.map_err(FileError::from_io("read the lines of", &sealed_path))?;
    }
    let missing = RecordedLines::from_journal(&journal).missing(&found);
    match (damage.into_iter().next(), missing.first()) {
        (Some((range, why)), _) => Err(CatError::Damaged { path: sealed_path, range, why }),
        (None, Some(MissingLines { kind, found_bytes, bytes, messages, .. })) => {
            Err(CatError::Incomplete {
                path: entry.path(dir, *kind),
                found: *found_bytes,
                bytes: *bytes,
                messages: *messages,
            })
        }
        (None, None) => unterminated.map_or(Ok(()), Err),
    }
}

/// The end of a file of lines.
struct LinesEnd {
    /// Length up to the end of the last complete line.
    complete: u64,
    length: u64,
}

/// Writes the complete lines of a file that follow the first `skip` bytes, and returns its end.
fn cat_lines(
    path: &Path,
    mut lines: File,
    skip: u64,
    out: &mut dyn Write,
) -> Result<LinesEnd, CatError> {
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
    Ok(LinesEnd { complete: lines_end, length })
}

/// Returns the number of bytes at the start of the lines that are in the sealed file as well;
/// `None` when all sealed lines are among these, so that the sealed file is not needed.
fn sealed_prefix_len(
    dir: &Path,
    entry: &HourEntry,
    LinesFile { kind, file: lines, info, .. }: &LinesFile,
) -> Result<Option<u64>, FileError> {
    let HourEntry { stem, hour, .. } = entry;
    let kind = *kind;
    let lines_info = *info;
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
