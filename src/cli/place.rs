//! Where a command that works on the archive finds it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::archive::directory::{Directory, HourEntry};
use crate::config::{ArchiveConfig, Config};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct PlaceArgs {
    /// Directory of the hours; without it, the one that the config names
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
}

/// The directories, and what the configuration wants done there.
pub(super) struct Place {
    pub(super) dirs: Vec<PathBuf>,
    pub(super) archive: ArchiveConfig,
}

impl PlaceArgs {
    pub(super) fn find(&self, config: &Path, registry: &Registry) -> Result<Place, Failure> {
        if let Some(dir) = &self.dir {
            return Ok(Place { dirs: vec![dir.clone()], archive: ArchiveConfig::default() });
        }
        let (archive, dirs) = Config::archive(config, registry)?;
        Ok(Place { dirs, archive })
    }
}

impl Place {
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
}
