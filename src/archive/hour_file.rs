//! The `.jsonl` of one hour while it is being written.

use std::path::{Path, PathBuf};

use super::checkpoints::Checkpoints;
use super::disk::{self, FileError, PartialAppend, Support};
use super::file_lock::{LockedFile, open_locked};
use super::file_name::{FileKind, Stem};
use super::journal::{self, RecoveredEvent};
use super::line_position::LinePosition;
use super::locked_handle::{LockedHandle, Placement, check_length};
use super::tail_repair::TailRepair;
use super::tail_scan::TailScan;
use crate::base::time::Hour;

/// Number of bytes after which [`HourFile::start_writeback`] starts.
const WRITEBACK_STEP: u64 = 8 << 20;

/// The open `.jsonl` of an hour.
///
/// The file holds complete lines only: an append writes all of its lines or none. The file is
/// locked as long as its handle is open, so that no other process seals it.
#[derive(Debug)]
pub struct HourFile {
    handle: LockedHandle,
    path: PathBuf,
    /// End of the complete lines.
    position: LinePosition,
    /// Bytes that no further sync is needed for; see [`HourFile::sync_watermark`].
    sync_watermark: u64,
    /// End of the bytes that are on their way to the disk; see [`HourFile::start_writeback`].
    writeback_end: u64,
    /// Set until the file's name is durable.
    dir_sync_pending: bool,
    /// Length to which a part of lines, left by a write that failed, is still to be cut off.
    truncate_to: Option<u64>,
}

/// Findings about an hour file that existed when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Repair of an incomplete last line.
    pub repair: Option<TailRepair>,
    /// Event for the journal, unless the recorder closed the file in order.
    pub recovered: Option<RecoveredEvent>,
    /// Number of the part that the file before became, since it could take no more lines.
    pub continues: Option<u16>,
}

