//! The file of one hour while it is being written.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::disk::{self, FileError};
use super::file_lock::{is_same_file, open_locked};
use super::file_name::{FileKind, Stem};
use super::journal::{self, RecoveredEvent};
use super::tail_repair::TailRepair;
use super::tail_scan::{Checkpoints, TailScan};
use crate::base::time::Hour;

/// An open hour. Holds whole lines only: what is appended goes in entirely or not at all. It is
/// locked as long as it is open: a file that can be locked is nobody's and may be sealed.
#[derive(Debug)]
pub struct HourFile {
    /// None while it rests.
    file: Option<File>,
    /// Device and inode of the file.
    file_id: (u64, u64),
    path: PathBuf,
    mode: u32,
    /// Bytes that are known to be whole lines.
    length: u64,
    /// The number of these lines.
    messages: u64,
    /// Bytes that are known to be durable.
    sync_watermark: u64,
    /// Whether the file's name is not yet known to be durable.
    dir_sync_pending: bool,
    /// Whether a write failed and the file may be longer than `length`.
    needs_truncate: bool,
}

/// What was found when an hour was opened that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// What was done about a last line that was not whole.
    pub repair: Option<TailRepair>,
    /// What its journal should say, unless its recorder closed it.
    pub recovered: Option<RecoveredEvent>,
}

impl HourFile {
    /// Opens the hour for appending and creates it if need be. What a crash or a power cut did to
    /// its end is mended first; what is no line goes to the hour's `.torn` file.
    ///
    /// # Errors
    /// [`FileError`]; the file is as it was, or shortened with its end kept aside.
    pub fn open(
        dir: &Path,
        stem: &Stem,
        hour: Hour,
        mode: u32,
    ) -> Result<(Self, OpenReport), FileError> {
        let path = stem.path(dir, hour, FileKind::Lines);
        let (file, new) = open_locked(&path, mode)?;
        // Only now: whoever had the lock may have sealed what was there. A journal that cannot be read
        // vouches for nothing: then all of the lines are looked through.
        let journal = journal::read(&stem.path(dir, hour, FileKind::Journal)).unwrap_or_default();
        let claims = if new { Checkpoints::default() } else { Checkpoints::from_journal(&journal) };
        let finding = TailScan::scan(&file, &claims).map_err(FileError::from_io("read", &path))?;
        let recovery =
            finding.repair(&file, &path, &stem.path(dir, hour, FileKind::Torn), &claims)?;
        let (length, messages) = (recovery.bytes, recovery.messages);
        let identity = file_id(&file.metadata().map_err(FileError::from_io("look at", &path))?);
        let mut file = Self {
            file: Some(file),
            file_id: identity,
            path,
            mode,
            length,
            messages,
            sync_watermark: length,
            dir_sync_pending: new,
            needs_truncate: false,
        };
        if !new && recovery.recovered.is_some() {
            // What is there may be with the kernel alone.
            file.sync()?;
        }
        let recovered = recovery.recovered.filter(|_| !new);
        Ok((file, OpenReport { repair: recovery.repair, recovered }))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of bytes in it, all of them whole lines.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The number of lines in it.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How many of the bytes are durable.
    pub fn sync_watermark(&self) -> u64 {
        self.sync_watermark
    }

    /// Appends whole lines: so many.
    ///
    /// # Errors
    /// [`FileError`]; the file then still ends where it did, or is cut back to that before
    /// the next append.
    pub fn append(&mut self, lines: &[u8], messages: u64) -> Result<(), FileError> {
        self.ensure_open()?;
        let Some(file) = &self.file else { return Ok(()) };
        if self.needs_truncate {
            disk::truncate(file, &self.path, self.length)?;
            self.needs_truncate = false;
        }
        // Goes on after short writes and interruptions.
        if let Err(error) = disk::write_all(file, &self.path, lines) {
            self.needs_truncate = disk::truncate(file, &self.path, self.length).is_err();
            return Err(error);
        }
        self.length += lines.len() as u64;
        self.messages += messages;
        Ok(())
    }

    /// Makes durable what was appended, and the file's name with it.
    ///
    /// After a failed fsync the kernel may have dropped the pages that it could not write, and a
    /// second fsync would succeed without them (Rebello et al., "Can Applications Recover from fsync
    /// Failures?", USENIX ATC 2020). So it is not repeated for the same bytes: they are in doubt, and
    /// the file is opened anew.
    ///
    /// # Errors
    /// [`FileError`]; it is then unknown what of the bytes behind [`HourFile::synced`] is on the disk.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.ensure_open()?;
        let Some(file) = &self.file else { return Ok(()) };
        if let Err(error) = disk::sync_data(file, &self.path) {
            self.sync_watermark = self.length;
            self.replace_handle();
            return Err(error);
        }
        self.sync_watermark = self.length;
        if self.dir_sync_pending {
            disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            self.dir_sync_pending = false;
        }
        Ok(())
    }

    /// Takes note of a sync of the whole file system, see [`disk::sync_all`].
    pub(super) fn record_file_system_sync(&mut self, good: bool) {
        self.sync_watermark = self.length;
        if good {
            self.dir_sync_pending = false;
        } else {
            self.replace_handle();
        }
    }

    /// Replaces the handle by a new one on the same file. Where that cannot be, the old one stays.
    fn replace_handle(&mut self) {
        let Some(old) = &self.file else { return };
        // A lock is of the handle that took it, so it is given up for a moment. Who takes it then
        // finds that the hour is not over, or that lines come behind what it seals.
        drop(old.unlock());
        if let Ok((file, _)) = open_locked(&self.path, self.mode)
            && is_same_file(old, &self.path)
        {
            self.file = Some(file);
        } else {
            drop(old.try_lock());
        }
    }

