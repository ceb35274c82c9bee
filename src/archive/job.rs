//! The job that maintains an archive: it seals closed hours, records hours that other programs
//! sealed, and keeps the archive within its limits.

mod compression_ratio;
mod event;
mod hour_location;
mod job_summary;
mod removal_planner;
mod seal_readiness;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(crate) use self::compression_ratio::CompressionRatio;
use self::event::AddedBytes;
pub use self::event::JobEvent;
pub use self::hour_location::HourLocation;
pub use self::job_summary::JobSummary;
pub use self::removal_planner::Removal;
use self::removal_planner::{PlanStage, RemovalPlan, RemovalPlanner};
use self::seal_readiness::{hour_states, is_ready_to_seal};
use super::compress::Compression;
use super::decode::decode_and_digest;
use super::dir_lock::{DirLock, DirLockKind, LastRun, LockError, read_last_run};
use super::directory::Directory;
use super::disk::{self, FileError};
use super::disk_space::DiskSpace;
use super::file_name::{ARCHIVE_LOCK_NAME, FileKind, Stem};
use super::hour_entry::{HourEntry, SealState};
use super::hour_removal::{
    JournalFate, RemovalOutcome, finish_removal, is_partially_removed, remove_hour,
};
use super::journal::{self, JournalEvent, LimitKind, SealRecord};
use super::parallel::parallel_for_each;
use super::progress::{Progress, Stopped};
use super::retention::RetentionLimits;
use super::seal::{SealOutcome, SealTarget, seal};
use super::seal_error::SealError;
use crate::base::time::{Clock, Hour, UnixNanos};

/// The settings of the job in one directory.
#[derive(Debug, Clone)]
pub struct Job {
    /// The directory.
    pub dir: PathBuf,
    /// Compression of sealed files.
    pub compression: Compression,
    /// Number of hours that are sealed at once.
    pub threads: usize,
    /// Limits of the archive.
    pub limits: RetentionLimits,
}

/// A failure because of which a run did nothing, or did not complete.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Another process works on the archive.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The run was stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The actions that a run would take now.
#[derive(Debug)]
pub struct JobPlan {
    /// Hours to seal.
    pub to_seal: Vec<HourEntry>,
    /// Hours that other programs sealed, to record in journals.
    pub to_record: Vec<HourEntry>,
    /// Hours to remove, by their current sizes.
    pub to_remove: Vec<Removal>,
    /// Warnings of the run.
    pub warnings: Vec<JobEvent>,
    /// The previous run, if there was one.
    last_run: Option<LastRun>,
}

impl JobPlan {
    fn is_noop(&self) -> bool {
        // A run that puts removals off must be recorded.
        let has_deferred =
            self.warnings.iter().any(|warning| matches!(warning, JobEvent::Deferred { .. }));
        self.to_seal.is_empty()
            && self.to_record.is_empty()
            && self.to_remove.is_empty()
            && !has_deferred
    }

    /// Returns the raw bytes to process. Each byte counts twice: it is compressed, then decoded.
    pub fn work_bytes(&self) -> u64 {
        self.to_seal.iter().map(HourEntry::unsealed_bytes).sum::<u64>().saturating_mul(2)
    }
}

