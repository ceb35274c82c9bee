//! The comparison of an hour's files with all lines that its journal records.

use std::fs::File;
use std::io;
use std::path::Path;

use super::digest::digest_prefix;
use super::file_name::{FileKind, FileName};
use super::found_lines::FoundLines;
use super::hour_entry::HourEntry;
use super::journal::{self, JournalEntry};
use super::missing_lines::MissingLines;
use super::recorded_lines::RecordedLines;

/// Returns the lines that the journal of an hour records and its files do not have, in the order of
/// the lines. A sealed file is judged by its size, unless `sealed_bytes` is known: the number of
/// bytes that it decodes to.
///
/// The hour may be recorded, continued, sealed or removed meanwhile: the journal is written before
/// lines lose their names, so that lines are missing if it says the same before and after the look
/// at the files.
///
/// # Errors
/// The journal or a file cannot be read.
pub(super) fn find_missing_lines(
    dir: &Path,
    entry: &HourEntry,
    sealed_bytes: Option<u64>,
) -> io::Result<Vec<MissingLines>> {
    let read_journal = || journal::read(&entry.path(dir, FileKind::Journal));
    let mut journal = read_journal()?;
    loop {
        let mut missing = missing_by(&journal, dir, entry, sealed_bytes)?;
        if missing.is_empty() {
            return Ok(missing);
        }
        let again = read_journal()?;
        if again == journal {
            for lines in &mut missing {
                count_lost(dir, entry, lines);
            }
            return Ok(missing);
        }
        journal = again;
    }
}

/// Returns the number of bytes of lines that the file at `path` should have; `None` if it is no file of
/// lines of an archive, or no journal beside it says.
pub(crate) fn recorded_bytes(path: &Path) -> Option<u64> {
    let name = FileName::parse(path.file_name()?.to_str()?)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let journal = journal::read(&name.stem.path(dir, name.hour, FileKind::Journal)).ok()?;
    RecordedLines::from_journal(&journal).end(name.kind).map(|end| end.bytes)
}

/// Counts the missing messages where the journal alone does not tell. The number for a file that
/// cannot be read is unknown.
fn count_lost(dir: &Path, entry: &HourEntry, missing: &mut MissingLines) {
    let MissingLines { kind, found_bytes, messages, lost, .. } = missing;
    if lost.is_some() || *kind == FileKind::Sealed {
        return;
    }
    let digest = File::open(entry.path(dir, *kind)).and_then(|it| digest_prefix(&it, *found_bytes));
    *lost = digest.ok().map(|found| messages.saturating_sub(found.messages));
}

/// Returns the lines that this journal records and the files do not have now.
///
/// # Errors
/// A file cannot be read.
pub(super) fn missing_by(
    journal: &[JournalEntry],
    dir: &Path,
    entry: &HourEntry,
    sealed_bytes: Option<u64>,
) -> io::Result<Vec<MissingLines>> {
    let recorded = RecordedLines::from_journal(journal);
    if !recorded.has_lines() {
        return Ok(Vec::new());
    }
    let kinds = recorded.unsealed_kinds();
    let found = FoundLines::look_up(dir, entry, kinds, journal, sealed_bytes)?;
    Ok(recorded.missing(&found))
}
