//! The archive's job: seal what is closed, record what others sealed, keep within the limits.

mod event;
mod removals;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::event::CompressionRatio;
pub use self::event::{HourLocation, JobEvent, JobSummary};
use super::compress::Compression;
use super::decode::decode_and_digest;
use super::dir_lock::{DirLock, DirLockKind, LastRun, LockError};
use super::directory::Directory;
use super::disk::{self, FileError};
use super::file_name::FileKind;
use super::hour_entry::{HourEntry, SealState};
use super::journal::{self, SealRecord};
use super::parallel::parallel_for_each;
use super::progress::{Progress, Stopped};
use super::retention;
use super::retention::RetentionLimits;
use super::seal::{SealOutcome, SealTarget, seal};
use super::seal_error::SealError;
use crate::base::time::{Clock, UnixNanos};

/// For how long after its end an hour is left alone: a writer that takes no lock may have lines
/// left for it.
const SETTLE_TIME: Duration = Duration::from_secs(10);

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
    pub limits: RetentionLimits,
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
pub struct JobPlan {
    /// Hours that would be sealed.
    pub to_seal: Vec<HourEntry>,
    /// Sealed files of others that would be recorded.
    pub to_record: Vec<HourEntry>,
    /// Hours that would go, by today's sizes.
    pub to_remove: Vec<(HourEntry, JobEvent)>,
    /// What would be said besides.
    pub warnings: Vec<JobEvent>,
}

impl JobPlan {
    fn is_noop(&self) -> bool {
        // A removal that is put off counts: this run must be known to have been.
        let deferred =
            self.warnings.iter().any(|remark| matches!(remark, JobEvent::Deferred { .. }));
        self.to_seal.is_empty()
            && self.to_record.is_empty()
            && self.to_remove.is_empty()
            && !deferred
    }

    /// Bytes to be worked through: each is compressed and decoded.
    pub fn work_bytes(&self) -> u64 {
        let lines = |entry: &HourEntry| entry.file(FileKind::Lines).map_or(0, |file| file.bytes);
        self.to_seal.iter().map(lines).sum::<u64>().saturating_mul(2)
    }
}

