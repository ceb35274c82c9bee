//! Lines that are not sealed: whether they are all that the journal says was written.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Verdict;
use crate::archive::ahead::each_chunk;
use crate::archive::digest::Digester;
use crate::archive::directory::HourEntry;
use crate::archive::journal::Entry;
use crate::archive::layout::Kind;
use crate::archive::progress::{Progress, Stopped};
use crate::archive::recover::{Claims, Finding};

/// Looks at the lines of an hour, which may be open and grow meanwhile.
pub(super) fn verify(
    dir: &Path,
    entry: &HourEntry,
    journal: &[Entry],
    progress: &Progress,
) -> Result<Option<Verdict>, Stopped> {
    progress.check()?;
    let claims = Claims::of(journal);
    let looked = File::open(entry.path(dir, Kind::Lines)).and_then(|file| {
        let finding = Finding::look(&file, &claims)?;
        Ok((finding, count(file)?))
    });
    let (finding, (messages, raw_bytes)) = match looked {
        Ok(looked) => looked,
        // Sealed meanwhile: the next one who asks sees it so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Ok(Some(Verdict::Unreadable { reason: format!("cannot be read: {error}") }));
        }
    };
    progress.advance(usize::try_from(raw_bytes).unwrap_or(usize::MAX))?;
    Ok(Some(match finding.trouble(&claims, messages) {
        Some(reason) => Verdict::Bad { reason },
        None => Verdict::Unsealed { messages, raw_bytes },
    }))
}

/// The number of lines, and their bytes.
fn count(file: File) -> io::Result<(u64, u64)> {
    let mut digester = Digester::new();
    each_chunk(file, |chunk| {
        digester.update(chunk);
        io::Result::Ok(())
    })?;
    let digest = digester.finish();
    Ok((digest.messages, digest.bytes))
}
