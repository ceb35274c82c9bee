//! Verification of hours: decodes sealed lines, and compares their number and hashes with the
//! journal.

mod hour_verdict;
mod index_check;
mod mark_positions;
mod prefix_hashes;
mod unsealed;

use std::fs::File;
use std::io;
use std::path::Path;

pub use self::hour_verdict::HourVerdict;
use self::index_check::IndexCheck;
use self::mark_positions::mark_positions;
use self::prefix_hashes::{PositionMismatch, PrefixHashes};
use self::unsealed::verify_unsealed;
use super::checkpoints::Checkpoints;
use super::completeness::find_missing_lines;
use super::decode::{decode_and_hash, is_corruption};
use super::digest::LinesDigest;
use super::file_name::{FileKind, FileName};
use super::hour_entry::{HourEntry, SealState};
use super::journal::{self, JournalEntry, SealRecord};
use super::line_position::LinePosition;
use super::missing_lines::MissingLines;
use super::parallel::parallel_for_each;
use super::progress::{Progress, Stopped};
use super::tail_repair::FileTail;
use crate::base::time::UnixNanos;

/// Verifies hours on several threads and passes each verdict to `done` as it is reached. Hours
/// without lines have none.
///
/// # Errors
/// [`Stopped`] if the work was stopped, so that verdicts are missing.
pub fn verify_hours<'a>(
    hours: Vec<(&'a Path, HourEntry)>,
    threads: usize,
    now: UnixNanos,
    progress: &Progress,
    mut done: impl FnMut(&'a Path, HourEntry, HourVerdict),
) -> Result<(), Stopped> {
    let mut result = Ok(());
    parallel_for_each(
        hours,
        threads,
        |(dir, entry)| {
            let verdict = verify_hour(dir, &entry, now, progress);
            (dir, entry, verdict)
        },
        |(dir, entry, verdict)| match verdict {
            Ok(Some(verdict)) => done(dir, entry, verdict),
            Ok(None) => {}
            Err(stopped) => result = Err(stopped),
        },
    );
    result
}

/// Verifies one hour. Returns `None` if the hour has no lines: none were recorded, or retention has
/// removed them.
///
/// # Errors
/// [`Stopped`] if the work was stopped.
pub fn verify_hour(
    dir: &Path,
    entry: &HourEntry,
    now: UnixNanos,
    progress: &Progress,
) -> Result<Option<HourVerdict>, Stopped> {
    let lines = match entry.unsealed_kinds().next() {
        Some(_) => UnsealedLines::Listed,
        None => UnsealedLines::Absent,
    };
    let verified = match verify_files(dir, entry, lines, progress)? {
        // They were sealed or removed since the directory was listed, so that there is a sealed file
        // or an event of the removal.
        Verification::LinesGone => verify_files(dir, entry, UnsealedLines::Absent, progress)?,
        verified => verified,
    };
    let verdict = match verified {
        Verification::Verdict(verdict) => Some(verdict),
        Verification::NoLines | Verification::LinesGone => None,
    };
    if matches!(verdict, Some(HourVerdict::Bad { .. } | HourVerdict::Unreadable { .. })) {
        return Ok(verdict);
    }
    let incomplete = verify_completeness(dir, entry, verdict.as_ref());
    let unterminated = || {
        let is_over = matches!(verdict, Some(HourVerdict::Unsealed { .. }))
            && entry.seal_state(dir, now) == SealState::Closed;
        is_over.then(|| verify_last_line(dir, entry)).flatten()
    };
    Ok(incomplete.or_else(unterminated).or(verdict))
}

/// Checks that lines that the recorder closed end with a line feed: no crash explains that they do
/// not. Returns the verdict if they do not.
fn verify_last_line(dir: &Path, entry: &HourEntry) -> Option<HourVerdict> {
    let entries = journal::read(&entry.path(dir, FileKind::Journal)).unwrap_or_default();
    let checkpoints = Checkpoints::from_journal(&entries);
    let file = File::open(entry.path(dir, FileKind::Lines)).ok()?;
    let tail = FileTail::read(&file).ok().filter(|tail| !tail.is_intact())?;
    checkpoints.is_closed().then(|| HourVerdict::Bad {
        reason: format!(
            "its last {} bytes have no line feed; `streamer archive` repairs that",
            tail.length - tail.lines_end
        ),
    })
}

/// Checks that the hour has all files that its journal records, with all of their lines. Returns the
/// verdict if it has not.
fn verify_completeness(
    dir: &Path,
    entry: &HourEntry,
    verdict: Option<&HourVerdict>,
) -> Option<HourVerdict> {
    let sealed_bytes = match verdict {
        // The hashes of others were compared with the journal.
        Some(HourVerdict::Unrecorded { raw_bytes, .. }) => Some(*raw_bytes),
        _ => None,
    };
    match find_missing_lines(dir, entry, sealed_bytes) {
        Ok(missing) => {
            let MissingLines { kind, found_bytes, bytes, messages, .. } = missing.first()?;
            let name = FileName { stem: entry.stem.clone(), hour: entry.hour, kind: *kind };
            let reason = format!(
                "its journal says that `{name}` had {messages} messages in {bytes} bytes, and {found_bytes} bytes of them are there"
            );
            Some(HourVerdict::Bad { reason })
        }
        Err(error) => {
            let reason = format!("its files cannot be looked at: {error}");
            Some(HourVerdict::Unreadable { reason })
        }
    }
}

/// The presence of unsealed lines, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnsealedLines {
    Listed,
    Absent,
}

