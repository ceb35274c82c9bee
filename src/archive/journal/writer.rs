//! The recorder's hand in a journal. A journal that cannot be written holds nothing up: its events
//! wait in memory, and those that become too many are counted instead.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::waiting::Waiting;
use super::{Event, ends_with_feed, line_of};
use crate::archive::disk::{self, FileError};
use crate::archive::line_lock::same_file;
use crate::clock::UnixNanos;

/// Appends events to a journal.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    mode: u32,
    file: Option<File>,
    /// Events that are not yet in the file.
    waiting: Waiting,
    /// Whether there are events in the file that are worth a sync.
    dirty: bool,
    /// Whether the file's name is not known to be durable.
    new: bool,
    /// Whether something was written, so that there must be a file.
    written: bool,
}

impl Writer {
    /// A writer that opens the journal, or creates it with this mode, with the first event.
    pub fn new(path: PathBuf, mode: u32) -> Self {
        let (file, waiting) = (None, Waiting::default());
        Self { path, mode, file, waiting, dirty: false, new: false, written: false }
    }

    /// The journal.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes an event. Those that wait from before are written first.
    ///
    /// # Errors
    /// The event waits, or is counted among those that are missing.
    pub fn note(&mut self, t: UnixNanos, event: Event) -> Result<(), FileError> {
        self.waiting.push(t, event);
        self.write()
    }

    /// Tries again to write what waits.
    ///
    /// # Errors
    /// It still cannot be written.
    pub fn write(&mut self) -> Result<(), FileError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let written = self.try_write();
        if written.is_err() {
            // Opened anew the next time: whatever is wrong may be so with the file alone.
            self.file = None;
        }
        written
    }

    fn try_write(&mut self) -> Result<(), FileError> {
        let file = if let Some(file) = &self.file {
            file
        } else {
            self.new |= !self.path.exists();
            self.file.insert(disk::append_as(&self.path, self.mode)?)
        };
        let length = file.metadata().map_err(FileError::of("read the size of", &self.path))?.len();
        let mut lines = Vec::new();
        // After a crash.
        if !ends_with_feed(file).map_err(FileError::of("read", &self.path))? {
            lines.push(b'\n');
        }
        for (t, event) in self.waiting.all() {
            self.dirty |= !matches!(event, Event::Mark(_));
            lines.extend(line_of(t, event));
        }
        if let Err(error) = disk::write(file, &self.path, &lines) {
            take_back(file, &self.path, length, &lines);
            return Err(error);
        }
        self.waiting.clear();
        self.written = true;
        Ok(())
    }

    /// Makes events durable, unless there are none but marks since the last time: those go with the
    /// next.
    ///
    /// # Errors
    /// What was written may not be durable.
    pub fn sync(&mut self) -> Result<(), FileError> {
        if self.file.is_none() && self.dirty {
            self.file = Some(disk::append_as(&self.path, self.mode)?);
        }
        let Some(file) = self.file.as_ref().filter(|_| self.dirty) else { return Ok(()) };
        self.dirty = false;
        disk::sync_data(file, &self.path)?;
        if self.new {
            disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            self.new = false;
        }
        Ok(())
    }

    /// Whether there are events that are not known to be durable.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Takes note of a sync of the whole file system.
    pub(in crate::archive) fn synced_together(&mut self) {
        (self.dirty, self.new) = (false, false);
    }

    /// Closes the handle until it is needed again.
    pub fn rest(&mut self) {
        self.file = None;
    }

    /// Whether the journal's name still leads to it: nobody has removed or moved it.
    pub fn is_in_place(&self) -> bool {
        match &self.file {
            Some(file) => same_file(file, &self.path),
            None => !self.written || self.path.exists(),
        }
    }
}

/// Takes back what a write that failed has left: its events are written again. Where that cannot be,
/// some are there twice.
fn take_back(file: &File, path: &Path, length: u64, lines: &[u8]) {
    let left = file.metadata().map_or(0, |metadata| metadata.len().saturating_sub(length));
    let mut found = vec![0; usize::try_from(left).unwrap_or(0)];
    // What somebody else has appended meanwhile stays.
    if file.read_exact_at(&mut found, length).is_ok() && lines.starts_with(&found) {
        drop(disk::set_len(file, path, length));
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::waiting::MAX_WAITING;
    use super::*;
    use crate::archive::disk::faults::{Fault, with};

    #[test]
    fn what_cannot_be_written_waits_and_what_is_too_much_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/t_3600.journal");
        let mut writer = Writer::new(path.clone(), 0o640);
        for t in 1..=300 {
            assert!(writer.note(UnixNanos::new(t), Event::Resume).is_err());
        }
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        writer.write().unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries.len(), MAX_WAITING + 1);
        assert_eq!(entries[MAX_WAITING].event, Event::Missing { events: 44, since: 257 });
        writer.note(UnixNanos::new(301), Event::Resume).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_WAITING + 2);
    }

    #[test]
    fn what_was_written_by_half_is_there_once_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t_3600.journal");
        let full = std::fs::File::create(&path).unwrap();
        let lines: Vec<u8> =
            (1..=4).flat_map(|t| line_of(UnixNanos::new(t), Event::Resume)).collect();
        // As a disk does that is full after two of them and a half.
        std::io::Write::write_all(&mut &full, &lines[..lines.len() * 5 / 8]).unwrap();
        take_back(
            &std::fs::File::options().read(true).append(true).open(&path).unwrap(),
            &path,
            0,
            &lines,
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        // Not what is of somebody else.
        std::fs::write(&path, "{}\n").unwrap();
        take_back(
            &std::fs::File::options().read(true).append(true).open(&path).unwrap(),
            &path,
            0,
            &lines,
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"{}\n");
    }

    #[test]
    fn a_failure_at_any_operation_loses_no_event() {
        for nth in 0..6 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("t_3600.journal");
            let mut writer = Writer::new(path.clone(), 0o640);
            let fault = Fault::Error(std::io::ErrorKind::StorageFull);
            with(fault, nth, || {
                for t in 1..=3 {
                    drop(writer.note(UnixNanos::new(t), Event::Resume));
                    drop(writer.sync());
                }
            });
            writer.write().unwrap();
            let times: Vec<_> = read(&path).unwrap().iter().map(|entry| entry.t).collect();
            assert_eq!(times, [1, 2, 3], "failure at {nth}");
        }
    }
}
