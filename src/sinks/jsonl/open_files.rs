//! The limit on open files.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::recency_list::RecencyList;
use super::writer_index::WriterIndex;
use crate::base::descriptors::{share_of_files, shortages};
use crate::metrics::Counter;

/// Lower bound of `max_open_files`.
pub(super) const MIN_OPEN_FILES: u32 = 16;
/// Files that a writer has open: lines and journal.
const FILES_PER_WRITER: usize = 2;
/// Time without a shortage of descriptors after which more files are kept open again.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(60);

/// The writers that have files open, of which the least recently used one makes room for another.
#[derive(Debug)]
pub(super) struct OpenFiles {
    /// Maximum number of open files; with less than those of one writer, its files are closed after
    /// each use.
    limit: usize,
    /// `max_open_files`, or the share of the process's descriptors if that is less.
    max: usize,
    /// Number of sinks that share the descriptors.
    holders: usize,
    /// `true` if the process may open fewer files than `max_open_files`, and that is not logged yet.
    is_share_unlogged: bool,
    /// Number of shortages of descriptors that are known.
    seen_shortages: u64,
    limit_changed_at: Instant,
    /// The writers that have files open.
    writers: RecencyList,
    /// Number of times that files were closed to make room for others.
    evictions: Arc<Counter>,
}

impl OpenFiles {
    /// Returns an empty list that allows `max_open_files` files. `holders` sinks share the
    /// descriptors of the process.
    pub(super) fn new(max_open_files: u32, holders: usize, evictions: Arc<Counter>) -> Self {
        let max = max_open_files as usize;
        Self {
            limit: max,
            max,
            holders,
            is_share_unlogged: false,
            seen_shortages: shortages(),
            limit_changed_at: Instant::now(),
            writers: RecencyList::new(),
            evictions,
        }
    }

    /// Lowers the limit to this sink's share of the descriptors that the process may have.
    pub(super) fn limit_to_share(&mut self) {
        let share = share_of_files(self.holders).max(FILES_PER_WRITER);
        if share < self.max {
            self.max = share;
            self.limit = share;
            self.is_share_unlogged = true;
        }
    }

    /// Marks the files of the writer as open and just used. Returns the writer that was not used
    /// for the longest time, whose files must be closed, if there are too many open files now.
    pub(super) fn mark_used(&mut self, index: WriterIndex) -> Option<WriterIndex> {
        if self.writers.touch(index) || self.open_files() <= self.limit {
            return None;
        }
        let oldest = self.writers.pop_oldest()?;
        self.evictions.add(1);
        if std::mem::take(&mut self.is_share_unlogged) {
            warn!(
                files = self.max,
                "the process may open fewer files than there are topics: files are closed, and opened again for their next line; raise the limit (`ulimit -n`, `LimitNOFILE=`)"
            );
        }
        Some(oldest)
    }

    fn open_files(&self) -> usize {
        self.writers.len() * FILES_PER_WRITER
    }

    /// Returns whether the files of the writer count as open.
    pub(super) fn is_open(&self, index: WriterIndex) -> bool {
        self.writers.contains(index)
    }

    /// Halves the limit when there were more `shortages` of descriptors since the last call, whatever
    /// for. Returns the writers whose files must be closed then.
    pub(super) fn react_to_shortages(&mut self, shortages: u64) -> Vec<WriterIndex> {
        if shortages == self.seen_shortages {
            if self.limit < self.max && self.limit_changed_at.elapsed() >= RECOVERY_INTERVAL {
                self.limit = (self.limit * 2).max(FILES_PER_WRITER).min(self.max);
                self.limit_changed_at = Instant::now();
            }
            return Vec::new();
        }
        self.seen_shortages = shortages;
        let is_first = self.limit == self.max;
        self.limit = self.open_files().min(self.limit) / 2;
        self.limit_changed_at = Instant::now();
        if is_first {
            warn!(
                files = self.limit,
                "the process, or the system, may open no more files: fewer are kept open; raise the limit (`ulimit -n`, `LimitNOFILE=`, `fs.file-max`)"
            );
        }
        std::iter::from_fn(|| self.writers.pop_oldest()).collect()
    }

    /// Returns whether the process may open fewer files than its sinks keep open.
    pub(super) fn may_run_short(&self) -> bool {
        share_of_files(self.holders).max(FILES_PER_WRITER) <= self.max || self.limit < self.max
    }

    /// Returns whether the files of a writer are to be closed after each use.
    pub(super) fn keeps_none(&self) -> bool {
        self.limit < FILES_PER_WRITER
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
        let mut files = OpenFiles::new(6, 1, Arc::default());
        for position in [0, 1, 2, 0] {
            assert_eq!(files.mark_used(index(position)), None);
        }
        assert_eq!(files.mark_used(index(3)), Some(index(1)));
        assert!(!files.is_open(index(1)) && files.is_open(index(0)));
        assert_eq!(files.mark_used(index(1)), Some(index(2)));
        assert_eq!(files.evictions.get(), 2);
    }

    #[test]
    fn running_out_of_descriptors_halves_the_limit_until_none_is_kept() {
        let mut files = OpenFiles::new(512, 1, Arc::default());
        for position in 0..100 {
            assert_eq!(files.mark_used(index(position)), None);
        }
        let known = files.seen_shortages;
        assert_eq!(files.react_to_shortages(known), []);
        assert_eq!(files.react_to_shortages(known + 3).len(), 100);
        assert!(!files.is_open(index(0)));
        assert_eq!(files.limit, 100);
        assert_eq!(files.react_to_shortages(known + 4), []);
        assert!(files.keeps_none());
    }
}
