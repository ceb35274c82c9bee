//! The flags that locate the archive, for commands that work on it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::archive_reader::ArchiveReader;
use super::cli_error::CliError;
use super::path_arg::path_parser;
use crate::config::{ArchiveConfig, ArchiveLocation, Config};
use crate::registry::Registry;

#[derive(Args)]
pub(super) struct ArchiveLocationArgs {
    /// Directory of the hours; the default is each directory that the configuration names
    #[arg(long, value_name = "DIR", conflicts_with = "config", value_parser = path_parser())]
    dir: Option<PathBuf>,
}

impl ArchiveLocationArgs {
    /// Returns the directories of the archive, and the section `archive` of the configuration or its
    /// defaults.
    pub(super) fn resolve(
        &self,
        config: &Path,
        registry: &Registry,
    ) -> Result<ArchiveLocation, CliError> {
        match &self.dir {
            Some(dir) => {
                let dirs = vec![dir.clone()];
                Ok(ArchiveLocation { dirs, config: ArchiveConfig::default() })
            }
            None => Ok(Config::load_archive(config, registry)?),
        }
    }

    /// Returns whether the directories are those of the configuration.
    pub(super) fn uses_config(&self) -> bool {
        self.dir.is_none()
    }

    /// Returns a reader for the directories of the archive.
    pub(super) fn reader(
        &self,
        config: &Path,
        registry: &Registry,
    ) -> Result<ArchiveReader, CliError> {
        Ok(ArchiveReader::new(self.resolve(config, registry)?.dirs))
    }
}