impl Job {
    /// What a run would do, without doing it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn plan(&self, now: UnixNanos) -> Result<JobPlan, JobError> {
        let view = self.read_directory()?;
        let states = hour_states(&view, now);
        let mut remarks: Vec<_> =
            view.non_regular.iter().map(|path| JobEvent::non_regular_file(path)).collect();
        if let Some(first) = view.unrecognized.first() {
            remarks.push(JobEvent::unrecognized_names(first, view.unrecognized.len()));
        }
        let mut future = Vec::new();
        let (removals, unmet) = self.plan_removals(&view, now, true)?;
        let mut planned = JobPlan {
            to_seal: Vec::new(),
            to_record: Vec::new(),
            to_remove: removals,
            warnings: Vec::new(),
        };
        for (entry, state) in view.hours.iter().zip(states) {
            if is_ready_to_seal(entry, state, now) {
                planned.to_seal.push(entry.clone());
            } else if is_sealed_without_journal(entry) {
                planned.to_record.push(entry.clone());
            } else if state == SealState::Open && entry.hour.start() > now {
                future.push(entry);
            }
        }
        if let Some(first) = future.first() {
            remarks.push(JobEvent::future_hours(&self.dir, first, future.len()));
        }
        remarks.extend(unmet);
        planned.warnings = remarks;
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
        tell: &mut dyn FnMut(&JobEvent),
    ) -> Result<JobSummary, JobError> {
        let planned = self.plan(clock.now())?;
        let mut summary = JobSummary::default();
        let mut put_off = false;
        let mut tell = |event: JobEvent| {
            put_off |= matches!(event, JobEvent::Deferred { .. });
            summary.record(&event);
            tell(&event);
        };
        let leftovers = self.find_leftovers()?;
        if planned.is_noop() && leftovers.is_empty() {
            planned.warnings.into_iter().for_each(tell);
            // Where it cannot be noted, nothing can be removed either.
            if self.limits != RetentionLimits::default()
                && let Ok(mut lock) = DirLock::acquire(&self.dir, DirLockKind::ArchiveJob)
            {
                lock.record_run(LastRun { at: clock.now(), removals_deferred: false })?;
            }
            return Ok(summary);
        }
        let mut lock = DirLock::acquire(&self.dir, DirLockKind::ArchiveJob)?;
        for leftover in self.find_leftovers()? {
            leftover.clean_up(&self.dir).unwrap_or_else(&mut tell);
        }
        for event in planned.warnings {
            // What cannot be kept is told below, when it is still so.
            if !matches!(event, JobEvent::Unmet { .. } | JobEvent::Deferred { .. }) {
                tell(event);
            }
        }
        let mut unsealed = self.seal_hours(planned.to_seal, clock, progress, &mut tell)?;
        for entry in planned.to_record {
            tell(self.record_foreign_seal(&entry, clock, progress)?);
        }
        let removed = self.enforce_limits(clock, progress, &mut tell)?;
        if removed > 0 && !unsealed.is_empty() {
            // There was no room, and now there is more.
            let hours = unsealed.into_iter().map(|(entry, _)| entry).collect();
            unsealed = self.seal_hours(hours, clock, progress, &mut tell)?;
            self.enforce_limits(clock, progress, &mut tell)?;
        }
        for (_, failure) in unsealed {
            tell(failure);
        }
        lock.record_run(LastRun { at: clock.now(), removals_deferred: put_off })?;
        Ok(summary)
    }

    fn read_directory(&self) -> Result<Directory, JobError> {
        Ok(Directory::read(&self.dir)?)
    }

    /// What runs that were cut off have left.
    fn find_leftovers(&self) -> Result<Vec<Leftover>, JobError> {
        let mut leftovers = Vec::new();
        for entry in self.read_directory()?.hours {
            if retention::is_partially_removed(
                &self.dir,
                &entry,
                self.limits.keep_journals.is_some(),
            ) {
                leftovers
                    .push(Leftover::PartialRemoval(entry, self.limits.keep_journals.is_some()));
            } else if entry.file(FileKind::SealingTemp).is_some() {
                leftovers.push(Leftover::SealTempFile(entry));
            }
        }
        Ok(leftovers)
    }

    /// Seals these hours. Gives those for which there was no room, and what is to be said of them
    /// if that stays so.
    fn seal_hours(
        &self,
        hours: Vec<HourEntry>,
        clock: &dyn Clock,
        progress: &Progress,
        tell: &mut dyn FnMut(JobEvent),
    ) -> Result<Vec<(HourEntry, JobEvent)>, JobError> {
        let mut no_room = Vec::new();
        parallel_for_each(
            hours,
            self.threads,
            |entry| {
                let mut events = Vec::new();
                let sealed = self.seal_hour(&entry, clock, progress, &mut events);
                (entry, events, sealed)
            },
            |(entry, events, sealed)| {
                events.into_iter().for_each(&mut *tell);
                match sealed {
                    Ok(()) | Err(SealError::Stopped(_)) => {}
                    Err(error) => {
                        let event = JobEvent::failed(&self.dir, &entry, &error);
                        if error.is_no_space() {
                            no_room.push((entry, event));
                        } else {
                            tell(event);
                        }
                    }
                }
            },
        );
        progress.check_stopped()?;
        Ok(no_room)
    }

    fn seal_hour(
        &self,
        entry: &HourEntry,
        clock: &dyn Clock,
        progress: &Progress,
        events: &mut Vec<JobEvent>,
    ) -> Result<(), SealError> {
        let target = SealTarget { dir: &self.dir, stem: &entry.stem, hour: entry.hour };
        let mut remarks = Vec::new();
        let mut remark = |remark| remarks.push(remark);
        let outcome = seal(target, self.compression, clock, progress, &mut remark);
        events.extend(
            remarks.into_iter().map(|remark| JobEvent::from_seal_warning(&self.dir, entry, remark)),
        );
        match outcome? {
            SealOutcome::Sealed { record, raw_bytes, stored_bytes } => {
                events.push(JobEvent::sealed(&self.dir, entry, &record, raw_bytes, stored_bytes));
            }
            SealOutcome::AlreadySealed(record) => {
                events.push(JobEvent::finished(&self.dir, entry, &record))
            }
            SealOutcome::InUse => {}
        }
        Ok(())
    }

    /// Records what another program sealed, so that it can be proved from now on.
    fn record_foreign_seal(
        &self,
        entry: &HourEntry,
        clock: &dyn Clock,
        progress: &Progress,
    ) -> Result<JobEvent, Stopped> {
        let path = entry.path(&self.dir, FileKind::Sealed);
        let recorded = std::fs::File::open(&path)
            .map_err(|error| SealError::from(FileError::from_io("open", &path)(error)))
            .and_then(|file| {
                decode_and_digest(file, |chunk| Ok::<(), SealError>(progress.advance(chunk.len())?))
                    .map_err(|error| error.with_path("decode", &path))
            })
            .and_then(|decoded| {
                let record = SealRecord::from(decoded);
                let journal = entry.path(&self.dir, FileKind::Journal);
                journal::append(
                    &journal,
                    clock.now(),
                    journal::JournalEvent::Sealed(record.clone()),
                )?;
                Ok(record)
            });
        match recorded {
            Ok(record) => Ok(JobEvent::recorded(&self.dir, entry, &record)),
            Err(SealError::Stopped(stopped)) => Err(stopped),
            Err(error) => Ok(JobEvent::failed(&self.dir, entry, &error)),
        }
    }
}

/// What a run that was cut off has left.
enum Leftover {
    /// The temporary file of a seal.
    SealTempFile(HourEntry),
    /// An hour whose lines are removed, but not all else; whether its journal is kept.
    PartialRemoval(HourEntry, bool),
}

impl Leftover {
    fn clean_up(self, dir: &Path) -> Result<(), JobEvent> {
        match self {
            Self::SealTempFile(entry) => {
                disk::remove_if_exists(&entry.path(dir, FileKind::SealingTemp))
                    .map_err(|error| JobEvent::failed(dir, &entry, &error))
            }
            Self::PartialRemoval(entry, keep) => retention::finish_removal(dir, &entry, keep)
                .map_err(|error| JobEvent::failed(dir, &entry, &error)),
        }
    }
}

fn hour_states(view: &Directory, now: UnixNanos) -> Vec<SealState> {
    view.hours.iter().map(|entry| entry.seal_state(&view.path, now)).collect()
}

/// Whether the hour has lines that nobody writes to any more.
fn is_ready_to_seal(entry: &HourEntry, state: SealState, now: UnixNanos) -> bool {
    state == SealState::Closed && entry.hour.end().saturating_add(SETTLE_TIME) <= now
}

/// Whether another program sealed it: this one leaves a journal.
fn is_sealed_without_journal(entry: &HourEntry) -> bool {
    entry.file(FileKind::Sealed).is_some()
        && entry.file(FileKind::Lines).is_none()
        && entry.file(FileKind::Journal).is_none()
}

/// The path of a file of an hour, for messages.
fn hour_path(dir: &Path, entry: &HourEntry) -> PathBuf {
    dir.join(entry.display_name())
}
