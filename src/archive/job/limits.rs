//! Keeping an archive within its limits.

use std::time::Duration;

use super::{Event, Job, JobError, is_due, states};
use crate::archive::directory::{Directory, HourEntry, State};
use crate::archive::layout::Kind;
use crate::archive::lock::{LastRun, last_run};
use crate::archive::progress::Progress;
use crate::archive::retain::{self, Candidate, Limit, Limits, Plan, Standing};
use crate::clock::{Clock, UnixNanos};

/// A clock that moved by more since the last run is not believed at once: a machine without a
/// battery starts in 1970, and jumps.
const JUMP: Duration = Duration::from_secs(24 * 3600);

/// The hours that have to go, each with what will be said of it, and what is to be said besides.
pub(super) type Removals = (Vec<(HourEntry, Event)>, Vec<Event>);

impl Job {
    /// Whether less is free on the disk than is to be.
    pub fn is_short_of_disk(&self) -> bool {
        let least = self.limits.min_free_disk;
        least.is_some_and(|least| retain::available(&self.dir).is_ok_and(|(free, _)| free < least))
    }

    /// Removes what has to go. Gives how many hours went.
    pub(super) fn keep_limits(
        &self,
        clock: &dyn Clock,
        progress: &Progress,
        tell: &mut dyn FnMut(Event),
    ) -> Result<usize, JobError> {
        let mut removed = 0;
        let keep = self.limits.keep_journals.is_some();
        let (removals, remarks) = self.removals(&self.view()?, clock.now(), false)?;
        for (entry, event) in removals {
            progress.check()?;
            let Event::Removed { reason, .. } = event else { continue };
            let keep = keep && reason != Limit::KeepJournals;
            match retain::remove(&self.dir, &entry, reason, clock.now(), keep) {
                Ok(true) => {
                    removed += 1;
                    tell(event);
                }
                // Somebody writes to it again.
                Ok(false) => {}
                Err(error) => tell(Event::failed(&self.dir, &entry, &error)),
            }
        }
        remarks.into_iter().for_each(tell);
        Ok(removed)
    }

    /// The hours that have to go, and the limits that cannot be kept. Before sealing, hours that will
    /// be sealed count as if they were.
    pub(super) fn removals(
        &self,
        view: &Directory,
        now: UnixNanos,
        before_sealing: bool,
    ) -> Result<Removals, JobError> {
        if self.limits == Limits::default() {
            return Ok((Vec::new(), Vec::new()));
        }
        let (removals, remarks) = self.planned_removals(view, now, before_sealing, self.limits)?;
        // Once: a schedule of a week is no clock that jumps.
        let jumped = |last: &LastRun| now.abs_diff(last.at) > JUMP && !last.put_off;
        let Some(last) = last_run(&self.dir).filter(jumped) else {
            return Ok((removals, remarks));
        };
        let by_age = |(_, event): &(HourEntry, Event)| {
            matches!(event, Event::Removed { reason: Limit::MaxAge | Limit::KeepJournals, .. })
        };
        let hours = removals.iter().filter(|removal| by_age(removal)).count();
        if hours == 0 {
            return Ok((removals, remarks));
        }
        let trusted = Limits { max_age: None, keep_journals: None, ..self.limits };
        let (mut removals, mut remarks) =
            self.planned_removals(view, now, before_sealing, trusted)?;
        removals.retain(|removal| !by_age(removal));
        remarks.push(Event::deferred(&self.dir, hours, last.at, now));
        Ok((removals, remarks))
    }

    fn planned_removals(
        &self,
        view: &Directory,
        now: UnixNanos,
        before_sealing: bool,
        limits: Limits,
    ) -> Result<Removals, JobError> {
        let keep = self.limits.keep_journals;
        // What is kept for its own sake is no candidate, and takes no part in the sums.
        let is_journal = |entry: &HourEntry| entry.kinds().eq([Kind::Journal]);
        let (journals, hours): (Vec<_>, Vec<_>) = view
            .hours
            .iter()
            .zip(states(view, now))
            .partition(|(entry, _)| keep.is_some() && is_journal(entry));
        let candidates: Vec<_> = hours
            .iter()
            .map(|(entry, state)| Candidate {
                stem: entry.stem.clone(),
                hour: entry.hour,
                bytes: entry.bytes() - keep.map_or(0, |_| size(entry, Kind::Journal)),
                standing: match state {
                    State::Closed if before_sealing && is_due(entry, *state, now) => {
                        Standing::Sealed
                    }
                    State::Closed => Standing::Unsealed,
                    State::Sealed if entry.hour.end() <= now => Standing::Sealed,
                    State::Sealed | State::Open => Standing::Open,
                },
            })
            .collect();
        let (free, _) = retain::available(&self.dir)?;
        let Plan { removals, unmet } = retain::plan(&candidates, now, free, &limits);
        let mut removals: Vec<_> = removals
            .into_iter()
            .filter_map(|(index, limit)| {
                let entry = hours.get(index)?.0.clone();
                let unsealed = candidates.get(index)?.standing == Standing::Unsealed;
                let event = Event::removed(&self.dir, &entry, limit, unsealed);
                Some((entry, event))
            })
            .collect();
        let expired = |entry: &HourEntry| {
            limits.keep_journals.is_some_and(|age| entry.hour.end().plus(age) <= now)
        };
        removals.extend(journals.into_iter().filter(|(entry, _)| expired(entry)).map(
            |(entry, _)| {
                let event = Event::removed(&self.dir, entry, Limit::KeepJournals, false);
                (entry.clone(), event)
            },
        ));
        let unmet = unmet.into_iter().map(|limit| Event::unmet(&self.dir, limit)).collect();
        Ok((removals, unmet))
    }
}

fn size(entry: &HourEntry, kind: Kind) -> u64 {
    entry.file(kind).map_or(0, |file| file.bytes)
}
