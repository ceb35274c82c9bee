//! Reads the hours and the gaps of an archive that may consist of several directories.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry as WalkDirEntry, WalkDir};

use super::output::print_message;
use crate::archive::coverage::Coverage;
use crate::archive::directory::Directory;
use crate::archive::file_name::Stem;
use crate::archive::gaps::{Gap, HourGaps};
use crate::archive::hour_entry::HourEntry;
use crate::archive::journal::JournalEntry;
use crate::base::time::{Hour, UnixNanos};

/// Levels of directories below that are searched for hours where there are none.
const MAX_DEPTH: usize = 3;
/// Number of directories that are searched.
const MAX_SEARCHED: usize = 1000;
/// Number of directories that are named.
const MAX_NAMED: usize = 5;

/// The directories of an archive.
pub(super) struct ArchiveReader {
    dirs: Vec<PathBuf>,
}

/// An hour and its directory.
pub(super) struct LocatedHour<'a> {
    pub(super) dir: &'a Path,
    pub(super) entry: HourEntry,
}

/// An hour with its journal and its gaps.
pub(super) struct CoveredHour<'a> {
    pub(super) dir: &'a Path,
    pub(super) entry: HourEntry,
    pub(super) journal: Vec<JournalEntry>,
    pub(super) gaps: HourGaps,
}

/// A gap with its stem and its directory.
pub(super) struct StemGap<'a> {
    pub(super) dir: &'a Path,
    pub(super) stem: Stem,
    pub(super) gap: Gap,
}

/// The hours and the gaps of all directories, each in the order of time.
pub(super) struct ArchiveCoverage<'a> {
    pub(super) hours: Vec<CoveredHour<'a>>,
    pub(super) gaps: Vec<StemGap<'a>>,
    /// The directories that no recorder holds, whose last hour is over.
    ended: Vec<EndedDirectory<'a>>,
}

/// A directory that no recorder holds, perhaps a copy.
struct EndedDirectory<'a> {
    dir: &'a Path,
    known_until: UnixNanos,
}

impl ArchiveCoverage<'_> {
    /// Tells people where the account of directories ends that no recorder holds.
    pub(super) fn print_ends(&self) {
        for EndedDirectory { dir, known_until } in &self.ended {
            print_message(&format!(
                "no recorder holds `{}`: nothing is known after {known_until}, and no later hour counts",
                dir.display()
            ));
        }
    }
}

impl ArchiveReader {
    pub(super) fn new(dirs: Vec<PathBuf>) -> Self {
        Self { dirs }
    }

    /// Returns the name of a stem: with its directory if the archive has several.
    pub(super) fn label(&self, dir: &Path, stem: &Stem) -> String {
        match self.dirs.len() {
            0 | 1 => stem.as_str().to_owned(),
            _ => dir.join(stem.as_str()).display().to_string(),
        }
    }

    /// Returns a message that there are no hours, with the directories below that have some.
    pub(super) fn describe_absence(&self) -> String {
        let below = |dir| WalkDir::new(dir).min_depth(1).max_depth(MAX_DEPTH).sort_by_file_name();
        let entries =
            self.dirs.iter().flat_map(|dir| below(dir).into_iter().filter_map(Result::ok));
        let dirs = entries.filter(|entry| entry.file_type().is_dir()).take(MAX_SEARCHED);
        let has_hours =
            |dir: &Path| Directory::read(dir).is_ok_and(|found| !found.hours.is_empty());
        let found = dirs.map(WalkDirEntry::into_path).filter(|dir| has_hours(dir));
        let found: Vec<_> = found.take(MAX_NAMED).map(|dir| dir.display().to_string()).collect();
        let searched = self.dirs.iter().map(|dir| format!("`{}`", dir.display()));
        let searched = searched.collect::<Vec<_>>().join(", ");
        if found.is_empty() {
            return format!("there are no hours in {searched}");
        }
        format!("there are no hours in {searched}; `--dir` may be {}", found.join(", "))
    }

    /// Reads every hour of every directory, ordered by time and then by stem.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub(super) fn hours(&self) -> anyhow::Result<Vec<LocatedHour<'_>>> {
        let mut hours = Vec::new();
        for dir in &self.dirs {
            let entries = Directory::read(dir)?.hours;
            hours.extend(entries.into_iter().map(|entry| LocatedHour { dir, entry }));
        }
        hours.sort_by(|a, b| (a.entry.hour, &a.entry.stem).cmp(&(b.entry.hour, &b.entry.stem)));
        Ok(hours)
    }

    /// Reads every hour with its journal, and derives the gaps of each stem.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub(super) fn read_coverage(&self, now: UnixNanos) -> anyhow::Result<ArchiveCoverage<'_>> {
        let mut hours = Vec::new();
        let mut gaps = Vec::new();
        let mut ended = Vec::new();
        for dir in &self.dirs {
            let entries = Directory::read(dir)?.into_all_hours();
            let mut coverage = Coverage::read(dir, &entries, now, available_cores());
            let is_over = |until: &UnixNanos| Hour::containing(*until).end() <= now;
            let known_until = coverage.known_until.filter(is_over);
            ended.extend(known_until.map(|known_until| EndedDirectory { dir, known_until }));
            let records = std::mem::take(&mut coverage.records);
            for (entry, record) in entries.into_iter().zip(records) {
                let gaps = coverage.gaps_in_hour(&entry.stem, entry.hour);
                // An hour without a journal has no entries; the coverage counts it as unknown.
                let journal = record.journal.unwrap_or_default();
                hours.push(CoveredHour { dir, entry, journal, gaps });
            }
            for (stem, stem_gaps) in coverage.gaps {
                let to_stem_gap = |gap| StemGap { dir, stem: stem.clone(), gap };
                gaps.extend(stem_gaps.into_iter().map(to_stem_gap));
            }
        }
        hours.sort_by(|a, b| (a.entry.hour, &a.entry.stem).cmp(&(b.entry.hour, &b.entry.stem)));
        gaps.sort_by(|a, b| (a.gap.from, &a.stem).cmp(&(b.gap.from, &b.stem)));
        Ok(ArchiveCoverage { hours, gaps, ended })
    }
}

/// Returns the number of threads that can run at the same time.
pub(super) fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
