//! The names and globs that select stems.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::anyhow;
use glob::Pattern;

use super::archive_reader::ArchiveReader;
use super::cli_error::CliError;
use crate::archive::file_name::Stem;
use crate::base::suggest::did_you_mean;

/// The names and globs that select stems. None select every stem.
pub(super) struct StemPatterns<'a> {
    archive: &'a ArchiveReader,
    names: &'a [String],
}

impl<'a> StemPatterns<'a> {
    /// Takes the names and globs, and checks them against the stems that the archive has.
    ///
    /// # Errors
    /// A name or a glob selects nothing, or a name is in several directories.
    pub(super) fn checked<'s>(
        archive: &'a ArchiveReader,
        names: &'a [String],
        known: impl Iterator<Item = (&'s Path, &'s Stem)>,
    ) -> Result<Self, CliError> {
        let known: BTreeSet<_> = if names.is_empty() { BTreeSet::new() } else { known.collect() };
        for name in names {
            check_name(archive, &known, name)?;
        }
        Ok(Self { archive, names })
    }

    /// Returns whether the stem of this directory is selected.
    pub(super) fn select(&self, dir: &Path, stem: &Stem) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|name| matches_stem(self.archive, dir, stem, name))
    }
}

/// Returns whether `name` is the stem, its topic or its label, or a glob that one of them matches.
fn matches_stem(archive: &ArchiveReader, dir: &Path, stem: &Stem, name: &str) -> bool {
    let names = [Some(stem.as_str().to_owned()), stem.to_topic(), Some(archive.label(dir, stem))];
    // A topic may hold the characters of a glob, and is a name then, too.
    let pattern = Pattern::new(name).ok();
    let mut names = names.iter().flatten();
    names.any(|known| known == name || pattern.as_ref().is_some_and(|glob| glob.matches(known)))
}

/// Checks that `name` selects a stem, and exactly one if it is no glob.
fn check_name(
    archive: &ArchiveReader,
    known: &BTreeSet<(&Path, &Stem)>,
    name: &str,
) -> Result<(), CliError> {
    let found = known.iter().filter(|(dir, stem)| matches_stem(archive, dir, stem, name));
    let labels: BTreeSet<_> = found.map(|(dir, stem)| archive.label(dir, stem)).collect();
    let is_glob = name.contains(['*', '?', '[']);
    match labels.len() {
        0 if Path::new(name).is_dir() => {
            Err(anyhow!("there is no stem `{name}`; for a directory write `--dir {name}`").into())
        }
        0 => {
            let hint = did_you_mean(name, known.iter().map(|(_, stem)| stem.as_str()));
            Err(anyhow!("there is no hour of `{name}`{hint}; `streamer ls` lists the hours").into())
        }
        1 => Ok(()),
        _ if is_glob => Ok(()),
        _ => {
            let labels = Vec::from_iter(labels).join(", ");
            Err(anyhow!("`{name}` is in several directories; write one of {labels}").into())
        }
    }
}