/// The result of one look at the files of an hour.
enum Verification {
    Verdict(HourVerdict),
    /// The hour has no lines, and should have none.
    NoLines,
    /// The hour had no sealed file, and its unsealed lines are gone.
    LinesGone,
}

impl Verification {
    fn bad(reason: String) -> Self {
        Self::Verdict(HourVerdict::Bad { reason })
    }

    fn unreadable(action: &str, error: &io::Error) -> Self {
        Self::Verdict(HourVerdict::Unreadable { reason: format!("{action}: {error}") })
    }
}

/// An error that ends the decoding of a sealed file.
enum DecodeError {
    Stopped,
    Io(io::Error),
}

impl From<io::Error> for DecodeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Stopped> for DecodeError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

fn verify_files(
    dir: &Path,
    entry: &HourEntry,
    lines: UnsealedLines,
    progress: &Progress,
) -> Result<Verification, Stopped> {
    // The file is opened before the journal is read: a concurrent run that seals the hour writes to
    // the journal before and after it replaces the file.
    let file = File::open(entry.path(dir, FileKind::Sealed));
    let entries = match journal::read(&entry.path(dir, FileKind::Journal)) {
        Ok(entries) => entries,
        Err(error) => return Ok(Verification::unreadable("its journal cannot be read", &error)),
    };
    match file {
        Ok(file) => verify_sealed(dir, entry, lines, file, &entries, progress),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Ok(Verification::unreadable("cannot be opened", &error))
        }
        Err(_) if lines == UnsealedLines::Listed => {
            let verdict = verify_unsealed(dir, entry, &entries, progress)?;
            Ok(verdict.map_or(Verification::LinesGone, Verification::Verdict))
        }
        Err(_) => Ok(verify_absence(&entries)),
    }
}

/// Checks that the journal of an hour without lines records none.
fn verify_absence(entries: &[JournalEntry]) -> Verification {
    if let Some(record) = journal::sealed_records(entries).next_back() {
        let messages = record.messages;
        return Verification::bad(format!("the file is gone; it held {messages} messages"));
    }
    let checkpoints = Checkpoints::from_journal(entries);
    if checkpoints.has_beyond(0) {
        let lost = checkpoints.assess_loss(LinePosition::default()).lost;
        return Verification::bad(format!(
            "the lines are gone; its journal says that {lost} messages were written"
        ));
    }
    Verification::NoLines
}

