//! The recorder's hand in a journal. A journal that cannot be written holds nothing up: its events
//! wait in memory, and those that become too many are counted instead.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::{Event, ends_with_feed, line_of};
use crate::archive::disk::{self, FileError};
use crate::archive::line_lock::same_file;
use crate::clock::UnixNanos;

/// So many events wait for a journal that cannot be written.
const MAX_WAITING: usize = 256;

/// Appends events to a journal.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    mode: u32,
    file: Option<File>,
    /// Events that are not yet in the file.
    waiting: VecDeque<(UnixNanos, Event)>,
    /// Events that were too many to wait, and since when.
    missing: Option<(u64, UnixNanos)>,
    /// Whether there are events in the file that are worth a sync.
    dirty: bool,
    /// Whether the file's name is not known to be durable.
    new: bool,
}

impl Writer {
    /// A writer that opens the journal, or creates it with this mode, with the first event.
    pub fn new(path: PathBuf, mode: u32) -> Self {
        let (file, waiting) = (None, VecDeque::new());
        Self { path, mode, file, waiting, missing: None, dirty: false, new: false }
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
        // The next mark says all that one says which could not be written.
        self.waiting.retain(|(_, waiting)| !matches!(waiting, Event::Mark(_)));
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((t, event));
        } else {
            self.missing.get_or_insert((0, t)).0 += 1;
        }
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
        let mut lines = Vec::new();
        // After a crash, or a write that was done by half.
        if !ends_with_feed(file).map_err(FileError::of("read", &self.path))? {
            lines.push(b'\n');
        }
        for (t, event) in &self.waiting {
            lines.extend(line_of(*t, event.clone()));
        }
        if let (Some((events, since)), Some((t, _))) = (self.missing, self.waiting.back()) {
            let since = since.nanos();
            lines.extend(line_of(*t, Event::Missing { events, since }));
        }
        disk::write(file, &self.path, &lines)?;
        self.dirty |= self.waiting.iter().any(|(_, event)| !matches!(event, Event::Mark(_)));
        self.waiting.clear();
        self.missing = None;
        Ok(())
    }

    /// Makes events durable, unless there are none but marks since the last time: those go with the
    /// next.
    ///
    /// # Errors
    /// What was written may not be durable.
    pub fn sync(&mut self) -> Result<(), FileError> {
        let Some(file) = self.file.as_ref().filter(|_| self.dirty) else { return Ok(()) };
        self.dirty = false;
        disk::sync_data(file, &self.path)?;
        if self.new {
            disk::sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
            self.new = false;
        }
        Ok(())
    }

    /// Whether the journal's name still leads to it: nobody has removed or moved it.
    pub fn is_in_place(&self) -> bool {
        self.file.as_ref().is_none_or(|file| same_file(file, &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
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
