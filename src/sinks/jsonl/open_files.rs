//! The limit on open files.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use tracing::warn;

use super::writer_index::WriterIndex;
use crate::metrics::Counter;

/// Lower bound of `max_open_files`, also when the process runs out of file descriptors.
pub(super) const MIN_OPEN_FILES: u32 = 16;
/// File descriptors that the rest of the process needs.
const RESERVED_DESCRIPTORS: u64 = 128;
/// Files that a writer has open: lines and journal.
const FILES_PER_WRITER: usize = 2;

/// A least-recently-used list of the writers that have files open.
#[derive(Debug)]
pub(super) struct OpenFiles {
    /// Maximum number of open files.
    limit: usize,
    /// The state of each writer that was used so far, by its index.
    slots: Vec<Slot>,
    /// Number of uses so far; the clock of `Slot::last_used`.
    uses: u64,
    open_writers: usize,
    /// Number of times that files were closed to make room for others.
    evictions: Arc<Counter>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    last_used: u64,
    is_open: bool,
}

impl OpenFiles {
    /// Returns an empty list that allows `max_open_files` files.
    pub(super) fn new(max_open_files: u32, evictions: Arc<Counter>) -> Self {
        Self {
            limit: max_open_files as usize,
            slots: Vec::new(),
            uses: 0,
            open_writers: 0,
            evictions,
        }
    }

    /// Marks the files of the writer as open and just used. Returns the writer that was not used
    /// for the longest time, whose files must be closed, if there are too many open files now.
    pub(super) fn mark_used(&mut self, index: WriterIndex) -> Option<WriterIndex> {
        self.uses += 1;
        let uses = self.uses;
        let was_open = {
            let slot = self.slot_mut(index);
            slot.last_used = uses;
            std::mem::replace(&mut slot.is_open, true)
        };
        if was_open {
            return None;
        }
        self.open_writers += 1;
        if self.open_writers * FILES_PER_WRITER <= self.limit {
            return None;
        }
        let open = self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_open);
        let (position, oldest) = open.min_by_key(|(_, slot)| slot.last_used)?;
        oldest.is_open = false;
        self.open_writers -= 1;
        self.evictions.add(1);
        Some(WriterIndex::from_position(position))
    }

    fn slot_mut(&mut self, index: WriterIndex) -> &mut Slot {
        let position = index.position();
        if self.slots.len() <= position {
            self.slots.resize(position + 1, Slot::default());
        }
        self.slots.get_mut(position).expect("the list was extended to this position")
    }

    /// Returns whether the files of the writer count as open.
    pub(super) fn is_open(&self, index: WriterIndex) -> bool {
        self.slots.get(index.position()).is_some_and(|slot| slot.is_open)
    }

    /// Halves the limit when `error` says that the process or the system has no file descriptor
    /// left. Returns whether it did; the files of all writers must be closed then.
    pub(super) fn reduce_limit(&mut self, error: &io::Error) -> bool {
        let out_of_descriptors = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
        if !error.raw_os_error().is_some_and(|code| out_of_descriptors.contains(&code)) {
            return false;
        }
        let open_files = self.open_writers * FILES_PER_WRITER;
        let half = open_files.min(self.limit) / 2;
        self.limit = half.max(MIN_OPEN_FILES as usize);
        self.slots.iter_mut().for_each(|slot| slot.is_open = false);
        self.open_writers = 0;
        warn!(
            max_open_files = self.limit,
            "the process may open no more files, so the limit on open files is lowered"
        );
        true
    }

    /// Logs a warning when the process may not open as many files as the limit allows.
    pub(super) fn check_process_limit(&self) {
        let max_open_files = self.limit;
        let needed = RESERVED_DESCRIPTORS + max_open_files as u64;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit.filter(|limit| *limit < needed) {
            warn!(
                max_open_files,
                limit,
                "the process may open fewer files than `max_open_files` and the rest of the recorder need; raise `ulimit -n` or lower `max_open_files`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(position: usize) -> WriterIndex {
        WriterIndex::from_position(position)
    }

    #[test]
    fn the_least_recently_used_writer_is_evicted() {
        let mut files = OpenFiles::new(6, Arc::default());
        for position in [0, 1, 2, 0] {
            assert_eq!(files.mark_used(index(position)), None);
        }
        assert_eq!(files.mark_used(index(3)), Some(index(1)));
        assert!(!files.is_open(index(1)) && files.is_open(index(0)));
        assert_eq!(files.mark_used(index(1)), Some(index(2)));
        assert_eq!(files.evictions.get(), 2);
    }

    #[test]
    fn running_out_of_descriptors_halves_the_limit() {
        let mut files = OpenFiles::new(512, Arc::default());
        for position in 0..100 {
            assert_eq!(files.mark_used(index(position)), None);
        }
        assert!(!files.reduce_limit(&io::ErrorKind::StorageFull.into()));
        assert!(files.is_open(index(0)));
        let no_descriptor = io::Error::from_raw_os_error(Errno::MFILE.raw_os_error());
        assert!(files.reduce_limit(&no_descriptor));
        assert!(!files.is_open(index(0)));
        assert_eq!(files.limit, 100);
        assert!(files.reduce_limit(&no_descriptor));
        assert_eq!(files.limit, MIN_OPEN_FILES as usize);
    }
}