impl HourFile {
    /// Opens the file for appending, and creates it with `mode` if it does not exist. The damage
    /// that a crash or a power cut did to its end is repaired first: bytes that are not complete
    /// lines move to the hour's `.torn` file.
    ///
    /// # Errors
    /// [`FileError`]: the file is unchanged, or shortened with its end in the `.torn` file.
    pub fn open(
        dir: &Path,
        stem: &Stem,
        hour: Hour,
        mode: u32,
    ) -> Result<(Self, OpenReport), FileError> {
        let path = stem.path(dir, hour, FileKind::Lines);
        let LockedFile { file, created } = open_locked(&path, mode)?;
        // The journal is read after the lock was taken: its last holder may have sealed the lines.
        // A journal that cannot be read vouches for nothing, so that all lines are scanned.
        let journal = journal::read(&stem.path(dir, hour, FileKind::Journal)).unwrap_or_default();
        let checkpoints =
            if created { Checkpoints::default() } else { Checkpoints::from_journal(&journal) };
        let scan =
            TailScan::scan(&file, &checkpoints).map_err(FileError::from_io("read", &path))?;
        let torn = stem.path(dir, hour, FileKind::Torn);
        let recovery = scan.repair(&file, &path, &torn, &checkpoints)?;
        let mut file = Self {
            handle: LockedHandle::new(file, &path, mode)?,
            path,
            position: recovery.position,
            sync_watermark: recovery.position.bytes,
            writeback_end: recovery.position.bytes,
            dir_sync_pending: created,
            truncate_to: None,
        };
        if !created && recovery.recovered.is_some() {
            // The lines of the run before may be in the page cache alone.
            file.sync()?;
        }
        let recovered = recovery.recovered.filter(|_| !created);
        Ok((file, OpenReport { repair: recovery.repair, recovered, continues: None }))
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of bytes in the file, all of them complete lines.
    pub fn length(&self) -> u64 {
        self.position.bytes
    }

    /// Returns the number of lines in the file.
    pub fn messages(&self) -> u64 {
        self.position.messages
    }

    /// Returns the length and the number of the lines.
    pub(super) fn position(&self) -> LinePosition {
        self.position
    }

    /// Returns the number of bytes that no further sync is needed for: they are durable, or a sync
    /// of them failed and must not be repeated.
    pub fn sync_watermark(&self) -> u64 {
        self.sync_watermark
    }

    /// Appends `messages` complete lines.
    ///
    /// # Errors
    /// [`FileError`]: none of the lines is in the file. A part that was written is cut off at once,
    /// or before the next append.
    pub fn append(&mut self, lines: &[u8], messages: u64) -> Result<(), FileError> {
        let file = self.handle.ensure_open(&self.path, self.position.bytes)?;
        if let Some(length) = self.truncate_to {
            disk::cut_back(file, &self.path, length)?;
            self.truncate_to = None;
        }
        check_length(file, &self.path, self.position.bytes)?;
        if let Err(PartialAppend { written, error }) = disk::append_all(file, &self.path, lines) {
            // What was written is cut off, and nothing else: another program may have made the file
            // shorter or longer, which `placement` tells.
            let length = file.metadata().map_or(self.position.bytes + written, |now| now.len());
            let before = length.saturating_sub(written);
            if disk::cut_back(file, &self.path, before).is_err() {
                self.truncate_to = Some(before);
            }
            return Err(error);
        }
        self.position.bytes += lines.len() as u64;
        self.position.messages += messages;
        Ok(())
    }

    /// Starts to write the appended lines to the disk if there are many, so that the next sync finds
    /// little to do. Without that, it may find a gigabyte after a second at full speed.
    pub(super) fn start_writeback(&mut self) {
        let start = self.writeback_end.max(self.sync_watermark);
        let end = self.position.bytes;
        if end >= start + WRITEBACK_STEP
            && let Some(file) = self.handle.file()
        {
            disk::start_writeback(file, start..end);
            self.writeback_end = end;
        }
    }

    /// Returns whether the file ends with its last complete line, as far as is known.
    pub(super) fn is_clean(&self) -> bool {
        self.truncate_to.is_none()
    }

    /// Makes the appended lines durable, and the file's name with them.
    ///
    /// # Durability
    /// After a failed fsync the kernel may have dropped the pages that it could not write, and a
    /// second fsync would succeed without them (Rebello et al., "Can Applications Recover from
    /// fsync Failures?", USENIX ATC 2020). So the sync of the same bytes is not repeated: they are
    /// in doubt, and the file is opened anew.
    ///
    /// # Errors
    /// [`FileError`]: it is unknown how many of the bytes since the previous
    /// [`HourFile::sync_watermark`] are on the disk.
    pub(super) fn sync(&mut self) -> Result<Support, FileError> {
        let file = self.handle.ensure_open(&self.path, self.position.bytes)?;
        match disk::sync_data(file, &self.path) {
            // Nothing is durable, and nothing failed.
            Ok(Support::Missing) => return Ok(Support::Missing),
            Ok(Support::Done) => {}
            Err(error) => {
                self.sync_watermark = self.position.bytes;
                self.handle.replace(&self.path);
                return Err(error);
            }
        }
        if self.dir_sync_pending {
            let synced = disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")));
            if !synced.as_ref().is_err_and(FileError::is_shortage_of_descriptors) {
                self.sync_watermark = self.position.bytes;
            }
            synced?;
            self.dir_sync_pending = false;
        }
        self.sync_watermark = self.position.bytes;
        Ok(Support::Done)
    }

    /// Records a successful sync of the whole file system, see [`disk::sync_file_system`].
    pub(super) fn record_file_system_sync(&mut self) {
        self.sync_watermark = self.position.bytes;
        self.dir_sync_pending = false;
    }

    /// Records a failed sync of the whole file system. As after a failed [`HourFile::sync`], the
    /// bytes are in doubt and the file is opened anew.
    pub(super) fn record_failed_file_system_sync(&mut self) {
        self.sync_watermark = self.position.bytes;
        self.handle.replace(&self.path);
    }

    /// Closes the handle until the next append or sync, since the number of descriptors of a
    /// process is limited. The lock is given up too: the hour may be sealed once it is over.
    pub fn close_handle(&mut self) {
        // A partial write is cut off by this handle, or by the next process that opens the hour.
        if self.truncate_to.is_none() {
            self.handle.close();
        }
    }

    /// Returns whether the file's name still leads to this file, and whether the file has the bytes
    /// that were written to it.
    pub fn placement(&self) -> Placement {
        let length = match self.truncate_to {
            // It is known to be longer.
            Some(_) => None,
            None => Some(self.position.bytes),
        };
        self.handle.placement(&self.path, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::ops::Range;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    use crate::archive::disk::injected_fault::{InjectedFault, with_fault, without_operation};

    fn try_open(dir: &Path) -> Result<(HourFile, OpenReport), FileError> {
        let stem = Stem::from_topic("t").unwrap();
        let hour = Hour::starting_at(3600).unwrap();
        HourFile::open(dir, &stem, hour, 0o640)
    }

    fn open(dir: &Path) -> (HourFile, Option<TailRepair>) {
        let (file, report) = try_open(dir).unwrap();
        (file, report.repair)
    }

    #[test]
    fn an_existing_hour_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).0.append(b"1\n", 1).unwrap();
        let (mut file, repair) = open(dir.path());
        assert_eq!(repair, None);
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
            let (mut file, repair) = open(dir.path());
            let kept_in = dir.path().join("t_3600.torn");
            let bytes = torn.len() as u64;
            assert_eq!(repair, Some(TailRepair::Truncated { bytes, lines: 0, kept_in }));
            file.append(b"three\n", 1).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
            let kept = fs::read_to_string(dir.path().join("t_3600.torn")).unwrap();
            assert!(kept.ends_with(&format!("{torn}\n")));
            assert_eq!(kept.lines().count(), times);
        }
    }

