//! The recorder's writer of a journal.
//!
//! A journal that cannot be written does not delay the recording: its events wait in memory, up to
//! a limit, and are written with the next event.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::event::{JournalEntry, JournalEvent};
use super::pending_events::PendingEvents;
use super::{encode_line, ends_with_newline};
use crate::archive::disk::{self, FileError};
use crate::archive::file_id::is_same_file;
use crate::archive::file_name::FileKind;
use crate::archive::parts::continue_in_next_file;
use crate::base::time::UnixNanos;

/// Appends events to a journal.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    mode: u32,
    /// Number of the part from which the file goes on, until that is written to it.
    continues: Option<u16>,
    /// Open handle; `None` before the first event, after an error, and while it is closed.
    file: Option<File>,
    /// Events that are not in the file yet.
    pending: PendingEvents,
    /// True if the file holds events, other than marks, that no sync was attempted for.
    has_unsynced_events: bool,
    /// True if the directory entry of a file that this writer created is not known to be durable.
    is_name_unsynced: bool,
    /// True if an event was written, so that the file must exist.
    has_written: bool,
}

impl JournalWriter {
    /// Creates a writer. The first event opens the journal, or creates it with this mode.
    pub fn new(path: PathBuf, mode: u32) -> Self {
        Self {
            path,
            mode,
            continues: None,
            file: None,
            pending: PendingEvents::default(),
            has_unsynced_events: false,
            is_name_unsynced: false,
            has_written: false,
        }
    }

    /// Returns the path of the journal.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends an event, after those that could not be written before.
    ///
    /// # Errors
    /// The journal cannot be written. The event is queued, or counted as discarded if the queue is
    /// full.
    pub fn append(&mut self, t: UnixNanos, event: JournalEvent) -> Result<(), FileError> {
        self.pending.push(t, event);
        self.flush()
    }

    /// Writes the queued events.
    ///
    /// # Errors
    /// The journal cannot be written. The events stay in the queue.
    pub fn flush(&mut self) -> Result<(), FileError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut written = self.write_pending();
        if written.as_ref().is_err_and(FileError::is_too_large) && self.continue_in_next_file()? {
            written = self.write_pending();
        }
        if written.is_err() {
            // The handle may be the cause, so the next attempt opens the file again.
            self.file = None;
        }
        written
    }

    /// Makes the file, which can take no more, a part of the journal. Returns whether it did.
    fn continue_in_next_file(&mut self) -> Result<bool, FileError> {
        let is_in_place = self.is_in_place();
        self.file = None;
        // Another process may have done it.
        if is_in_place {
            let Some(part) = continue_in_next_file(&self.path, FileKind::JournalPart)? else {
                return Ok(false);
            };
            self.continues = Some(part);
        }
        self.mark_synced();
        Ok(true)
    }

    fn write_pending(&mut self) -> Result<(), FileError> {
        let file = if let Some(file) = &self.file {
            file
        } else {
            let is_new = !self.path.exists();
            let file = self.file.insert(disk::open_append_with_mode(&self.path, self.mode)?);
            self.is_name_unsynced |= is_new;
            file
        };
        let length =
            file.metadata().map_err(FileError::from_io("read the size of", &self.path))?.len();
        let mut lines = Vec::new();
        // A crash may have left an incomplete line, which must not swallow the next one.
        if !ends_with_newline(file).map_err(FileError::from_io("read", &self.path))? {
            lines.push(b'\n');
        }
        let start = self.continues.zip(self.pending.iter().next());
        let continues = start.map(|(part, JournalEntry { t, .. })| JournalEntry {
            t,
            event: JournalEvent::Continues { part },
        });
        for entry in continues.into_iter().chain(self.pending.iter()) {
            self.has_unsynced_events |= !matches!(entry.event, JournalEvent::Mark(_));
            lines.extend(encode_line(&entry));
        }
        if let Err(error) = disk::write_all(file, &self.path, &lines) {
            return Err(undo_partial_write(file, &self.path, length, &lines, error));
        }
        self.pending.clear();
        self.continues = None;
        self.has_written = true;
        Ok(())
    }

    /// Makes the written events durable. Marks alone are not worth a sync and wait for the next
    /// event.
    ///
    /// # Durability
    /// Each event is synced once, even if that fails: after a failed fsync the kernel may have
    /// dropped the pages that it could not write, so that a second fsync would succeed without them
    /// (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). The
    /// caller learns of the failure from this call alone. The sync of the directory entry, which
    /// leaves no page behind, is attempted again with the next call.
    ///
    /// # Errors
    /// A power cut may lose the events written since the last sync, or the whole journal if its
    /// directory entry could not be synced.
    pub fn sync(&mut self) -> Result<(), FileError> {
        if self.has_unsynced_events {
            let file = match &self.file {
                Some(file) => file,
                None => self.file.insert(disk::open_append_with_mode(&self.path, self.mode)?),
            };
            // Cleared before the attempt, which is not repeated.
            self.has_unsynced_events = false;
            disk::sync_data(file, &self.path)?;
        }
        if self.is_name_unsynced {
            disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            self.is_name_unsynced = false;
        }
        Ok(())
    }

    /// Returns whether events wait to be written.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes the events that could not be written, and returns what the next journal says of them.
    pub fn take_carried_over(&mut self) -> PendingEvents {
        std::mem::take(&mut self.pending).into_carried_over()
    }

    /// Returns whether an event was written.
    pub fn has_written(&self) -> bool {
        self.has_written
    }

    /// Returns whether [`sync`](Self::sync) has work to do.
    pub fn needs_sync(&self) -> bool {
        self.has_unsynced_events || self.is_name_unsynced
    }

    /// Records that the whole file system was synced.
    pub(in crate::archive) fn mark_synced(&mut self) {
        self.has_unsynced_events = false;
        self.is_name_unsynced = false;
    }

    /// Closes the file handle. The next write or sync opens it again.
    pub fn close_handle(&mut self) {
        self.file = None;
    }

    /// Returns whether the path still names the journal, so that nobody has removed or renamed it.
    pub fn is_in_place(&self) -> bool {
        match &self.file {
            Some(file) => is_same_file(file, &self.path).is_ok_and(|same| same),
            None => !self.has_written || self.path.exists(),
        }
    }
}

