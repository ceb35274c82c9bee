//! The directories of an archive, with the section `archive` of the configuration.

use std::path::PathBuf;

use super::archive_config::ArchiveConfig;
use crate::archive::job::Job;

/// The directories that hold hours, and what the configuration says about closed hours in them.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveLocation {
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) config: ArchiveConfig,
}

impl ArchiveLocation {
    /// Returns one archive job per directory.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Job> {
        self.dirs.iter().map(|dir| self.config.job(dir.clone()))
    }
}