impl Job {
    /// Returns the actions that a run would take, without taking any.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn plan(&self, now: UnixNanos) -> Result<JobPlan, JobError> {
        let directory = self.read_directory()?;
        let mut warnings: Vec<_> =
            directory.non_regular.iter().map(|path| JobEvent::non_regular_file(path)).collect();
        if let Some(first) = directory.unrecognized.first() {
            warnings.push(JobEvent::unrecognized_names(first, directory.unrecognized.len()));
        }
        let mut to_seal = Vec::new();
        let mut to_record = Vec::new();
        let mut future = Vec::new();
        for (entry, state) in directory.hours.iter().zip(hour_states(&directory, now)) {
            if is_ready_to_seal(entry, state, now) {
                to_seal.push(entry.clone());
            } else if is_sealed_without_journal(entry) {
                to_record.push(entry.clone());
            } else if state == SealState::Open && entry.hour.start() > now {
                future.push(entry);
            }
        }
        if let Some(first) = future.first() {
            warnings.push(JobEvent::future_hours(&self.dir, first, future.len()));
        }
        let last_run = self.read_last_run(&mut warnings);
        let RemovalPlan { removals, warnings: unmet } =
            self.removal_planner(last_run).plan(&directory, now, PlanStage::BeforeSealing)?;
        warnings.extend(unmet);
        Ok(JobPlan { to_seal, to_record, to_remove: removals, warnings, last_run })
    }

    /// Runs the job once and passes each event to `report` as it occurs. A failure in one hour does
    /// not affect the others.
    ///
    /// # Errors
    /// [`JobError`] if nothing could be done or the run was stopped.
    pub fn run(
        &self,
        clock: &dyn Clock,
        progress: &Progress,
        report: &mut dyn FnMut(&JobEvent),
    ) -> Result<JobSummary, JobError> {
        let plan = self.plan(clock.now())?;
        let last_run = plan.last_run;
        let mut summary = JobSummary::default();
        let removals_deferred = Cell::new(false);
        let mut report = |event: JobEvent| {
            if matches!(event, JobEvent::Deferred { .. }) {
                removals_deferred.set(true);
            }
            summary.record(&event);
            report(&event);
        };
        if plan.is_noop() && self.find_leftovers()?.is_empty() {
            plan.warnings.into_iter().for_each(&mut report);
            // A directory in which the run cannot be recorded is one in which nothing can be removed.
            if self.has_limits()
                && let Ok(mut lock) = DirLock::acquire(&self.dir, DirLockKind::ArchiveJob)
            {
                let run = LastRun { at: clock.now(), removals_deferred: false };
                if let Err(error) = lock.record_run(run) {
                    report(JobEvent::run_not_recorded(&self.dir, &error));
                }
            }
            return Ok(summary);
        }
        let mut lock = DirLock::acquire(&self.dir, DirLockKind::ArchiveJob)?;
        for leftover in self.find_leftovers()? {
            leftover.clean_up(&self.dir).unwrap_or_else(&mut report);
        }
        for event in plan.warnings {
            // Limits are checked again below.
            if !matches!(event, JobEvent::Unmet { .. } | JobEvent::Deferred { .. }) {
                report(event);
            }
        }
        let UnsealedHours { no_space: mut unsealed, too_large } =
            self.seal_hours(plan.to_seal, clock, progress, &mut report)?;
        let stage = PlanStage::AfterSealing { too_large: &too_large };
        for entry in plan.to_record {
            report(self.record_foreign_seal(&entry, clock, progress)?);
        }
        let removed = self.enforce_limits(last_run, stage, clock, progress, &mut report)?;
        if removed > 0 && !unsealed.is_empty() {
            // The removals may have made room for these hours.
            let hours = unsealed.into_iter().map(|hour| hour.entry).collect();
            unsealed = self.seal_hours(hours, clock, progress, &mut report)?.no_space;
            self.enforce_limits(last_run, stage, clock, progress, &mut report)?;
        }
        for hour in unsealed {
            report(hour.failure);
        }
        // What was done is done: a full disk, which removals are for, must not hide it.
        let run = LastRun { at: clock.now(), removals_deferred: removals_deferred.get() };
        if let Err(error) = lock.record_run(run) {
            report(JobEvent::run_not_recorded(&self.dir, &error));
        }
        Ok(summary)
    }

    /// Returns whether less space is free than `min_free_disk`.
    ///
    /// # Errors
    /// The free space cannot be read.
    pub fn is_below_min_free_disk(&self) -> Result<bool, FileError> {
        let Some(min_free_disk) = self.limits.min_free_disk else { return Ok(false) };
        Ok(DiskSpace::query(&self.dir)?.available < min_free_disk)
    }

    fn has_limits(&self) -> bool {
        self.limits != RetentionLimits::default()
    }

    fn journal_fate(&self) -> JournalFate {
        match self.limits.keep_journals {
            Some(_) => JournalFate::Keep,
            None => JournalFate::Remove,
        }
    }

    fn read_directory(&self) -> Result<Directory, JobError> {
        Ok(Directory::read(&self.dir)?)
    }

    /// Returns the previous run, if limits apply and there was one. If its time cannot be read, it
    /// counts as 1970, so that removals by age are put off.
    fn read_last_run(&self, warnings: &mut Vec<JobEvent>) -> Option<LastRun> {
        if !self.has_limits() {
            return None;
        }
        read_last_run(&self.dir).unwrap_or_else(|error| {
            let lock_file = self.dir.join(ARCHIVE_LOCK_NAME);
            warnings.push(JobEvent::last_run_unknown(&lock_file, &error));
            Some(LastRun { at: UnixNanos::default(), removals_deferred: false })
        })
    }

    fn removal_planner(&self, last_run: Option<LastRun>) -> RemovalPlanner<'_> {
        RemovalPlanner { dir: &self.dir, limits: self.limits, last_run }
    }

    /// Returns the files that interrupted runs left behind.
    fn find_leftovers(&self) -> Result<Vec<Leftover>, JobError> {
        let fate = self.journal_fate();
        let mut leftovers = Vec::new();
        for entry in self.read_directory()?.hours {
            match is_partially_removed(&self.dir, &entry, fate) {
                Ok(true) => leftovers.push(Leftover::PartialRemoval(entry, fate)),
                Ok(false) if entry.file(FileKind::SealingTemp).is_some() => {
                    leftovers.push(Leftover::SealTempFile(entry));
                }
                Ok(false) => {}
                Err(error) => {
                    if entry.file(FileKind::SealingTemp).is_some() {
                        leftovers.push(Leftover::SealTempFile(entry.clone()));
                    }
                    leftovers.push(Leftover::Unreadable(entry, error));
                }
            }
        }
        Ok(leftovers)
    }

    /// Seals these hours. Returns those that cannot be sealed now. The failures of those for which the
    /// disk had no room are reported only if they cannot be sealed after removals either.
    fn seal_hours(
        &self,
        hours: Vec<HourEntry>,
        clock: &dyn Clock,
        progress: &Progress,
        report: &mut dyn FnMut(JobEvent),
    ) -> Result<UnsealedHours, JobError> {
        let mut unsealed = UnsealedHours::default();
        parallel_for_each(
            hours,
            self.threads,
            |entry| {
                let mut events = Vec::new();
                let sealed = self.seal_hour(&entry, clock, progress, &mut events);
                (entry, events, sealed)
            },
            |(entry, events, sealed)| {
                events.into_iter().for_each(&mut *report);
                match sealed {
                    // A stop is returned below.
                    Ok(()) | Err(SealError::Stopped(_)) => {}
                    Err(error) => {
                        let failure = JobEvent::failed(&self.dir, &entry, &error);
                        if error.is_no_space() {
                            unsealed.no_space.push(UnsealedHour { entry, failure });
                            return;
                        }
                        report(failure);
                        if let SealError::TooLarge(_) = error {
                            unsealed.too_large.insert((entry.hour, entry.stem));
                        }
                    }
                }
            },
        );
        progress.check_stopped()?;
        Ok(unsealed)
    }

    fn seal_hour(
        &self,
        entry: &HourEntry,
        clock: &dyn Clock,
        progress: &Progress,
        events: &mut Vec<JobEvent>,
    ) -> Result<(), SealError> {
        let mut added = AddedBytes { raw: 0, stored: 0 };
        let mut last = None;
        let mut result = Ok(());
        for lines in entry.unsealed_kinds() {
            let target = SealTarget { dir: &self.dir, stem: &entry.stem, hour: entry.hour, lines };
            let mut warn =
                |warning| events.push(JobEvent::from_seal_warning(&self.dir, entry, warning));
            match seal(target, self.compression, clock, progress, &mut warn) {
                Ok(SealOutcome::Sealed { record, raw_bytes, stored_bytes }) => {
                    added.raw += raw_bytes;
                    added.stored += stored_bytes;
                    last = Some(record);
                }
                Ok(SealOutcome::AlreadySealed(record)) => {
                    events.push(JobEvent::finished(&self.dir, entry, &record));
                }
                // Later lines are not sealed before these.
                Ok(SealOutcome::InUse) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if let Some(record) = last {
            events.push(JobEvent::sealed(&self.dir, entry, &record, added));
        }
        result
    }

    /// Records a file that another program sealed in a new journal, so that it can be verified from
    /// then on.
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
                journal::append(&journal, clock.now(), JournalEvent::Sealed(record.clone()))?;
                Ok(record)
            });
        match recorded {
            Ok(record) => Ok(JobEvent::recorded(&self.dir, entry, &record)),
            Err(SealError::Stopped(stopped)) => Err(stopped),
            Err(error) => Ok(JobEvent::failed(&self.dir, entry, &error)),
        }
    }

    /// Removes the hours that exceed the limits. Returns the number of removed hours.
    fn enforce_limits(
        &self,
        last_run: Option<LastRun>,
        stage: PlanStage<'_>,
        clock: &dyn Clock,
        progress: &Progress,
        report: &mut dyn FnMut(JobEvent),
    ) -> Result<usize, JobError> {
        let planner = self.removal_planner(last_run);
        let plan = planner.plan(&self.read_directory()?, clock.now(), stage)?;
        let mut removed = 0;
        for Removal { entry, limit, class } in plan.removals {
            progress.check_stopped()?;
            let fate = match limit {
                LimitKind::KeepJournals => JournalFate::Remove,
                _ => self.journal_fate(),
            };
            match remove_hour(&self.dir, &entry, limit, clock.now(), fate) {
                Ok(RemovalOutcome::Removed { unrecorded }) => {
                    removed += 1;
                    report(JobEvent::removed(&self.dir, &entry, limit, class));
                    // Nobody reads a journal that is removed.
                    if let (Some(error), JournalFate::Keep) = (unrecorded, fate) {
                        report(JobEvent::removal_unrecorded(&self.dir, &entry, &error));
                    }
                }
                Ok(RemovalOutcome::InUse) => {}
                Err(error) => report(JobEvent::failed(&self.dir, &entry, &error)),
            }
        }
        plan.warnings.into_iter().for_each(report);
        Ok(removed)
    }
}

