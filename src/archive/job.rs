//! The archive's job: seal what is closed, record what others sealed, keep within the limits.

mod event;
mod limits;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::event::Ratio;
pub use self::event::{Event, Place, Summary};
use super::compress::Compression;
use super::decode::decode;
use super::directory::{Directory, HourEntry, State};
use super::disk::{self, FileError};
use super::journal::{self, SealRecord};
use super::layout::{ARCHIVE_LOCK_NAME, Kind};
use super::lock::{DirLock, LastRun, LockError};
use super::progress::{Progress, Stopped};
use super::retain::{self, Limits};
use super::seal::{Outcome, SealError, Target, seal};
use super::workers::for_each;
use crate::clock::{Clock, UnixNanos};

/// For how long after its end an hour is left alone: a writer that takes no lock may have lines
/// left for it.
const SETTLE: Duration = Duration::from_secs(10);

/// What is to be done in a directory.
#[derive(Debug, Clone)]
pub struct Job {
    /// The directory.
    pub dir: PathBuf,
    /// How hours are compressed.
    pub compression: Compression,
    /// How many hours are compressed at once.
    pub threads: usize,
    /// What the archive may take.
    pub limits: Limits,
}

/// Why the job could not be done at all.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Somebody else is at work there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The work was told to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What a run would do now.
#[derive(Debug)]
pub struct Planned {
    /// Hours that would be sealed.
    pub seal: Vec<HourEntry>,
    /// Sealed files of others that would be recorded.
    pub record: Vec<HourEntry>,
    /// Hours that would go, by today's sizes.
    pub remove: Vec<(HourEntry, Event)>,
    /// What would be said besides.
    pub remarks: Vec<Event>,
}

impl Planned {
    fn is_nothing(&self) -> bool {
        // A removal that is put off counts: this run must be known to have been.
        let deferred = self.remarks.iter().any(|remark| matches!(remark, Event::Deferred { .. }));
        self.seal.is_empty() && self.record.is_empty() && self.remove.is_empty() && !deferred
    }

    /// Bytes to be worked through: each is compressed and decoded.
    pub fn work(&self) -> u64 {
        let lines = |entry: &HourEntry| entry.file(Kind::Lines).map_or(0, |file| file.bytes);
        self.seal.iter().map(lines).sum::<u64>().saturating_mul(2)
    }
}