/// Removes the part of `lines` that a failed write left behind `length`, since all of them are
/// written again. Returns the error of the write, with a note if the part could not be removed: then
/// the journal holds some events twice.
fn undo_partial_write(
    file: &File,
    path: &Path,
    length: u64,
    lines: &[u8],
    error: FileError,
) -> FileError {
    let undone = read_from(file, length).and_then(|written| {
        // Text that another process has appended meanwhile stays.
        if written.is_empty() || !lines.starts_with(&written) {
            return Ok(());
        }
        disk::truncate(file, path, length).map_err(|error| error.source)
    });
    match undone {
        Ok(()) => error,
        Err(undo) => {
            let text = format!("{}; the part that was written stays: {undo}", error.source);
            FileError { source: io::Error::new(error.source.kind(), text), ..error }
        }
    }
}

/// Returns the content of the file from `start` to its end.
fn read_from(file: &File, start: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().saturating_sub(start);
    let mut content = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut content, start)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use crate::archive::disk::injected_fault::{InjectedFault, with_fault};
    use crate::archive::journal::pending_events::MAX_PENDING;

    #[test]
    fn unwritable_events_are_queued_and_overflow_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/t_3600.journal");
        let mut writer = JournalWriter::new(path.clone(), 0o640);
        for t in 1..=300 {
            assert!(writer.append(UnixNanos::new(t), JournalEvent::Resume).is_err());
        }
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        writer.flush().unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries.len(), MAX_PENDING + 1);
        assert_eq!(
            entries[MAX_PENDING].event,
            JournalEvent::Missing { events: 44, since: UnixNanos::new(257) }
        );
        writer.append(UnixNanos::new(301), JournalEvent::Resume).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_PENDING + 2);
    }

    #[test]
    fn partial_write_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.journal");
        let full = std::fs::File::create(&path).unwrap();
        let lines: Vec<u8> = (1..=4)
            .flat_map(|t| {
                encode_line(&JournalEntry { t: UnixNanos::new(t), event: JournalEvent::Resume })
            })
            .collect();
        let failure = || FileError::from_io("write", &path)(io::ErrorKind::StorageFull.into());
        // A disk that is full after two and a half lines leaves this.
        std::io::Write::write_all(&mut &full, &lines[..lines.len() * 5 / 8]).unwrap();
        undo_partial_write(
            &std::fs::File::options().read(true).append(true).open(&path).unwrap(),
            &path,
            0,
            &lines,
            failure(),
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        // Text of another process stays.
        std::fs::write(&path, "{}\n").unwrap();
        undo_partial_write(
            &std::fs::File::options().read(true).append(true).open(&path).unwrap(),
            &path,
            0,
            &lines,
            failure(),
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
    }

    #[test]
    fn a_journal_that_can_take_no_more_is_continued_and_read_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.journal");
        let mut writer = JournalWriter::new(path.clone(), 0o640);
        let event = |t| (UnixNanos::new(t), JournalEvent::Resume);
        let mut append = |t| {
            let (t, event) = event(t);
            writer.append(t, event)
        };
        append(1).unwrap();
        // The file is open, so that the first operation is the write.
        let full = || InjectedFault::Error(io::ErrorKind::FileTooLarge);
        let (appended, was_full) = with_fault(full(), 0, || append(2));
        assert!(was_full);
        appended.unwrap();
        append(3).unwrap();
        drop(writer);
        let (t, resume) = event(4);
        let append = || crate::archive::journal::append(&path, t, resume.clone());
        let (appended, was_full) = with_fault(full(), 1, append);
        assert!(was_full);
        appended.unwrap();
        let names = ["t_3600.1.journal", "t_3600.2.journal", "t_3600.journal"];
        assert!(names.iter().all(|name| dir.path().join(name).exists()));
        let times: Vec<_> = read(&path).unwrap().iter().map(|entry| entry.t.nanos()).collect();
        // The first event of a file that goes on from another names that.
        assert_eq!(times, [1, 2, 2, 3, 4, 4]);
        for (gone, left) in [(0, vec![0, 2, 2, 3, 4, 4]), (1, vec![1, 0, 4, 4])] {
            let gone = dir.path().join(names[gone]);
            let bytes = std::fs::read(&gone).unwrap();
            std::fs::remove_file(&gone).unwrap();
            let entries = read(&path).unwrap();
            let times: Vec<_> = entries.iter().map(|entry| entry.t.nanos()).collect();
            assert_eq!(times, left);
            let events = entries.iter().filter(|entry| entry.event == JournalEvent::PartGone);
            assert_eq!(events.count(), 1);
            std::fs::write(&gone, bytes).unwrap();
        }
        assert!(
            names.iter().all(|name| crate::archive::file_name::FileName::parse(name).is_some())
        );
    }

    #[test]
    fn io_error_at_any_operation_loses_no_event() {
        for nth in 0..6 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t_3600.journal");
            let mut writer = JournalWriter::new(path.clone(), 0o640);
            let fault = InjectedFault::Error(std::io::ErrorKind::StorageFull);
            with_fault(fault, nth, || {
                for t in 1..=3 {
                    drop(writer.append(UnixNanos::new(t), JournalEvent::Resume));
                    drop(writer.sync());
                }
            });
            writer.flush().unwrap();
            let times: Vec<_> = read(&path).unwrap().iter().map(|entry| entry.t.nanos()).collect();
            assert_eq!(times, [1, 2, 3], "failure at {nth}");
        }
    }

    #[test]
    fn a_failed_sync_is_reported_once_and_the_next_event_is_synced_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.journal");
        let mut writer = JournalWriter::new(path, 0o640);
        writer.append(UnixNanos::new(1), JournalEvent::Resume).unwrap();
        writer.sync().unwrap();
        writer.append(UnixNanos::new(2), JournalEvent::Resume).unwrap();
        let fault = || InjectedFault::Error(io::ErrorKind::Other);
        assert!(with_fault(fault(), 0, || writer.sync()).0.is_err());
        assert!(!writer.needs_sync());
        // A second fsync would be the operation that fails.
        let (again, was_synced) = with_fault(fault(), 0, || writer.sync());
        again.unwrap();
        assert!(!was_synced, "a failed fsync is not repeated");
        writer.append(UnixNanos::new(3), JournalEvent::Resume).unwrap();
        assert!(with_fault(fault(), 0, || writer.sync()).0.is_err());
    }

    #[test]
    fn a_failed_sync_of_the_directory_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = JournalWriter::new(dir.path().join("t_3600.journal"), 0o640);
        writer.append(UnixNanos::new(1), JournalEvent::Resume).unwrap();
        let fault = || InjectedFault::Error(io::ErrorKind::Other);
        // The file is synced first.
        assert!(with_fault(fault(), 1, || writer.sync()).0.is_err());
        assert!(writer.needs_sync());
        assert!(with_fault(fault(), 0, || writer.sync()).0.is_err());
        writer.sync().unwrap();
        assert!(!writer.needs_sync());
    }
}