    /// Closes the handle until it is needed again: a process may have so many. The lock goes with
    /// it, so that the hour may be sealed when it is over.
    pub fn close_handle(&mut self) {
        // What is torn is cut by this handle, or by whoever opens the hour next.
        if !self.needs_truncate {
            self.file = None;
        }
    }

    /// Opens the handle again. What somebody else has changed meanwhile is not gone on with.
    fn ensure_open(&mut self) -> Result<(), FileError> {
        if self.file.is_some() {
            return Ok(());
        }
        let (file, new) = open_locked(&self.path, self.mode)?;
        let found = file.metadata().map_err(FileError::from_io("look at", &self.path))?;
        if new || file_id(&found) != self.file_id || found.len() != self.length {
            let changed = std::io::Error::other("it was changed by somebody else");
            return Err(FileError::from_io("go on with", &self.path)(changed));
        }
        self.file = Some(file);
        Ok(())
    }

    /// Whether the file's name still leads to it: nobody has removed or moved it.
    pub fn is_in_place(&self) -> bool {
        match &self.file {
            Some(file) => is_same_file(file, &self.path),
            None => std::fs::metadata(&self.path)
                .is_ok_and(|found| file_id(&found) == self.file_id && found.len() == self.length),
        }
    }
}

fn file_id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    use crate::archive::disk::injected_fault::{InjectedFault, with_fault};

    fn try_open(dir: &Path) -> Result<(HourFile, OpenReport), FileError> {
        let stem = Stem::from_topic("t").unwrap();
        let hour = Hour::starting_at(3600).unwrap();
        HourFile::open(dir, &stem, hour, 0o640)
    }

    fn open(dir: &Path) -> (HourFile, Option<TailRepair>) {
        let (file, found) = try_open(dir).unwrap();
        (file, found.repair)
    }

    #[test]
    fn an_existing_hour_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).0.append(b"1\n", 1).unwrap();
        let (mut file, mended) = open(dir.path());
        assert_eq!(mended, None);
        file.append(b"2\n", 1).unwrap();
        file.sync().unwrap();
        assert_eq!(fs::read(dir.path().join("t_3600.jsonl")).unwrap(), b"1\n2\n");
    }

    #[test]
    fn new_files_are_not_world_accessible() {
        let dir = tempfile::tempdir().unwrap();
        let (file, _) = open(dir.path());
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn a_torn_last_line_is_moved_to_the_torn_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.jsonl");
        let long = "x".repeat(200_000);
        for (torn, times) in [("{\"a\":", 1), (long.as_str(), 2)] {
            fs::write(&path, format!("one\ntwo\n{torn}")).unwrap();
            let (mut file, mended) = open(dir.path());
            let kept_in = dir.path().join("t_3600.torn");
            assert_eq!(mended, Some(TailRepair::Truncated { bytes: torn.len() as u64, kept_in }));
            file.append(b"three\n", 1).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
            let kept = fs::read_to_string(dir.path().join("t_3600.torn")).unwrap();
            assert!(kept.ends_with(&format!("{torn}\n")));
            assert_eq!(kept.lines().count(), times);
        }
    }

    #[test]
    fn a_file_removed_while_waiting_for_its_lock_is_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.jsonl");
        fs::write(&path, "sealed\n").unwrap();
        let sealing = File::open(&path).unwrap();
        sealing.lock().unwrap();
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| open(dir.path()).0.append(b"late\n", 1).unwrap());
            fs::remove_file(&path).unwrap();
            drop(sealing);
            opening.join().unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"late\n");
    }

    #[test]
    fn a_closed_handle_reopens_unless_the_file_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = open(dir.path());
        file.append(b"1\n", 1).unwrap();
        file.close_handle();
        file.append(b"2\n", 1).unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"1\n2\n");
        file.close_handle();
        assert!(file.is_in_place());
        fs::write(file.path(), "other\n").unwrap();
        assert!(!file.is_in_place());
        assert!(file.append(b"3\n", 1).is_err());
        assert_eq!(fs::read(file.path()).unwrap(), b"other\n");
    }

    #[test]
    fn an_error_names_the_action_and_the_file() {
        let error = try_open(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open `/nonexistent/t_3600.jsonl`");
    }

    #[test]
    fn a_failed_write_leaves_no_partial_line() {
        for nth in 0..3 {
            let dir = tempfile::tempdir().unwrap();
            let (mut file, _) = open(dir.path());
            file.append(b"before\n", 1).unwrap();
            let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
            let (failed, _) = with_fault(full, nth, || file.append(b"long and torn\n", 1).is_err());
            assert_eq!(failed, nth == 0);
            file.append(b"after\n", 1).unwrap();
            let text = fs::read_to_string(file.path()).unwrap();
            assert_eq!(text.lines().count() as u64, file.messages());
            assert_eq!(text.len() as u64, file.length());
            assert!(text.ends_with("after\n"));
        }
    }

    #[test]
    fn after_a_failed_sync_the_file_is_reopened_and_not_resynced() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = open(dir.path());
        file.append(b"1\n", 1).unwrap();
        let handle = |file: &HourFile| file.file.as_ref().unwrap().as_raw_fd();
        let before = handle(&file);
        // Keeps the number of the first handle from being given again.
        let _other = file.file.as_ref().unwrap().try_clone().unwrap();
        let (failed, _) =
            with_fault(InjectedFault::Error(std::io::ErrorKind::Other), 0, || file.sync().is_err());
        assert!(failed && handle(&file) != before);
        assert_eq!(file.sync_watermark(), 2, "these bytes are given up, not tried again");
        file.append(b"2\n", 1).unwrap();
        file.sync().unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"1\n2\n");
    }
}
