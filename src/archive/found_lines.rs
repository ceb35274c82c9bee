//! The lines that the files of an hour have, by their sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;

use super::file_name::FileKind;
use super::hour_entry::HourEntry;
use super::journal::{self, JournalEntry, SealRecord};
use super::zstd_frame;

/// The lines that the files of an hour have.
#[derive(Debug, Default)]
pub(super) struct FoundLines {
    pub(super) sealed: SealedContent,
    /// Number of bytes of the files with lines that are not sealed.
    pub(super) unsealed: BTreeMap<FileKind, u64>,
}

/// The content of the sealed file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SealedContent {
    /// There is no sealed file.
    #[default]
    Absent,
    /// There is no sealed file, and a file of lines begins with all that was sealed: somebody has
    /// decompressed it.
    Decompressed(FileKind),
    /// There is a file, and the number of its lines is not known.
    Unknown,
    /// Number of bytes of lines.
    Bytes(u64),
}

impl FoundLines {
    /// Looks up the sizes of the files: those that were listed, and those of these kinds. The sealed
    /// file decodes to `sealed_bytes` if that is known.
    ///
    /// # Errors
    /// A file cannot be looked at.
    pub(super) fn look_up(
        dir: &Path,
        entry: &HourEntry,
        kinds: impl Iterator<Item = FileKind>,
        journal: &[JournalEntry],
        sealed_bytes: Option<u64>,
    ) -> io::Result<Self> {
        let kinds: BTreeSet<_> = entry.unsealed_kinds().chain(kinds).collect();
        let mut unsealed = BTreeMap::new();
        for kind in kinds {
            if let Some(length) = length_if_exists(&entry.path(dir, kind))? {
                unsealed.insert(kind, length);
            }
        }
        let mut found = Self { sealed: SealedContent::Absent, unsealed };
        found.sealed = match (sealed_bytes, open_if_exists(&entry.path(dir, FileKind::Sealed))?) {
            (Some(bytes), _) => SealedContent::Bytes(bytes),
            (None, Some(file)) => sealed_content(&file, &journal::seal_records(journal))?,
            (None, None) => found.find_decompressed(dir, entry, journal)?,
        };
        Ok(found)
    }

    /// Looks for a file of lines that begins with everything that was sealed last.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn find_decompressed(
        &self,
        dir: &Path,
        entry: &HourEntry,
        journal: &[JournalEntry],
    ) -> io::Result<SealedContent> {
        let Some(record) = journal::sealed_records(journal).next_back() else {
            return Ok(SealedContent::Absent);
        };
        for (kind, length) in &self.unsealed {
            let file = open_if_exists(&entry.path(dir, *kind))?;
            if let Some(file) = file
                && journal::has_sealed_prefix(record, &file, *length)?
            {
                return Ok(SealedContent::Decompressed(*kind));
            }
        }
        Ok(SealedContent::Absent)
    }
}

/// Determines the content of the sealed file by the record that fits its size, or by its frames.
fn sealed_content(file: &File, records: &[SealRecord]) -> io::Result<SealedContent> {
    let length = file.metadata()?.len();
    if let Some(record) = records.iter().rev().find(|record| record.stored_bytes == length) {
        return Ok(SealedContent::Bytes(record.raw_bytes));
    }
    Ok(zstd_frame::content_bytes(file)?.map_or(SealedContent::Unknown, SealedContent::Bytes))
}

fn length_if_exists(path: &Path) -> io::Result<Option<u64>> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_if_exists(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
