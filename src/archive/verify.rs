//! Proving hours: decode what is sealed, count, hash, and compare with what the journal says.

mod line_position;
mod unsealed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::checkpoints::Checkpoints;
use super::decode::{decode_and_hash, is_corruption};
use super::digest::{Digester, LinesDigest};
use super::file_name::FileKind;
use super::hour_entry::HourEntry;
use super::journal::{self, JournalEntry, SealRecord};
use super::line_position::LinePosition;
use super::parallel::parallel_for_each;
use super::progress::{Progress, Stopped};
use super::sha256_hash::Sha256Hash;

/// What was found out about a sealed hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum HourVerdict {
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
    /// It is not sealed yet. Its lines are all that the journal says.
    Unsealed {
        /// The number of its lines.
        messages: u64,
        /// Their bytes.
        raw_bytes: u64,
    },
    /// It cannot be read, which says nothing of what it holds.
    Unreadable {
        /// Why, for people.
        reason: String,
    },
    /// It is not what it should be.
    Bad {
        /// What is wrong, for people.
        reason: String,
    },
}

/// Verifies hours, several at once, and hands each verdict to `done` as it comes. Ends early when
/// told to stop.
pub fn verify_hours<'a>(
    hours: Vec<(&'a Path, HourEntry)>,
    threads: usize,
    progress: &Progress,
    mut done: impl FnMut(&'a Path, HourEntry, HourVerdict),
) {
    parallel_for_each(
        hours,
        threads,
        |(dir, entry)| {
            let verdict = verify_hour(dir, &entry, progress);
            (dir, entry, verdict)
        },
        |(dir, entry, verdict)| {
            if let Ok(Some(verdict)) = verdict {
                done(dir, entry, verdict);
            }
        },
    );
}

enum VerifyError {
    Stopped,
    Io(io::Error),
}

impl From<io::Error> for VerifyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Stopped> for VerifyError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Verifies one hour. `None` when there is nothing to verify: no lines ever came, or retention has
/// removed them.
///
/// # Errors
/// [`Stopped`], when told to.
pub fn verify_hour(
    dir: &Path,
    entry: &HourEntry,
    progress: &Progress,
) -> Result<Option<HourVerdict>, Stopped> {
    let bad = |reason: String| Ok(Some(HourVerdict::Bad { reason }));
    let unreadable = |what: &str, error: io::Error| {
        Ok(Some(HourVerdict::Unreadable { reason: format!("{what}: {error}") }))
    };
    // The file first: a run that seals beside this writes to the journal before and after.
    let file = File::open(entry.path(dir, FileKind::Sealed));
    let entries = match journal::read(&entry.path(dir, FileKind::Journal)) {
        Ok(entries) => entries,
        Err(error) => return unreadable("its journal cannot be read", error),
    };
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if entry.file(FileKind::Lines).is_some() {
                return unsealed::verify_unsealed(dir, entry, &entries, progress);
            }
            if let Some(record) = journal::sealed_records(&entries).next_back() {
                return bad(format!("the file is gone; it held {} messages", record.messages));
            }
            let claims = Checkpoints::from_journal(&entries);
            if claims.has_beyond(0) {
                let lost = claims.assess_loss(LinePosition::default()).lost;
                return bad(format!(
                    "the lines are gone; its journal says that {lost} messages were written"
                ));
            }
            return Ok(None);
        }
        Err(error) => return unreadable("cannot be opened", error),
    };
    let records = journal::seal_records(&entries);
    let places = match line_position::mark_positions(&entries) {
        Ok(places) => places,
        Err(reason) => return bad(reason),
    };
    let mut starts = PrefixHashes::new(&records, places);
    let decoded = decode_and_hash(file, |chunk| {
        progress.advance(chunk.len())?;
        starts.update(chunk);
        Ok::<(), VerifyError>(())
    });
    match decoded {
        Ok(_) => match check_against_journal(&entries, &records, &starts) {
            Ok(verdict) if entry.file(FileKind::Lines).is_some() => {
                // Late lines, which wait to be sealed.
                let late = unsealed::verify_unsealed(dir, entry, &entries, progress)?;
                let bad = late.filter(|late| matches!(late, HourVerdict::Bad { .. }));
                Ok(Some(bad.unwrap_or(verdict)))
            }
            Ok(verdict) => Ok(Some(verdict)),
            Err(reason) => bad(reason),
        },
        Err(VerifyError::Stopped) => Err(Stopped),
        Err(VerifyError::Io(error)) if is_corruption(&error) => bad(format!(
            "cannot be decoded: {error}, after {} bytes of lines",
            starts.digester.bytes()
        )),
        Err(VerifyError::Io(error)) => unreadable("cannot be decoded", error),
    }
}