/// The hours that a run could not seal, for a reason on which their removal depends.
#[derive(Default)]
struct UnsealedHours {
    no_space: Vec<UnsealedHour>,
    /// Hours whose sealed file would be larger than a file may be.
    too_large: BTreeSet<(Hour, Stem)>,
}

/// An hour that could not be sealed because the disk had no room.
struct UnsealedHour {
    entry: HourEntry,
    failure: JobEvent,
}

/// Files that an interrupted run left behind.
enum Leftover {
    /// The temporary file of a seal.
    SealTempFile(HourEntry),
    /// Files of an hour whose lines are removed.
    PartialRemoval(HourEntry, JournalFate),
    /// Files of an hour without lines, whose journal cannot be read to tell why.
    Unreadable(HourEntry, FileError),
}

impl Leftover {
    /// Removes the files.
    fn clean_up(self, dir: &Path) -> Result<(), JobEvent> {
        let (entry, cleaned) = match self {
            Self::SealTempFile(entry) => {
                let removed = disk::remove_if_exists(&entry.path(dir, FileKind::SealingTemp));
                (entry, removed)
            }
            Self::PartialRemoval(entry, fate) => {
                let removed = finish_removal(dir, &entry, fate);
                (entry, removed)
            }
            Self::Unreadable(entry, error) => (entry, Err(error)),
        };
        cleaned.map_err(|error| JobEvent::failed(dir, &entry, &error))
    }
}

/// Returns whether another program sealed the hour: this program leaves a journal.
fn is_sealed_without_journal(entry: &HourEntry) -> bool {
    entry.file(FileKind::Sealed).is_some()
        && entry.unsealed_kinds().next().is_none()
        && entry.file(FileKind::Journal).is_none()
}
