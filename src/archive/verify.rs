//! Proving sealed hours: decode, count, hash, and compare with what was recorded at sealing.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::compress::{Decoded, decode};
use super::directory::HourEntry;
use super::journal::{self, SealRecord};
use super::layout::Kind;
use super::progress::{Progress, Stopped};
use super::workers::for_each;

/// What was found out about a sealed hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It is what was recorded.
    Intact {
        /// The number of its lines.
        messages: u64,
        /// Their bytes.
        raw_bytes: u64,
    },
    /// It decodes to whole lines, but nobody recorded what they should be. The next archive run
    /// records it.
    Unrecorded {
        /// The number of its lines.
        messages: u64,
        /// Their bytes.
        raw_bytes: u64,
    },
    /// It is not what it should be.
    Bad {
        /// What is wrong, for people.
        reason: String,
    },
}

/// Whether there is something to verify: a sealed file, or the record of one.
pub fn is_sealed(entry: &HourEntry) -> bool {
    entry.file(Kind::Sealed).is_some()
        || entry.file(Kind::Journal).is_some() && entry.file(Kind::Lines).is_none()
}

/// Verifies one hour. `None` when its journal shows that it never was sealed.
///
/// # Errors
/// [`Stopped`], when told to.
pub fn verify(
    dir: &Path,
    entry: &HourEntry,
    progress: &Progress,
) -> Result<Option<Verdict>, Stopped> {
    match examine(dir, entry, progress) {
        Ok(verdict) => Ok(verdict),
        Err(Failed::Stopped) => Err(Stopped),
        Err(Failed::Bad(reason)) => Ok(Some(Verdict::Bad { reason })),
    }
}

/// Verifies hours, several at once, and hands each verdict to `done` as it comes. Ends early when
/// told to stop.
pub fn verify_all<'a>(
    hours: Vec<(&'a Path, HourEntry)>,
    threads: usize,
    progress: &Progress,
    mut done: impl FnMut(&'a Path, HourEntry, Verdict),
) {
    for_each(
        hours,
        threads,
        |(dir, entry)| {
            let verdict = verify(dir, &entry, progress);
            (dir, entry, verdict)
        },
        |(dir, entry, verdict)| {
            if let Ok(Some(verdict)) = verdict {
                done(dir, entry, verdict);
            }
        },
    );
}

enum Failed {
    Stopped,
    Bad(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Bad(format!("cannot be decoded: {error}"))
    }
}

fn examine(dir: &Path, entry: &HourEntry, progress: &Progress) -> Result<Option<Verdict>, Failed> {
    let journal = journal::read(&entry.path(dir, Kind::Journal))
        .map_err(|error| Failed::Bad(format!("its journal cannot be read: {error}")))?;
    let records = journal::records(journal);
    let file = match File::open(entry.path(dir, Kind::Sealed)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match records.last() {
                Some(record) => Err(Failed::Bad(format!(
                    "the file is gone; it held {} messages",
                    record.messages
                ))),
                None => Ok(None),
            };
        }
        Err(error) => return Err(Failed::Bad(format!("cannot be opened: {error}"))),
    };
    let mut raw_bytes = 0_u64;
    let decoded = decode(file, |chunk| {
        raw_bytes += chunk.len() as u64;
        progress.advance(chunk.len()).map_err(|Stopped| Failed::Stopped)
    });
    let decoded = decoded.map_err(|failed| match failed {
        Failed::Bad(reason) => Failed::Bad(format!("{reason}, after {raw_bytes} bytes of lines")),
        Failed::Stopped => Failed::Stopped,
    })?;
    judge(&decoded, &records).map(Some).map_err(Failed::Bad)
}

fn judge(decoded: &Decoded, records: &[SealRecord]) -> Result<Verdict, String> {
    let (messages, raw_bytes) = (decoded.lines.messages, decoded.lines.bytes);
    if !decoded.lines.whole {
        return Err("its last line has no line feed".to_owned());
    }
    let Some(record) = records.last() else {
        return Ok(Verdict::Unrecorded { messages, raw_bytes });
    };
    if messages != record.messages || raw_bytes != record.raw_bytes {
        return Err(format!(
            "it holds {messages} messages in {raw_bytes} bytes, {} in {} were sealed",
            record.messages, record.raw_bytes
        ));
    }
    if decoded.lines.sha256 != record.raw_sha256 {
        return Err("its lines are not those that were sealed: the SHA-256 differs".to_owned());
    }
    // What is sealed only grows. It is less when a corrupt file was set aside.
    if let Some(more) = records.iter().find(|earlier| earlier.raw_bytes > raw_bytes) {
        return Err(format!(
            "{} messages were sealed once, {messages} are left; a corrupt file may be kept beside it",
            more.messages
        ));
    }
    // The lines are right, so a file that was compressed anew is as good.
    Ok(Verdict::Intact { messages, raw_bytes })
}