    #[test]
    fn a_locked_file_is_not_waited_for_and_one_that_was_removed_is_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.jsonl");
        fs::write(&path, "sealed\n").unwrap();
        let sealing = File::open(&path).unwrap();
        sealing.lock().unwrap();
        assert!(try_open(dir.path()).unwrap_err().is_locked());
        fs::remove_file(&path).unwrap();
        drop(sealing);
        open(dir.path()).0.append(b"late\n", 1).unwrap();
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
        assert_eq!(file.placement(), Placement::InPlace);
        fs::write(file.path(), "other\n").unwrap();
        assert_eq!(file.placement(), Placement::Resized { found: 6 });
        assert!(file.append(b"3\n", 1).is_err());
        assert!(file.sync().is_err(), "what is not in the file is not called durable");
        assert_eq!((file.length(), file.messages()), (4, 2));
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
    fn writeback_starts_early_and_only_for_lines_that_are_not_synced() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = open(dir.path());
        let mebibyte = [vec![b'x'; (1 << 20) - 1], vec![b'\n']].concat();
        let append = |file: &mut HourFile, count: u64| -> Vec<Range<u64>> {
            let appended = (0..count).map(|_| {
                file.append(&mebibyte, 1).unwrap();
                let before = file.writeback_end;
                file.start_writeback();
                before.max(file.sync_watermark)..file.writeback_end
            });
            appended.filter(|range| range.start < range.end).collect()
        };
        assert_eq!(append(&mut file, 20), vec![0..8 << 20, 8 << 20..16 << 20]);
        file.sync().unwrap();
        assert_eq!(append(&mut file, 7), Vec::new(), "the rest of the 20 MiB is synced");
        assert_eq!(append(&mut file, 1).first(), Some(&(20 << 20..28 << 20)));
        assert_eq!(fs::read(file.path()).unwrap().len(), 28 << 20);
    }

    #[test]
    fn a_failed_write_makes_no_file_longer_that_another_program_has_cut_and_cuts_only_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = open(dir.path());
        file.append(b"1\n2\n3\n", 3).unwrap();
        let full = InjectedFault::Error(std::io::ErrorKind::StorageFull);
        let other = File::options().append(true).open(file.path()).unwrap();
        other.set_len(2).unwrap();
        with_fault(full, 0, || file.append(b"long and torn\n", 1).unwrap_err());
        assert_eq!(fs::read(file.path()).unwrap(), b"1\n");
        assert_eq!(file.placement(), Placement::Resized { found: 2 });
        std::io::Write::write_all(&mut &other, b"2\n3\nother\n").unwrap();
        with_fault(full, 0, || file.append(b"long and torn\n", 1).unwrap_err());
        assert_eq!(fs::read(file.path()).unwrap(), b"1\n2\n3\nother\n");
        // Also where the part can be cut off only later.
        for nth in [0, 1] {
            other.set_len(2).unwrap();
            with_fault(full, nth, || drop(file.append(b"x\n", 1)));
            drop(file.append(b"y\n", 1));
            assert!(!fs::read(file.path()).unwrap().contains(&0), "no NULs");
        }
    }

    #[test]
    fn a_want_of_descriptors_is_no_failed_sync() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = open(dir.path());
        file.append(b"1\n", 1).unwrap();
        let errno = rustix::io::Errno::MFILE;
        let operation = disk::DiskOperation::SyncDirectory;
        let synced = without_operation(operation, errno, || file.sync());
        assert!(synced.unwrap_err().is_shortage_of_descriptors());
        assert_eq!(file.sync_watermark(), 0, "all of it is synced again");
        file.sync().unwrap();
        assert_eq!(file.sync_watermark(), 2);
    }

    #[test]
    fn after_a_failed_sync_the_file_is_reopened_and_not_resynced() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = open(dir.path());
        file.append(b"1\n", 1).unwrap();
        let handle = |file: &HourFile| file.handle.file().unwrap().as_raw_fd();
        let before = handle(&file);
        // Keeps the descriptor of the first handle from being reused.
        let _other = file.handle.file().unwrap().try_clone().unwrap();
        let (failed, _) =
            with_fault(InjectedFault::Error(std::io::ErrorKind::Other), 0, || file.sync().is_err());
        assert!(failed && handle(&file) != before);
        assert_eq!(file.sync_watermark(), 2, "the bytes that failed are not synced again");
        file.append(b"2\n", 1).unwrap();
        file.sync().unwrap();
        assert_eq!(fs::read(file.path()).unwrap(), b"1\n2\n");
    }
}
