//! The recorder's hand in a journal. A journal that cannot be written holds nothing up: its events
//! wait in memory, and those that become too many are counted instead.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::pending_events::PendingEvents;
use super::{JournalEvent, encode_line, ends_with_newline};
use crate::archive::disk::{self, FileError};
use crate::archive::file_id::is_same_file;
use crate::base::time::UnixNanos;

/// Appends events to a journal.
#[derive(Debug)]
pub struct JournalWriter {
    path: PathBuf,
    mode: u32,
    file: Option<File>,
    /// Events that are not yet in the file.
    pending: PendingEvents,
    /// Whether there are events in the file that are worth a sync.
    dirty: bool,
    /// Whether the file's name is not known to be durable.
    is_name_unsynced: bool,
    /// Whether something was written, so that there must be a file.
    was_written: bool,
}

impl JournalWriter {
    /// A writer that opens the journal, or creates it with this mode, with the first event.
    pub fn new(path: PathBuf, mode: u32) -> Self {
        let (file, waiting) = (None, PendingEvents::default());
        Self {
            path,
            mode,
            file,
            pending: waiting,
            dirty: false,
            is_name_unsynced: false,
            was_written: false,
        }
    }

    /// The journal.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes an event. Those that wait from before are written first.
    ///
    /// # Errors
    /// The event waits, or is counted among those that are missing.
    pub fn append(&mut self, t: UnixNanos, event: JournalEvent) -> Result<(), FileError> {
        self.pending.push(t, event);
        self.flush()
    }

    /// Tries again to write what waits.
    ///
    /// # Errors
    /// It still cannot be written.
    pub fn flush(&mut self) -> Result<(), FileError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.write_pending();
        if written.is_err() {
            // Opened anew the next time: whatever is wrong may be so with the file alone.
            self.file = None;
        }
        written
    }

    fn write_pending(&mut self) -> Result<(), FileError> {
        let file = if let Some(file) = &self.file {
            file
        } else {
            self.is_name_unsynced |= !self.path.exists();
            self.file.insert(disk::open_append_with_mode(&self.path, self.mode)?)
        };
        let length =
            file.metadata().map_err(FileError::from_io("read the size of", &self.path))?.len();
        let mut lines = Vec::new();
        // After a crash.
        if !ends_with_newline(file).map_err(FileError::from_io("read", &self.path))? {
            lines.push(b'\n');
        }
        for (t, event) in self.pending.iter() {
            self.dirty |= !matches!(event, JournalEvent::Mark(_));
            lines.extend(encode_line(t, event));
        }
        if let Err(error) = disk::write_all(file, &self.path, &lines) {
            undo_partial_write(file, &self.path, length, &lines);
            return Err(error);
        }
        self.pending.clear();
        self.was_written = true;
        Ok(())
    }

    /// Makes events durable, unless there are none but marks since the last time: those go with the
    /// next.
    ///
    /// # Errors
    /// What was written may not be durable.
    pub fn sync(&mut self) -> Result<(), FileError> {
        if self.file.is_none() && self.dirty {
            self.file = Some(disk::open_append_with_mode(&self.path, self.mode)?);
        }
        let Some(file) = self.file.as_ref().filter(|_| self.dirty) else { return Ok(()) };
        self.dirty = false;
        disk::sync_data(file, &self.path)?;
        if self.is_name_unsynced {
            disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            self.is_name_unsynced = false;
        }
        Ok(())
    }

    /// Whether there are events that are not known to be durable.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Takes note of a sync of the whole file system.
    pub(in crate::archive) fn mark_synced(&mut self) {
        (self.dirty, self.is_name_unsynced) = (false, false);
    }

    /// Closes the handle until it is needed again.
    pub fn close_handle(&mut self) {
        self.file = None;
    }

    /// Whether the journal's name still leads to it: nobody has removed or moved it.
    pub fn is_in_place(&self) -> bool {
        match &self.file {
            Some(file) => is_same_file(file, &self.path).is_ok_and(|same| same),
            None => !self.was_written || self.path.exists(),
        }
    }
}

/// Takes back what a write that failed has left: its events are written again. Where that cannot be,
/// some are there twice.
fn undo_partial_write(file: &File, path: &Path, length: u64, lines: &[u8]) {
    let left = file.metadata().map_or(0, |metadata| metadata.len().saturating_sub(length));
    let mut found = vec![0; usize::try_from(left).unwrap_or(0)];
    // What somebody else has appended meanwhile stays.
    if file.read_exact_at(&mut found, length).is_ok() && lines.starts_with(&found) {
        drop(disk::truncate(file, path, length));
    }
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
        assert_eq!(entries[MAX_PENDING].event, JournalEvent::Missing { events: 44, since: 257 });
        writer.append(UnixNanos::new(301), JournalEvent::Resume).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_PENDING + 2);
    }

    #[test]
    fn partial_write_is_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.journal");
        let full = std::fs::File::create(&path).unwrap();
        let lines: Vec<u8> =
            (1..=4).flat_map(|t| encode_line(UnixNanos::new(t), JournalEvent::Resume)).collect();
        // As a disk does that is full after two of them and a half.
        std::io::Write::write_all(&mut &full, &lines[..lines.len() * 5 / 8]).unwrap();
        undo_partial_write(
            &std::fs::File::options().read(true).append(true).open(&path).unwrap(),
            &path,
            0,
            &lines,
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        // Not what is of somebody else.
        std::fs::write(&path, "{}\n").unwrap();
        undo_partial_write(
            &std::fs::File::options().read(true).append(true).open(&path).unwrap(),
            &path,
            0,
            &lines,
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
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
            let times: Vec<_> = read(&path).unwrap().iter().map(|entry| entry.t).collect();
            assert_eq!(times, [1, 2, 3], "failure at {nth}");
        }
    }
}