fn check_against_journal(
    entries: &[JournalEntry],
    records: &[SealRecord],
    starts: &PrefixHashes,
) -> Result<HourVerdict, String> {
    let LinesDigest { messages, bytes: raw_bytes, sha256, line_terminated: whole } =
        starts.digester.clone().finish();
    if !whole {
        return Err("its last line has no line feed".to_owned());
    }
    // A run that was cut off may have noted what it did not come to, or not noted that it did.
    let noted = |record: &SealRecord| (record.raw_bytes, record.raw_sha256) == (raw_bytes, sha256);
    let Some(last) = journal::sealed_records(entries).next_back().or(records.last()) else {
        return Ok(HourVerdict::Unrecorded { messages, raw_bytes });
    };
    if !records.iter().any(noted) {
        return Err(if (last.messages, last.raw_bytes) == (messages, raw_bytes) {
            "its lines are not those that were sealed: the SHA-256 differs".to_owned()
        } else {
            let (last_messages, last_bytes) = (last.messages, last.raw_bytes);
            format!(
                "it holds {messages} messages in {raw_bytes} bytes, {last_messages} in {last_bytes} were sealed"
            )
        });
    }
    if let Some((bytes, said, found)) = starts.mismatch {
        return Err(format!(
            "its first {bytes} bytes hold {found} messages, and its journal says {said}"
        ));
    }
    // What is sealed only grows: it starts with all that it ever was.
    match journal::sealed_records(entries).find(|record| !starts.contains(record)) {
        Some(record) => Err(format!(
            "{} messages that were sealed once are not in it; a corrupt file may be kept beside it",
            record.messages
        )),
        // The lines are right, so a file that was compressed anew is as good.
        None => Ok(HourVerdict::Intact { messages, raw_bytes }),
    }
}

/// The digest of the lines, and their hashes up to where they once ended.
struct PrefixHashes {
    digester: Digester,
    /// Lengths of which the hash is wanted, longest first.
    pending_lengths: Vec<u64>,
    hashes: BTreeMap<u64, Sha256Hash>,
    /// Where the journal says how many lines there are, last first.
    pending_positions: Vec<LinePosition>,
    /// The first place at which that is not so: bytes, lines as the journal says, and as they are.
    mismatch: Option<(u64, u64, u64)>,
}

impl PrefixHashes {
    fn new(records: &[SealRecord], mut places: Vec<LinePosition>) -> Self {
        let wanted: BTreeSet<u64> = records.iter().map(|record| record.raw_bytes).collect();
        let wanted = wanted.into_iter().rev().collect();
        places.reverse();
        let (hashes, mismatch) = (BTreeMap::new(), None);
        let mut starts = Self {
            digester: Digester::new(),
            pending_lengths: wanted,
            hashes,
            pending_positions: places,
            mismatch,
        };
        starts.record_boundary();
        starts
    }

    fn update(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let here = self.digester.bytes();
            let wanted = self.pending_lengths.last().map_or(u64::MAX, |next| next - here);
            let place = self.pending_positions.last().map_or(u64::MAX, |place| place.bytes - here);
            let next = usize::try_from(wanted.min(place)).unwrap_or(usize::MAX);
            let (part, rest) = chunk.split_at(next.min(chunk.len()));
            self.digester.update(part);
            self.record_boundary();
            chunk = rest;
        }
    }

    /// Keeps the hash, or counts the lines, if this is where that is wanted.
    fn record_boundary(&mut self) {
        let bytes = self.digester.bytes();
        if self.pending_lengths.pop_if(|next| *next == bytes).is_some() {
            self.hashes.insert(bytes, self.digester.clone().finish().sha256);
        }
        let found = self.digester.messages();
        while let Some(LinePosition { messages: said, .. }) =
            self.pending_positions.pop_if(|place| place.bytes == bytes)
        {
            if said != found {
                self.mismatch.get_or_insert((bytes, said, found));
            }
        }
    }

    fn contains(&self, record: &SealRecord) -> bool {
        self.hashes.get(&record.raw_bytes) == Some(&record.raw_sha256)
    }
}
