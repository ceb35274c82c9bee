//! Lines that are not sealed: whether they are all that the journal says was written.

use std::fs::File;
use std::io;
use std::path::Path;

use super::HourVerdict;
use crate::archive::checkpoints::Checkpoints;
use crate::archive::digest::Digester;
use crate::archive::file_name::FileKind;
use crate::archive::hour_entry::HourEntry;
use crate::archive::journal::JournalEntry;
use crate::archive::progress::{Progress, Stopped};
use crate::archive::read_ahead::for_each_chunk;
use crate::archive::tail_scan::TailScan;

/// Looks at the lines of an hour, which may be open and grow meanwhile.
pub(super) fn verify_unsealed(
    dir: &Path,
    entry: &HourEntry,
    journal: &[JournalEntry],
    progress: &Progress,
) -> Result<Option<HourVerdict>, Stopped> {
    progress.check_stopped()?;
    let claims = Checkpoints::from_journal(journal);
    let looked = File::open(entry.path(dir, FileKind::Lines)).and_then(|file| {
        let finding = TailScan::scan(&file, &claims)?;
        Ok((finding, count_file_lines(file)?))
    });
    let (finding, (messages, raw_bytes)) = match looked {
        Ok(looked) => looked,
        // Sealed meanwhile: the next one who asks sees it so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Ok(Some(HourVerdict::Unreadable {
                reason: format!("cannot be read: {error}"),
            }));
        }
    };
    progress.advance(usize::try_from(raw_bytes).unwrap_or(usize::MAX))?;
    Ok(Some(match finding.describe_damage(&claims, messages) {
        Some(reason) => HourVerdict::Bad { reason },
        None => HourVerdict::Unsealed { messages, raw_bytes },
    }))
}

/// The number of lines, and their bytes.
fn count_file_lines(file: File) -> io::Result<(u64, u64)> {
    let mut digester = Digester::new();
    for_each_chunk(file, |chunk| {
        digester.update(chunk);
        io::Result::Ok(())
    })?;
    let digest = digester.finish();
    Ok((digest.messages, digest.bytes))
}
