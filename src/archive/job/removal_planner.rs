//! The choice of hours to remove from a directory.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::event::JobEvent;
use super::seal_readiness::{hour_states, is_ready_to_seal};
use crate::archive::dir_lock::LastRun;
use crate::archive::directory::Directory;
use crate::archive::disk::FileError;
use crate::archive::disk_space::DiskSpace;
use crate::archive::file_name::{FileKind, Stem};
use crate::archive::hour_entry::{HourEntry, SealState};
use crate::archive::journal::LimitKind;
use crate::archive::retention::{
    Candidate, PlannedRemoval, RetentionClass, RetentionLimits, plan_retention,
};
use crate::base::time::{Hour, UnixNanos};

/// Maximum change of the clock between two runs that is trusted at once. A machine without a battery
/// starts in 1970 and jumps to the right time later.
const MAX_CLOCK_JUMP: Duration = Duration::from_secs(24 * 3600);

/// An hour to remove.
#[derive(Debug)]
pub struct Removal {
    /// The hour.
    pub entry: HourEntry,
    /// Limit that requires the removal.
    pub limit: LimitKind,
    /// State of the hour.
    pub class: RetentionClass,
}

impl Removal {
    /// Returns whether the limit is one of age, which depends on the clock.
    fn is_by_age(&self) -> bool {
        matches!(self.limit, LimitKind::MaxAge | LimitKind::KeepJournals)
    }
}

/// The hours to remove from a directory.
#[derive(Debug, Default)]
pub(super) struct RemovalPlan {
    /// Hours to remove, oldest first, followed by journals of removed hours.
    pub(super) removals: Vec<Removal>,
    /// Limits that cannot be kept, and removals that are put off.
    pub(super) warnings: Vec<JobEvent>,
}

/// The point of a run at which removals are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlanStage<'a> {
    /// Hours that are ready to be sealed count as sealed.
    BeforeSealing,
    /// Hours that are not sealed by now could not be sealed.
    AfterSealing {
        /// Those that cannot be sealed for as long as files may not be larger. They are removed like
        /// sealed ones.
        too_large: &'a BTreeSet<(Hour, Stem)>,
    },
}

impl PlanStage<'_> {
    fn is_too_large(self, entry: &HourEntry) -> bool {
        match self {
            Self::BeforeSealing => false,
            Self::AfterSealing { too_large } => {
                too_large.contains(&(entry.hour, entry.stem.clone()))
            }
        }
    }
}

/// Chooses the hours to remove from a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemovalPlanner<'a> {
    pub(super) dir: &'a Path,
    pub(super) limits: RetentionLimits,
    /// The previous run of the job, if there was one.
    pub(super) last_run: Option<LastRun>,
}

impl RemovalPlanner<'_> {
    /// Chooses the hours to remove.
    ///
    /// After a jump of the clock, removals by age are put off by one run. The next run does not put
    /// them off again, since a weekly schedule looks the same.
    ///
    /// # Errors
    /// The free space cannot be read.
    pub(super) fn plan(
        &self,
        directory: &Directory,
        now: UnixNanos,
        stage: PlanStage<'_>,
    ) -> Result<RemovalPlan, FileError> {
        if self.limits == RetentionLimits::default() {
            return Ok(RemovalPlan::default());
        }
        let plan = self.plan_within(directory, now, stage, self.limits)?;
        let has_jumped =
            |last: &LastRun| now.abs_diff(last.at) > MAX_CLOCK_JUMP && !last.removals_deferred;
        let Some(last_run) = self.last_run.filter(has_jumped) else { return Ok(plan) };
        let deferred = plan.removals.iter().filter(|removal| removal.is_by_age()).count();
        if deferred == 0 {
            return Ok(plan);
        }
        let trusted = RetentionLimits { max_age: None, keep_journals: None, ..self.limits };
        let mut plan = self.plan_within(directory, now, stage, trusted)?;
        plan.warnings.push(JobEvent::deferred(self.dir, deferred, last_run.at, now));
        Ok(plan)
    }

    /// Chooses the hours to remove for these limits, which may be fewer than those of the planner.
    fn plan_within(
        &self,
        directory: &Directory,
        now: UnixNanos,
        stage: PlanStage<'_>,
        limits: RetentionLimits,
    ) -> Result<RemovalPlan, FileError> {
        let keeps_journals = self.limits.keep_journals.is_some();
        // A journal that outlives its hour is no candidate, and its size does not count.
        let is_kept_journal =
            |entry: &HourEntry| keeps_journals && entry.kinds().all(FileKind::is_journal);
        let (journals, hours): (Vec<_>, Vec<_>) = directory
            .hours
            .iter()
            .zip(hour_states(directory, now))
            .partition(|(entry, _)| is_kept_journal(entry));
        let candidates: Vec<_> = hours
            .iter()
            .map(|(entry, state)| Candidate {
                stem: entry.stem.clone(),
                hour: entry.hour,
                bytes: if keeps_journals {
                    entry.total_bytes() - journal_bytes(entry)
                } else {
                    entry.total_bytes()
                },
                class: match retention_class(entry, *state, now, stage) {
                    RetentionClass::Unsealed if stage.is_too_large(entry) => RetentionClass::Sealed,
                    class => class,
                },
            })
            .collect();
        let free = DiskSpace::query(self.dir)?.available;
        let plan = plan_retention(&candidates, now, free, &limits);
        let mut removals: Vec<_> = plan
            .removals
            .into_iter()
            .map(|PlannedRemoval { index, limit }| {
                let in_range = "the plan indexes the candidates that it was given";
                let (entry, state) = hours.get(index).expect(in_range);
                let class = retention_class(entry, *state, now, stage);
                Removal { entry: (*entry).clone(), limit, class }
            })
            .collect();
        let is_expired = |entry: &HourEntry| {
            limits.keep_journals.is_some_and(|age| entry.hour.end().saturating_add(age) <= now)
        };
        let expired = journals.into_iter().filter(|(entry, _)| is_expired(entry));
        removals.extend(expired.map(|(entry, _)| Removal {
            entry: entry.clone(),
            limit: LimitKind::KeepJournals,
            class: RetentionClass::Sealed,
        }));
        let warnings =
            plan.unmet.into_iter().map(|limit| JobEvent::unmet(self.dir, limit)).collect();
        Ok(RemovalPlan { removals, warnings })
    }
}

fn retention_class(
    entry: &HourEntry,
    state: SealState,
    now: UnixNanos,
    stage: PlanStage<'_>,
) -> RetentionClass {
    match state {
        SealState::Closed
            if stage == PlanStage::BeforeSealing && is_ready_to_seal(entry, state, now) =>
        {
            RetentionClass::Sealed
        }
        SealState::Closed => RetentionClass::Unsealed,
        SealState::Sealed if entry.hour.end() <= now => RetentionClass::Sealed,
        SealState::Sealed | SealState::Open => RetentionClass::Open,
    }
}

fn journal_bytes(entry: &HourEntry) -> u64 {
    let journals = entry.kinds().filter(|kind| kind.is_journal());
    journals.filter_map(|kind| entry.file(kind)).map(|file| file.bytes).sum()
}