impl Job {
    /// What a run would do, without doing it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn plan(&self, now: UnixNanos) -> Result<Planned, JobError> {
        let view = self.view()?;
        let states = states(&view, now);
        let mut remarks: Vec<_> = view.strange.iter().map(|path| Event::not_a_file(path)).collect();
        if let Some(first) = view.nearly.first() {
            remarks.push(Event::nearly_ours(first, view.nearly.len()));
        }
        let mut future = Vec::new();
        let (removals, unmet) = self.removals(&view, now, true)?;
        let mut planned =
            Planned { seal: Vec::new(), record: Vec::new(), remove: removals, remarks: Vec::new() };
        for (entry, state) in view.hours.iter().zip(states) {
            if is_due(entry, state, now) {
                planned.seal.push(entry.clone());
            } else if is_unrecorded(entry) {
                planned.record.push(entry.clone());
            } else if state == State::Open && entry.hour.start() > now {
                future.push(entry);
            }
        }
        if let Some(first) = future.first() {
            remarks.push(Event::of_the_future(&self.dir, first, future.len()));
        }
        remarks.extend(unmet);
        planned.remarks = remarks;
        Ok(planned)
    }

    /// Does the job once. Each event is told as it happens; a failure on one hour does not keep the
    /// others from theirs.
    ///
    /// # Errors
    /// [`JobError`], when nothing could be done or the work was told to stop.
    pub fn run(
        &self,
        clock: &dyn Clock,
        progress: &Progress,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, JobError> {
        let planned = self.plan(clock.now())?;
        let mut summary = Summary::default();
        let mut put_off = false;
        let mut tell = |event: Event| {
            put_off |= matches!(event, Event::Deferred { .. });
            summary.count(&event);
            tell(&event);
        };
        let leftovers = self.leftovers()?;
        if planned.is_nothing() && leftovers.is_empty() {
            planned.remarks.into_iter().for_each(tell);
            // Where it cannot be noted, nothing can be removed either.
            if self.limits != Limits::default()
                && let Ok(mut lock) = DirLock::acquire(&self.dir, ARCHIVE_LOCK_NAME)
            {
                lock.note_run(LastRun { at: clock.now(), put_off: false });
            }
            return Ok(summary);
        }
        let mut lock = DirLock::acquire(&self.dir, ARCHIVE_LOCK_NAME)?;
        for leftover in self.leftovers()? {
            leftover.remove(&self.dir).unwrap_or_else(&mut tell);
        }
        for event in planned.remarks {
            // What cannot be kept is told below, when it is still so.
            if !matches!(event, Event::Unmet { .. } | Event::Deferred { .. }) {
                tell(event);
            }
        }
        let mut unsealed = self.seal_all(planned.seal, clock, progress, &mut tell)?;
        for entry in planned.record {
            tell(self.record(&entry, clock, progress)?);
        }
        let removed = self.keep_limits(clock, progress, &mut tell)?;
        if removed > 0 && !unsealed.is_empty() {
            // There was no room, and now there is more.
            let hours = unsealed.into_iter().map(|(entry, _)| entry).collect();
            unsealed = self.seal_all(hours, clock, progress, &mut tell)?;
            self.keep_limits(clock, progress, &mut tell)?;
        }
        for (_, failure) in unsealed {
            tell(failure);
        }
        lock.note_run(LastRun { at: clock.now(), put_off });
        Ok(summary)
    }

    fn view(&self) -> Result<Directory, JobError> {
        Ok(Directory::read(&self.dir)?)
    }

    /// What runs that were cut off have left.
    fn leftovers(&self) -> Result<Vec<Leftover>, JobError> {
        let mut leftovers = Vec::new();
        for entry in self.view()?.hours {
            if retain::is_half_removed(&self.dir, &entry, self.limits.keep_journals.is_some()) {
                leftovers.push(Leftover::Removal(entry, self.limits.keep_journals.is_some()));
            } else if entry.file(Kind::Sealing).is_some() {
                leftovers.push(Leftover::Temporary(entry));
            }
        }
        Ok(leftovers)
    }

    /// Seals these hours. Gives those for which there was no room, and what is to be said of them
    /// if that stays so.
    fn seal_all(
        &self,
        hours: Vec<HourEntry>,
        clock: &dyn Clock,
        progress: &Progress,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Vec<(HourEntry, Event)>, JobError> {
        let mut no_room = Vec::new();
        for_each(
            hours,
            self.threads,
            |entry| {
                let mut events = Vec::new();
                let sealed = self.seal_one(&entry, clock, progress, &mut events);
                (entry, events, sealed)
            },
            |(entry, events, sealed)| {
                events.into_iter().for_each(&mut *tell);
                match sealed {
                    Ok(()) | Err(SealError::Stopped(_)) => {}
                    Err(error) => {
                        let event = Event::failed(&self.dir, &entry, &error);
                        if error.is_no_space() {
                            no_room.push((entry, event));
                        } else {
                            tell(event);
                        }
                    }
                }
            },
        );
        progress.check()?;
        Ok(no_room)
    }

    fn seal_one(
        &self,
        entry: &HourEntry,
        clock: &dyn Clock,
        progress: &Progress,
        events: &mut Vec<Event>,
    ) -> Result<(), SealError> {
        let target = Target { dir: &self.dir, stem: &entry.stem, hour: entry.hour };
        let mut remarks = Vec::new();
        let mut remark = |remark| remarks.push(remark);
        let outcome = seal(target, self.compression, clock, progress, &mut remark);
        events.extend(remarks.into_iter().map(|remark| Event::remark(&self.dir, entry, remark)));
        match outcome? {
            Outcome::Sealed { record, raw_bytes, stored_bytes } => {
                events.push(Event::sealed(&self.dir, entry, &record, raw_bytes, stored_bytes));
            }
            Outcome::Finished(record) => events.push(Event::finished(&self.dir, entry, &record)),
            Outcome::Held => {}
        }
        Ok(())
    }

    /// Records what another program sealed, so that it can be proved from now on.
    fn record(
        &self,
        entry: &HourEntry,
        clock: &dyn Clock,
        progress: &Progress,
    ) -> Result<Event, Stopped> {
        let path = entry.path(&self.dir, Kind::Sealed);
        let recorded = std::fs::File::open(&path)
            .map_err(|error| SealError::from(FileError::of("open", &path)(error)))
            .and_then(|file| {
                decode(file, |chunk| Ok::<(), SealError>(progress.advance(chunk.len())?))
                    .map_err(|error| error.at("decode", &path))
            })
            .and_then(|decoded| {
                let record = SealRecord::from(decoded);
                let journal = entry.path(&self.dir, Kind::Journal);
                journal::append(&journal, clock.now(), journal::Event::Sealed(record.clone()))?;
                Ok(record)
            });
        match recorded {
            Ok(record) => Ok(Event::recorded(&self.dir, entry, &record)),
            Err(SealError::Stopped(stopped)) => Err(stopped),
            Err(error) => Ok(Event::failed(&self.dir, entry, &error)),
        }
    }
}

/// What a run that was cut off has left.
enum Leftover {
    /// The temporary file of a seal.
    Temporary(HourEntry),
    /// An hour whose lines are removed, but not all else; whether its journal is kept.
    Removal(HourEntry, bool),
}

impl Leftover {
    fn remove(self, dir: &Path) -> Result<(), Event> {
        match self {
            Self::Temporary(entry) => disk::remove(&entry.path(dir, Kind::Sealing))
                .map_err(|error| Event::failed(dir, &entry, &error)),
            Self::Removal(entry, keep) => retain::finish_removal(dir, &entry, keep)
                .map_err(|error| Event::failed(dir, &entry, &error)),
        }
    }
}

fn states(view: &Directory, now: UnixNanos) -> Vec<State> {
    view.hours.iter().map(|entry| entry.state(&view.path, now)).collect()
}

/// Whether the hour has lines that nobody writes to any more.
fn is_due(entry: &HourEntry, state: State, now: UnixNanos) -> bool {
    state == State::Closed && entry.hour.end().plus(SETTLE) <= now
}

/// Whether another program sealed it: this one leaves a journal.
fn is_unrecorded(entry: &HourEntry) -> bool {
    entry.file(Kind::Sealed).is_some()
        && entry.file(Kind::Lines).is_none()
        && entry.file(Kind::Journal).is_none()
}

/// The path of a file of an hour, for messages.
fn shown(dir: &Path, entry: &HourEntry) -> PathBuf {
    dir.join(entry.name())
}
