//! The file of one hour while it is being written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::layout::Stem;
use crate::clock::Hour;

/// Mode of new files: the owner writes, the group reads.
const FILE_MODE: u32 = 0o640;
/// How much is read at a time when looking for the last line feed.
const SCAN_BLOCK: u64 = 64 << 10;

/// An open hour. Holds whole lines only: what is appended goes in entirely or not at all.
#[derive(Debug)]
pub struct HourFile {
    file: File,
    path: PathBuf,
    hour: Hour,
    /// Bytes that are known to be whole lines.
    length: u64,
    /// Whether anything was written since the last sync.
    dirty: bool,
    /// Whether the file's name is not yet known to be durable.
    new: bool,
    /// Whether a write failed and the file may be longer than `length`.
    torn: bool,
}

/// What opening an existing hour found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn last line that were moved aside.
    pub bytes: u64,
    /// Where they are kept.
    pub kept_in: PathBuf,
}

/// An operation on an hour's file that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct HourFileError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// The system's words.
    pub source: io::Error,
}

impl HourFile {
    /// Opens the hour for appending and creates it if need be. A last line without its line feed,
    /// as a power cut leaves it, is moved to the hour's `.torn` file first.
    ///
    /// # Errors
    /// [`HourFileError`]; the file is as it was, or shortened with its end kept aside.
    pub fn open(
        dir: &Path,
        stem: &Stem,
        hour: Hour,
    ) -> Result<(Self, Option<Recovered>), HourFileError> {
        let path = stem.jsonl(dir, hour);
        let fail = |action| {
            let path = path.clone();
            move |source| HourFileError { action, path, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(FILE_MODE);
        let (file, new) = match options.open(&path) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (options.create(true).open(&path).map_err(fail("create"))?, true)
            }
            Err(error) => return Err(fail("open")(error)),
        };
        let found = file.metadata().map_err(fail("read the size of"))?.len();
        let length = whole_lines(&file, found).map_err(fail("read"))?;
        let mut recovered = None;
        if length < found {
            let torn = stem.torn(dir, hour);
            keep_aside(&file, length, &torn).map_err(|source| HourFileError {
                action: "write",
                path: torn.clone(),
                source,
            })?;
            file.set_len(length).map_err(fail("cut the torn last line of"))?;
            recovered = Some(Recovered { bytes: found - length, kept_in: torn });
        }
        Ok((Self { file, path, hour, length, dirty: false, new, torn: false }, recovered))
    }

    /// The hour that the file holds.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of bytes in it, all of them whole lines.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether something was written that [`HourFile::sync`] has not made durable.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// [`HourFileError`]; the file then still ends where it did, or is cut back to that before
    /// the next append.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), HourFileError> {
        if self.torn {
            self.file.set_len(self.length).map_err(|source| self.error("cut back", source))?;
            self.torn = false;
        }
        // `write_all` goes on after short writes and interruptions.
        if let Err(source) = io::Write::write_all(&mut self.file, lines) {
            self.torn = self.file.set_len(self.length).is_err();
            return Err(self.error("append to", source));
        }
        self.length += lines.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// Makes durable what was appended, and the file's name with it.
    ///
    /// # Errors
    /// [`HourFileError`]; it is then unknown what of the last writes is on the disk.
    pub fn sync(&mut self) -> Result<(), HourFileError> {
        // Cleared first: after a failed fsync the kernel may have dropped the pages, and another
        // fsync would succeed without them.
        self.dirty = false;
        self.file.sync_data().map_err(|source| self.error("sync", source))?;
        if self.new {
            let dir = self.path.parent().unwrap_or(Path::new("."));
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| HourFileError {
                action: "sync",
                path: dir.to_owned(),
                source,
            })?;
            self.new = false;
        }
        Ok(())
    }

    /// Whether the file's name still leads to it: nobody has removed or moved it.
    pub fn is_in_place(&self) -> bool {
        same_file(&self.file, &self.path)
    }

    fn error(&self, action: &'static str, source: io::Error) -> HourFileError {
        HourFileError { action, path: self.path.clone(), source }
    }
}

/// Whether `path` leads to the open `file`.
pub(super) fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// The length of the part that ends with a line feed.
fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; usize::try_from(SCAN_BLOCK.min(length)).unwrap_or(0)];
    while end > 0 {
        let start = end.saturating_sub(SCAN_BLOCK);
        let size = usize::try_from(end - start).unwrap_or(block.len());
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Appends what follows `from` to the `.torn` file, with a line feed, and makes it durable.
fn keep_aside(mut file: &File, from: u64, torn: &Path) -> io::Result<()> {
    let mut kept = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(torn)?;
    file.seek(SeekFrom::Start(from))?;
    io::copy(&mut file.take(u64::MAX), &mut kept)?;
    io::Write::write_all(&mut kept, b"\n")?;
    kept.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn open(dir: &Path) -> (HourFile, Option<Recovered>) {
        let stem = Stem::from_topic("t").unwrap();
        HourFile::open(dir, &stem, Hour::starting_at(3600).unwrap()).unwrap()
    }

    #[test]
    fn an_hour_that_exists_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).0.append(b"1\n").unwrap();
        let (mut file, recovered) = open(dir.path());
        assert_eq!(recovered, None);
        file.append(b"2\n").unwrap();
        file.sync().unwrap();
        assert_eq!(fs::read(dir.path().join("t_3600.jsonl")).unwrap(), b"1\n2\n");
    }

    #[test]
    fn new_files_are_not_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = open(dir.path());
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn a_torn_last_line_is_cut_and_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.jsonl");
        let long = "x".repeat(200_000);
        for (torn, times) in [("{\"a\":", 1), (long.as_str(), 2)] {
            fs::write(&path, format!("one\ntwo\n{torn}")).unwrap();
            let (mut file, recovered) = open(dir.path());
            assert_eq!(recovered.unwrap().bytes, torn.len() as u64);
            file.append(b"three\n").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
            let kept = fs::read_to_string(dir.path().join("t_3600.torn")).unwrap();
            assert!(kept.ends_with(&format!("{torn}\n")));
            assert_eq!(kept.lines().count(), times);
        }
    }

    #[test]
    fn a_file_that_is_one_torn_line_becomes_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("t_3600.jsonl"), "{").unwrap();
        let (file, recovered) = open(dir.path());
        assert_eq!((file.length(), recovered.unwrap().bytes), (0, 1));
    }

    #[test]
    fn an_error_names_the_action_and_the_file() {
        let stem = Stem::from_topic("t").unwrap();
        let hour = Hour::starting_at(3600).unwrap();
        let error = HourFile::open(Path::new("/nonexistent"), &stem, hour).unwrap_err();
        assert_eq!(error.to_string(), "cannot create `/nonexistent/t_3600.jsonl`");
    }
}
