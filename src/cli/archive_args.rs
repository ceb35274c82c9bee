//! Where a command that works on the archive finds it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use crate::archive::coverage::Coverage;
use crate::archive::directory::{Directory, HourEntry};
use crate::archive::file_name::Stem;
use crate::archive::gaps::{Gap, HourGaps};
use crate::archive::journal::JournalEntry;
use crate::base::time::UnixNanos;
use crate::config::{ArchiveConfig, Config};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct ArchiveLocationArgs {
    /// Directory of the hours; without it, the one that the config names
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
}

/// The directories, and what the configuration wants done there.
pub(super) struct ArchiveLocation {
    pub(super) dirs: Vec<PathBuf>,
    pub(super) archive: ArchiveConfig,
}

impl ArchiveLocationArgs {
    pub(super) fn resolve(
        &self,
        config: &Path,
        registry: &Registry,
    ) -> Result<ArchiveLocation, CliError> {
        if let Some(dir) = &self.dir {
            return Ok(ArchiveLocation {
                dirs: vec![dir.clone()],
                archive: ArchiveConfig::default(),
            });
        }
        let (archive, dirs) = Config::load_archive(config, registry)?;
        Ok(ArchiveLocation { dirs, archive })
    }
}

/// An hour, what its journal says, and the gaps that it has.
pub(super) struct ListedHour<'a> {
    pub(super) dir: &'a Path,
    pub(super) entry: HourEntry,
    pub(super) journal: Vec<JournalEntry>,
    pub(super) gaps: HourGaps,
}

/// A gap of a stem.
pub(super) struct StemGap<'a> {
    pub(super) dir: &'a Path,
    pub(super) stem: Stem,
    pub(super) gap: Gap,
}

/// Hours, and the gaps of each stem, both in the order of time.
pub(super) type ArchiveCoverage<'a> = (Vec<ListedHour<'a>>, Vec<StemGap<'a>>);

impl ArchiveLocation {
    /// What a stem is called: with its directory, where there are several.
    pub(super) fn label(&self, dir: &Path, stem: &Stem) -> String {
        match self.dirs.len() {
            0 | 1 => stem.as_str().to_owned(),
            _ => dir.join(stem.as_str()).display().to_string(),
        }
    }

    /// Every hour of every directory, in the order of time, those of the same hour by stem.
    pub(super) fn hours(&self) -> anyhow::Result<Vec<(&Path, HourEntry)>> {
        let mut hours = Vec::new();
        for dir in &self.dirs {
            let view = Directory::read(dir)?;
            hours.extend(view.hours.into_iter().map(|entry| (dir.as_path(), entry)));
        }
        hours.sort_by(|(_, a), (_, b)| (a.hour, &a.stem).cmp(&(b.hour, &b.stem)));
        Ok(hours)
    }

    /// The same with the account of each, and the gaps of each stem of each directory.
    pub(super) fn read_coverage(&self, now: UnixNanos) -> anyhow::Result<ArchiveCoverage<'_>> {
        let (mut hours, mut gaps) = (Vec::new(), Vec::new());
        for dir in &self.dirs {
            let entries = Directory::read(dir)?.hours;
            let mut account = Coverage::read(dir, &entries, now, available_cores());
            let records = std::mem::take(&mut account.records);
            for (entry, record) in entries.into_iter().zip(records) {
                let gaps = account.gaps_in_hour(&entry.stem, entry.hour);
                let journal = record.journal.unwrap_or_default();
                hours.push(ListedHour { dir, entry, journal, gaps });
            }
            for (stem, of_stem) in account.gaps {
                let found = |gap| StemGap { dir, stem: stem.clone(), gap };
                gaps.extend(of_stem.into_iter().map(found));
            }
        }
        hours.sort_by(|a, b| (a.entry.hour, &a.entry.stem).cmp(&(b.entry.hour, &b.entry.stem)));
        gaps.sort_by(|a, b| (a.gap.from, &a.stem).cmp(&(b.gap.from, &b.stem)));
        Ok((hours, gaps))
    }
}

/// How many threads there is work for.
pub(super) fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