fn verify_sealed(
    dir: &Path,
    entry: &HourEntry,
    lines: UnsealedLines,
    file: File,
    entries: &[JournalEntry],
    progress: &Progress,
) -> Result<Verification, Stopped> {
    let records = journal::seal_records(entries);
    let positions = match mark_positions(entries) {
        Ok(positions) => positions,
        Err(reason) => return Ok(Verification::bad(reason)),
    };
    let mut hashes = PrefixHashes::new(&records, positions);
    let mut index = match IndexCheck::new(&file, entry.hour) {
        Ok(index) => index,
        Err(error) => return Ok(Verification::unreadable("cannot be read", &error)),
    };
    let decoded = decode_and_hash(file, |chunk| {
        progress.advance(chunk.len())?;
        hashes.update(chunk);
        index.update(chunk);
        Ok::<(), DecodeError>(())
    });
    match decoded {
        Ok(_) => {}
        Err(DecodeError::Stopped) => return Err(Stopped),
        Err(DecodeError::Io(error)) if is_corruption(&error) => {
            let bytes = hashes.bytes();
            return Ok(Verification::bad(format!(
                "cannot be decoded: {error}, after {bytes} bytes of lines"
            )));
        }
        Err(DecodeError::Io(error)) => {
            return Ok(Verification::unreadable("cannot be decoded", &error));
        }
    }
    let verdict = match check_against_journal(entries, &records, &hashes) {
        Ok(verdict) => verdict,
        Err(reason) => return Ok(Verification::bad(reason)),
    };
    if let Some(reason) = index.into_mismatch() {
        return Ok(Verification::bad(reason));
    }
    if lines == UnsealedLines::Listed {
        // Lines that came late and are not sealed yet.
        let late = verify_unsealed(dir, entry, entries, progress)?;
        if let Some(late @ HourVerdict::Bad { .. }) = late {
            return Ok(Verification::Verdict(late));
        }
    }
    Ok(Verification::Verdict(verdict))
}

/// Compares decoded lines with the seal records and the marks of the journal.
///
/// # Errors
/// The first difference, in words for people.
fn check_against_journal(
    entries: &[JournalEntry],
    records: &[SealRecord],
    hashes: &PrefixHashes,
) -> Result<HourVerdict, String> {
    let LinesDigest { messages, bytes: raw_bytes, sha256, line_terminated } = hashes.digest();
    if !line_terminated {
        return Err("its last line has no line feed".to_owned());
    }
    let Some(last) = journal::sealed_records(entries).next_back().or(records.last()) else {
        return Ok(HourVerdict::Unrecorded { messages, raw_bytes });
    };
    // An interrupted run may have recorded a seal that it did not complete, or have completed one
    // without a record of that. So any record may be the right one.
    let is_recorded =
        records.iter().any(|record| record.raw_bytes == raw_bytes && record.raw_sha256 == sha256);
    if !is_recorded {
        return Err(if last.messages == messages && last.raw_bytes == raw_bytes {
            "its lines are not those that were sealed: the SHA-256 differs".to_owned()
        } else {
            let SealRecord { messages: sealed_messages, raw_bytes: sealed_bytes, .. } = *last;
            format!(
                "it holds {messages} messages in {raw_bytes} bytes, {sealed_messages} in {sealed_bytes} were sealed"
            )
        });
    }
    if let Some(PositionMismatch { recorded, found }) = hashes.mismatch() {
        return Err(format!(
            "its first {} bytes hold {found} messages, and its journal says {}",
            recorded.bytes, recorded.messages
        ));
    }
    // A sealed file only grows, so that it starts with each content that it ever had. The hash of the
    // compressed file is not compared: a file that was compressed again has the same lines.
    match journal::sealed_records(entries).find(|record| !hashes.contains(record)) {
        Some(record) => Err(format!(
            "{} messages that were sealed once are not in it; a corrupt file may be kept beside it",
            record.messages
        )),
        None => Ok(HourVerdict::Intact { messages, raw_bytes }),
    }
}
