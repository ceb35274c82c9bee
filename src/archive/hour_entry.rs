//! An hour of a stem, and the files that it has in a directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file_info::FileInfo;
use super::file_lock::is_locked;
use super::file_name::{FileKind, FileName, Stem};
use crate::base::time::{Hour, UnixNanos};

/// Files of one hour of one stem.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HourEntry {
    /// First part of the file names.
    pub stem: Stem,
    /// The hour.
    pub hour: Hour,
    files: BTreeMap<FileKind, FileInfo>,
}

/// Progress of an hour from open to sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SealState {
    /// The hour is not over, or a process has its lines open for writing.
    Open,
    /// The hour is over, and lines of it wait to be sealed.
    Closed,
    /// All of its lines are sealed.
    Sealed,
}

impl HourEntry {
    /// Returns an hour without files.
    pub(super) fn new(stem: Stem, hour: Hour) -> Self {
        Self { stem, hour, files: BTreeMap::new() }
    }

    /// Adds a file.
    pub(super) fn insert_file(&mut self, kind: FileKind, info: FileInfo) {
        self.files.insert(kind, info);
    }

    /// Returns the metadata of the file of this kind; `None` if there is no such file.
    pub fn file(&self, kind: FileKind) -> Option<FileInfo> {
        self.files.get(&kind).copied()
    }

    /// Returns the kinds of the files.
    pub fn kinds(&self) -> impl Iterator<Item = FileKind> {
        self.files.keys().copied()
    }

    /// Returns the path that a file of this kind has, whether it exists or not.
    pub fn path(&self, dir: &Path, kind: FileKind) -> PathBuf {
        self.stem.path(dir, self.hour, kind)
    }

    /// Returns the name by which messages refer to the hour: that of its lines, else of its sealed
    /// file, else of another file.
    pub fn display_name(&self) -> String {
        // The kinds are in this order. An hour without files has the name that its lines would
        // have.
        let kind = self.files.keys().next().copied().unwrap_or(FileKind::Lines);
        FileName { stem: self.stem.clone(), hour: self.hour, kind }.to_string()
    }

    /// Returns the number of bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Returns the kinds of the files with lines that are not sealed, in the order of the lines.
    pub fn unsealed_kinds(&self) -> impl Iterator<Item = FileKind> {
        let parts = self.kinds().filter(|kind| matches!(kind, FileKind::Part(_)));
        let lines = self.files.contains_key(&FileKind::Lines).then_some(FileKind::Lines);
        parts.chain(lines)
    }

    /// Returns the number of bytes of the files with lines that are not sealed.
    pub fn unsealed_bytes(&self) -> u64 {
        self.unsealed_kinds().filter_map(|kind| self.file(kind)).map(|file| file.bytes).sum()
    }

    /// Returns whether the hour has lines, sealed or not.
    pub fn has_lines(&self) -> bool {
        self.unsealed_kinds().next().is_some() || self.files.contains_key(&FileKind::Sealed)
    }

    /// Returns the state of the hour. Probes the lock of its lines if the hour is over.
    pub fn seal_state(&self, dir: &Path, now: UnixNanos) -> SealState {
        if self.unsealed_kinds().next().is_none() {
            SealState::Sealed
        } else if self.hour.end() > now || is_locked(&self.path(dir, FileKind::Lines)) {
            SealState::Open
        } else {
            SealState::Closed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::archive::directory::Directory;

    #[test]
    fn an_hour_is_open_until_it_ends_and_its_lock_is_released() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a_3600.jsonl"), "").unwrap();
        let directory = Directory::read(dir.path()).unwrap();
        let state = |now| directory.hours[0].seal_state(dir.path(), UnixNanos::from_seconds(now));
        assert_eq!(
            (state(0), state(7199), state(7200)),
            (SealState::Open, SealState::Open, SealState::Closed)
        );
        let held = File::open(dir.path().join("a_3600.jsonl")).unwrap();
        held.lock().unwrap();
        assert_eq!(state(7200), SealState::Open);
    }
}
