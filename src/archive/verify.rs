//! Proving hours: decode what is sealed, count, hash, and compare with what the journal says.

mod lines;
mod marks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;

use serde::Serialize;

use self::marks::Place;
use super::decode::{decode_plain, is_corrupt};
use super::digest::{Digest, Digester, Hash};
use super::directory::HourEntry;
use super::journal::{self, Entry, SealRecord};
use super::layout::Kind;
use super::progress::{Progress, Stopped};
use super::recover::Claims;
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
    Sealed(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Sealed(error)
    }
}

impl From<Stopped> for Failed {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Verifies one hour. `None` when there is nothing to verify: no lines ever came, or retention has
/// removed them.
///
/// # Errors
/// [`Stopped`], when told to.
pub fn verify(
    dir: &Path,
    entry: &HourEntry,
    progress: &Progress,
) -> Result<Option<Verdict>, Stopped> {
    let bad = |reason: String| Ok(Some(Verdict::Bad { reason }));
    let unreadable = |what: &str, error: io::Error| {
        Ok(Some(Verdict::Unreadable { reason: format!("{what}: {error}") }))
    };
    // The file first: a run that seals beside this writes to the journal before and after.
    let file = File::open(entry.path(dir, Kind::Sealed));
    let entries = match journal::read(&entry.path(dir, Kind::Journal)) {
        Ok(entries) => entries,
        Err(error) => return unreadable("its journal cannot be read", error),
    };
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if entry.file(Kind::Lines).is_some() {
                return lines::verify(dir, entry, &entries, progress);
            }
            if let Some(record) = journal::sealed(&entries).next_back() {
                return bad(format!("the file is gone; it held {} messages", record.messages));
            }
            let claims = Claims::of(&entries);
            if claims.are_more_than(0) {
                let lost = claims.lost(0, 0).lost;
                return bad(format!(
                    "the lines are gone; its journal says that {lost} messages were written"
                ));
            }
            return Ok(None);
        }
        Err(error) => return unreadable("cannot be opened", error),
    };
    let records = journal::records(&entries);
    let places = match marks::places(&entries) {
        Ok(places) => places,
        Err(reason) => return bad(reason),
    };
    let mut starts = Starts::new(&records, places);
    let decoded = decode_plain(file, |chunk| {
        progress.advance(chunk.len())?;
        starts.update(chunk);
        Ok::<(), Failed>(())
    });
    match decoded {
        Ok(_) => match judge(&entries, &records, &starts) {
            Ok(verdict) if entry.file(Kind::Lines).is_some() => {
                // Late lines, which wait to be sealed.
                let late = lines::verify(dir, entry, &entries, progress)?;
                let bad = late.filter(|late| matches!(late, Verdict::Bad { .. }));
                Ok(Some(bad.unwrap_or(verdict)))
            }
            Ok(verdict) => Ok(Some(verdict)),
            Err(reason) => bad(reason),
        },
        Err(Failed::Stopped) => Err(Stopped),
        Err(Failed::Sealed(error)) if is_corrupt(&error) => bad(format!(
            "cannot be decoded: {error}, after {} bytes of lines",
            starts.digester.bytes()
        )),
        Err(Failed::Sealed(error)) => unreadable("cannot be decoded", error),
    }
}

fn judge(entries: &[Entry], records: &[SealRecord], starts: &Starts) -> Result<Verdict, String> {
    let Digest { messages, bytes: raw_bytes, sha256, whole } = starts.digester.clone().finish();
    if !whole {
        return Err("its last line has no line feed".to_owned());
    }
    // A run that was cut off may have noted what it did not come to, or not noted that it did.
    let noted = |record: &SealRecord| (record.raw_bytes, record.raw_sha256) == (raw_bytes, sha256);
    let Some(last) = journal::sealed(entries).next_back().or(records.last()) else {
        return Ok(Verdict::Unrecorded { messages, raw_bytes });
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
    match journal::sealed(entries).find(|record| !starts.have(record)) {
        Some(record) => Err(format!(
            "{} messages that were sealed once are not in it; a corrupt file may be kept beside it",
            record.messages
        )),
        // The lines are right, so a file that was compressed anew is as good.
        None => Ok(Verdict::Intact { messages, raw_bytes }),
    }
}

/// The digest of the lines, and their hashes up to where they once ended.
struct Starts {
    digester: Digester,
    /// Lengths of which the hash is wanted, longest first.
    wanted: Vec<u64>,
    hashes: BTreeMap<u64, Hash>,
    /// Where the journal says how many lines there are, last first.
    places: Vec<Place>,
    /// The first place at which that is not so: bytes, lines as the journal says, and as they are.
    mismatch: Option<(u64, u64, u64)>,
}

impl Starts {
    fn new(records: &[SealRecord], mut places: Vec<Place>) -> Self {
        let wanted: BTreeSet<u64> = records.iter().map(|record| record.raw_bytes).collect();
        let wanted = wanted.into_iter().rev().collect();
        places.reverse();
        let (hashes, mismatch) = (BTreeMap::new(), None);
        let mut starts = Self { digester: Digester::new(), wanted, hashes, places, mismatch };
        starts.stop();
        starts
    }

    fn update(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let here = self.digester.bytes();
            let wanted = self.wanted.last().map_or(u64::MAX, |next| next - here);
            let place = self.places.last().map_or(u64::MAX, |(bytes, _)| bytes - here);
            let next = usize::try_from(wanted.min(place)).unwrap_or(usize::MAX);
            let (part, rest) = chunk.split_at(next.min(chunk.len()));
            self.digester.update(part);
            self.stop();
            chunk = rest;
        }
    }

    /// Keeps the hash, or counts the lines, if this is where that is wanted.
    fn stop(&mut self) {
        let bytes = self.digester.bytes();
        if self.wanted.pop_if(|next| *next == bytes).is_some() {
            self.hashes.insert(bytes, self.digester.clone().finish().sha256);
        }
        let found = self.digester.messages();
        while let Some((_, said)) = self.places.pop_if(|(place, _)| *place == bytes) {
            if said != found {
                self.mismatch.get_or_insert((bytes, said, found));
            }
        }
    }

    fn have(&self, record: &SealRecord) -> bool {
        self.hashes.get(&record.raw_bytes) == Some(&record.raw_sha256)
    }
}
