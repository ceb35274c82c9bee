//! The lines of an hour, wherever they are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::path::Path;

use super::ahead::{CHUNKS, fill_chunk, read_ahead};
use super::decode::decode_lines;
use super::directory::{FileInfo, HourEntry};
use super::disk::FileError;
use super::layout::Kind;
use super::line_lock::same_file;
use super::progress::Progress;
use super::reconcile::{Overlap, Pair};
use super::seal::SealError;
use super::tail::line_end_before;

/// Why the lines of an hour did not all come out.
#[derive(Debug, thiserror::Error)]
pub enum CatError {
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// Whoever should get them does not take them.
    #[error("cannot write the lines")]
    Write(#[source] io::Error),
}

/// Writes the lines of an hour: first those that are sealed, then those that are not. An hour that
/// is being written gives the lines that are whole, one that is sealed meanwhile gives each line
/// once. What cannot be decoded is an error, and does not keep what is not sealed from coming.
///
/// # Errors
/// [`CatError`]
pub fn cat(dir: &Path, entry: &HourEntry, out: &mut dyn Write) -> Result<(), CatError> {
    let (lines_path, sealed_path) = (entry.path(dir, Kind::Lines), entry.path(dir, Kind::Sealed));
    let fail = || FileError::of("read", &lines_path);
    // The lines are opened first: they lose their name only after the sealed file has got its own.
    let lines = open(&lines_path)?;
    let (sealed, skip) = loop {
        let sealed = open(&sealed_path)?;
        let (Some(lines), Some(sealed)) = (&lines, &sealed) else { break (sealed, 0) };
        let info = FileInfo::of(&lines.metadata().map_err(fail())?);
        let standing = already_sealed(dir, entry, lines, info)?;
        // What was just compared must be what is read: it may have been replaced meanwhile.
        if same_file(sealed, &sealed_path) {
            let sealed = sealed.try_clone().map_err(FileError::of("read", &sealed_path))?;
            break match standing {
                Some(skip) => (Some(sealed), skip),
                None => (None, 0),
            };
        }
    };
    let mut failed = None;
    if let Some(sealed) = sealed {
        let mut last = b'\n';
        let decoded = decode_lines(sealed, |chunk| {
            last = chunk.last().copied().unwrap_or(last);
            out.write_all(chunk).map_err(Failed::Write)
        });
        match decoded.map_err(|failed| failed.at("decode", &sealed_path)) {
            Err(CatError::Read(error)) => failed = Some(error),
            decoded => decoded?,
        }
        if last != b'\n' {
            // What follows is a line of its own.
            out.write_all(b"\n").map_err(CatError::Write)?;
        }
    }
    if let Some(mut lines) = lines {
        let length = lines.metadata().map_err(fail())?.len();
        let whole = line_end_before(&lines, 0, length).map_err(fail())?.unwrap_or(0);
        lines.seek(io::SeekFrom::Start(skip)).map_err(fail())?;
        let mut rest = lines.take(whole.saturating_sub(skip));
        read_ahead(
            CHUNKS,
            |chunk| fill_chunk(&mut rest, chunk),
            |chunk| out.write_all(chunk).map_err(Failed::Write),
        )
        .map_err(|failed| failed.at("read", &lines_path))?;
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// How many bytes at the start of the lines are in the sealed file as well; `None` when all that is
/// sealed is in the lines.
fn already_sealed(
    dir: &Path,
    entry: &HourEntry,
    lines: &File,
    info: FileInfo,
) -> Result<Option<u64>, FileError> {
    let (stem, hour) = (&entry.stem, entry.hour);
    let progress = &Progress::default();
    match (Pair { dir, stem, hour, lines, info, progress }).reconcile() {
        Ok(Overlap::Contained { .. }) => Ok(Some(info.bytes)),
        Ok(Overlap::Extends { skip, .. }) => Ok(Some(skip)),
        Ok(Overlap::Fresh) => Ok(None),
        Err(SealError::File(error)) => Err(error),
        // A corrupt file says so itself when it is decoded.
        Ok(Overlap::Corrupt(_)) | Err(_) => Ok(Some(0)),
    }
}

fn open(path: &Path) -> Result<Option<File>, FileError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::of("open", path)(error)),
    }
}

enum Failed {
    Read(io::Error),
    Write(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl Failed {
    fn at(self, action: &'static str, path: &Path) -> CatError {
        match self {
            Self::Read(error) => FileError::of(action, path)(error).into(),
            Self::Write(error) => CatError::Write(error),
        }
    }
}
