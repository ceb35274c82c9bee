//! Keeping an archive within its limits.

use std::time::Duration;

use super::{Job, JobError, JobEvent, hour_states, is_ready_to_seal};
use crate::archive::dir_lock::{LastRun, read_last_run};
use crate::archive::directory::Directory;
use crate::archive::file_name::FileKind;
use crate::archive::hour_entry::{HourEntry, SealState};
use crate::archive::journal::LimitKind;
use crate::archive::progress::Progress;
use crate::archive::retention;
use crate::archive::retention::{Candidate, RetentionClass, RetentionLimits, RetentionPlan};
use crate::base::time::{Clock, UnixNanos};

/// A clock that moved by more since the last run is not believed at once: a machine without a
/// battery starts in 1970, and jumps.
const MAX_CLOCK_JUMP: Duration = Duration::from_secs(24 * 3600);

/// The hours that have to go, each with what will be said of it, and what is to be said besides.
pub(super) type RemovalPlan = (Vec<(HourEntry, JobEvent)>, Vec<JobEvent>);

impl Job {
    /// Whether less is free on the disk than is to be.
    pub fn is_below_min_free_disk(&self) -> bool {
        let least = self.limits.min_free_disk;
        least.is_some_and(|least| {
            retention::disk_space(&self.dir).is_ok_and(|(free, _)| free < least)
        })
    }

    /// Removes what has to go. Gives how many hours went.
    pub(super) fn enforce_limits(
        &self,
        clock: &dyn Clock,
        progress: &Progress,
        tell: &mut dyn FnMut(JobEvent),
    ) -> Result<usize, JobError> {
        let mut removed = 0;
        let keep = self.limits.keep_journals.is_some();
        let (removals, remarks) =
            self.plan_removals(&self.read_directory()?, clock.now(), false)?;
        for (entry, event) in removals {
            progress.check_stopped()?;
            let JobEvent::Removed { reason, .. } = event else { continue };
            let keep = keep && reason != LimitKind::KeepJournals;
            match retention::remove_hour(&self.dir, &entry, reason, clock.now(), keep) {
                Ok(true) => {
                    removed += 1;
                    tell(event);
                }
                // Somebody writes to it again.
                Ok(false) => {}
                Err(error) => tell(JobEvent::failed(&self.dir, &entry, &error)),
            }
        }
        remarks.into_iter().for_each(tell);
        Ok(removed)
    }

    /// The hours that have to go, and the limits that cannot be kept. Before sealing, hours that will
    /// be sealed count as if they were.
    pub(super) fn plan_removals(
        &self,
        view: &Directory,
        now: UnixNanos,
        before_sealing: bool,
    ) -> Result<RemovalPlan, JobError> {
        if self.limits == RetentionLimits::default() {
            return Ok((Vec::new(), Vec::new()));
        }
        let (removals, remarks) =
            self.plan_removals_within(view, now, before_sealing, self.limits)?;
        // Once: a schedule of a week is no clock that jumps.
        let jumped =
            |last: &LastRun| now.abs_diff(last.at) > MAX_CLOCK_JUMP && !last.removals_deferred;
        let Some(last) = read_last_run(&self.dir)?.filter(jumped) else {
            return Ok((removals, remarks));
        };
        let by_age = |(_, event): &(HourEntry, JobEvent)| {
            matches!(
                event,
                JobEvent::Removed { reason: LimitKind::MaxAge | LimitKind::KeepJournals, .. }
            )
        };
        let hours = removals.iter().filter(|removal| by_age(removal)).count();
        if hours == 0 {
            return Ok((removals, remarks));
        }
        let trusted = RetentionLimits { max_age: None, keep_journals: None, ..self.limits };
        let (mut removals, mut remarks) =
            self.plan_removals_within(view, now, before_sealing, trusted)?;
        removals.retain(|removal| !by_age(removal));
        remarks.push(JobEvent::deferred(&self.dir, hours, last.at, now));
        Ok((removals, remarks))
    }

    fn plan_removals_within(
        &self,
        view: &Directory,
        now: UnixNanos,
        before_sealing: bool,
        limits: RetentionLimits,
    ) -> Result<RemovalPlan, JobError> {
        let keep = self.limits.keep_journals;
        // What is kept for its own sake is no candidate, and takes no part in the sums.
        let is_journal = |entry: &HourEntry| entry.kinds().eq([FileKind::Journal]);
        let (journals, hours): (Vec<_>, Vec<_>) = view
            .hours
            .iter()
            .zip(hour_states(view, now))
            .partition(|(entry, _)| keep.is_some() && is_journal(entry));
        let candidates: Vec<_> = hours
            .iter()
            .map(|(entry, state)| Candidate {
                stem: entry.stem.clone(),
                hour: entry.hour,
                bytes: entry.total_bytes()
                    - keep.map_or(0, |_| file_bytes(entry, FileKind::Journal)),
                class: match state {
                    SealState::Closed if before_sealing && is_ready_to_seal(entry, *state, now) => {
                        RetentionClass::Sealed
                    }
                    SealState::Closed => RetentionClass::Unsealed,
                    SealState::Sealed if entry.hour.end() <= now => RetentionClass::Sealed,
                    SealState::Sealed | SealState::Open => RetentionClass::Open,
                },
            })
            .collect();
        let (free, _) = retention::disk_space(&self.dir)?;
        let RetentionPlan { removals, unmet } =
            retention::plan_retention(&candidates, now, free, &limits);
        let mut removals: Vec<_> = removals
            .into_iter()
            .filter_map(|(index, limit)| {
                let entry = hours.get(index)?.0.clone();
                let unsealed = candidates.get(index)?.class == RetentionClass::Unsealed;
                let event = JobEvent::removed(&self.dir, &entry, limit, unsealed);
                Some((entry, event))
            })
            .collect();
        let expired = |entry: &HourEntry| {
            limits.keep_journals.is_some_and(|age| entry.hour.end().saturating_add(age) <= now)
        };
        removals.extend(journals.into_iter().filter(|(entry, _)| expired(entry)).map(
            |(entry, _)| {
                let event = JobEvent::removed(&self.dir, entry, LimitKind::KeepJournals, false);
                (entry.clone(), event)
            },
        ));
        let unmet = unmet.into_iter().map(|limit| JobEvent::unmet(&self.dir, limit)).collect();
        Ok((removals, unmet))
    }
}

fn file_bytes(entry: &HourEntry, kind: FileKind) -> u64 {
    entry.file(kind).map_or(0, |file| file.bytes)
}
