//! Verification of lines that are not sealed.

use std::fs::File;
use std::io;
use std::path::Path;

use super::hour_verdict::HourVerdict;
use crate::archive::checkpoints::Checkpoints;
use crate::archive::digest::Digester;
use crate::archive::file_name::FileKind;
use crate::archive::hour_entry::HourEntry;
use crate::archive::journal::JournalEntry;
use crate::archive::line_position::LinePosition;
use crate::archive::progress::{Progress, Stopped};
use crate::archive::read_ahead::for_each_chunk;
use crate::archive::recorded_lines::RecordedLines;
use crate::archive::tail_scan::TailScan;

/// Checks that an hour's unsealed lines, which may grow meanwhile, are all that the journal records.
/// Returns `None` if the hour has no unsealed lines any more.
pub(super) fn verify_unsealed(
    dir: &Path,
    entry: &HourEntry,
    journal: &[JournalEntry],
    progress: &Progress,
) -> Result<Option<HourVerdict>, Stopped> {
    progress.check_stopped()?;
    let parts = match verify_parts(dir, entry, &RecordedLines::from_journal(journal)) {
        Ok(parts) => parts,
        Err(verdict) => return Ok(Some(verdict)),
    };
    if entry.file(FileKind::Lines).is_none() {
        let LinePosition { bytes: raw_bytes, messages } = parts;
        return Ok(Some(HourVerdict::Unsealed { messages, raw_bytes }));
    }
    let checkpoints = Checkpoints::from_journal(journal);
    let scanned = File::open(entry.path(dir, FileKind::Lines)).and_then(|file| {
        let scan = TailScan::scan(&file, &checkpoints)?;
        Ok((scan, file_end(file)?))
    });
    let (scan, end) = match scanned {
        Ok(scanned) => scanned,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let reason = format!("cannot be read: {error}");
            return Ok(Some(HourVerdict::Unreadable { reason }));
        }
    };
    let LinePosition { bytes: raw_bytes, messages } = end;
    progress.advance(usize::try_from(raw_bytes).unwrap_or(usize::MAX))?;
    Ok(Some(match scan.describe_damage(&checkpoints, messages) {
        Some(reason) => HourVerdict::Bad { reason },
        None => HourVerdict::Unsealed {
            messages: parts.messages + messages,
            raw_bytes: parts.bytes + raw_bytes,
        },
    }))
}

/// Checks that the parts of the hour are all that the journal records. Returns their sum.
///
/// # Errors
/// The verdict on a part that is not.
fn verify_parts(
    dir: &Path,
    entry: &HourEntry,
    recorded: &RecordedLines,
) -> Result<LinePosition, HourVerdict> {
    let mut sum = LinePosition::default();
    for kind in entry.unsealed_kinds() {
        let FileKind::Part(number) = kind else { continue };
        let path = entry.path(dir, kind);
        let end = match File::open(&path).and_then(file_end) {
            Ok(end) => end,
            // It was sealed since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let reason = format!("its part {number} cannot be read: {error}");
                return Err(HourVerdict::Unreadable { reason });
            }
        };
        if let Some(recorded) = recorded.end(kind)
            && (recorded.messages > end.messages || recorded.bytes > end.bytes)
        {
            let reason = format!(
                "its journal says that part {number} has {} messages, and it holds {}",
                recorded.messages, end.messages
            );
            return Err(HourVerdict::Bad { reason });
        }
        sum.messages += end.messages;
        sum.bytes += end.bytes;
    }
    Ok(sum)
}

/// Returns the position of the end of the file.
fn file_end(file: File) -> io::Result<LinePosition> {
    let mut digester = Digester::new();
    for_each_chunk(file, |chunk| {
        digester.update(chunk);
        io::Result::Ok(())
    })?;
    Ok(LinePosition { bytes: digester.bytes(), messages: digester.messages() })
}
