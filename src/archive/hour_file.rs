//! The file of one hour while it is being written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::FileError;
use super::layout::{Kind, Stem};
use super::line_lock::{open_locked, same_file};
use super::tail::{Mended, mend};
use crate::clock::Hour;

/// An open hour. Holds whole lines only: what is appended goes in entirely or not at all. It is
/// locked as long as it is open: a file that can be locked is nobody's and may be sealed.
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

impl HourFile {
    /// Opens the hour for appending and creates it if need be. A last line without its line feed,
    /// as a power cut leaves it, is moved to the hour's `.torn` file first.
    ///
    /// # Errors
    /// [`FileError`]; the file is as it was, or shortened with its end kept aside.
    pub fn open(dir: &Path, stem: &Stem, hour: Hour) -> Result<(Self, Option<Mended>), FileError> {
        let path = stem.path(dir, hour, Kind::Lines);
        let (file, new) = open_locked(&path)?;
        let (length, mended) = mend(&file, &path, &stem.path(dir, hour, Kind::Torn))?;
        Ok((Self { file, path, hour, length, dirty: mended.is_some(), new, torn: false }, mended))
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
    /// [`FileError`]; the file then still ends where it did, or is cut back to that before
    /// the next append.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), FileError> {
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
    /// [`FileError`]; it is then unknown what of the last writes is on the disk.
    pub fn sync(&mut self) -> Result<(), FileError> {
        // Cleared first: after a failed fsync the kernel may have dropped the pages, and another
        // fsync would succeed without them.
        self.dirty = false;
        self.file.sync_data().map_err(|source| self.error("sync", source))?;
        if self.new {
            let dir = self.path.parent().unwrap_or(Path::new("."));
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| FileError {
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

    fn error(&self, action: &'static str, source: io::Error) -> FileError {
        FileError { action, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn open(dir: &Path) -> (HourFile, Option<Mended>) {
        let stem = Stem::from_topic("t").unwrap();
        HourFile::open(dir, &stem, Hour::starting_at(3600).unwrap()).unwrap()
    }

    #[test]
    fn an_hour_that_exists_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).0.append(b"1\n").unwrap();
        let (mut file, mended) = open(dir.path());
        assert_eq!(mended, None);
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
            let (mut file, mended) = open(dir.path());
            let kept_in = dir.path().join("t_3600.torn");
            assert_eq!(mended, Some(Mended::Cut { bytes: torn.len() as u64, kept_in }));
            file.append(b"three\n").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
            let kept = fs::read_to_string(dir.path().join("t_3600.torn")).unwrap();
            assert!(kept.ends_with(&format!("{torn}\n")));
            assert_eq!(kept.lines().count(), times);
        }
    }

    #[test]
    fn an_hour_whose_name_goes_while_its_lock_is_awaited_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.jsonl");
        fs::write(&path, "sealed\n").unwrap();
        let sealing = File::open(&path).unwrap();
        sealing.lock().unwrap();
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| open(dir.path()).0.append(b"late\n").unwrap());
            fs::remove_file(&path).unwrap();
            drop(sealing);
            opening.join().unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"late\n");
    }

    #[test]
    fn an_error_names_the_action_and_the_file() {
        let stem = Stem::from_topic("t").unwrap();
        let hour = Hour::starting_at(3600).unwrap();
        let error = HourFile::open(Path::new("/nonexistent"), &stem, hour).unwrap_err();
        assert_eq!(error.to_string(), "cannot create `/nonexistent/t_3600.jsonl`");
    }
}
