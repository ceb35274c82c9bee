//! Retention: which hours go, so that the archive keeps within its limits.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::disk;
use super::disk::FileError;
use super::file_lock;
use super::file_name::{FileKind, Stem};
use super::hour_entry::HourEntry;
use super::journal::{self, LimitKind};
use crate::base::time::{Hour, UnixNanos};

/// What an archive may take. A limit that is not set does not exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Hours that ended longer ago go.
    pub max_age: Option<Duration>,
    /// Bytes of all files of all hours.
    pub max_total_size: Option<u64>,
    /// Bytes that stay free on the file system.
    pub min_free_disk: Option<u64>,
    /// Journals stay when their hour goes, and go this long after its end. Without it they go with
    /// their hour.
    pub keep_journals: Option<Duration>,
}

/// How far an hour is, as far as its removal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionClass {
    /// Somebody writes to it: it stays.
    Open,
    /// Some of its lines are not sealed: it goes only when the disk would else be full.
    Unsealed,
    /// It may go.
    Sealed,
}

/// An hour that retention looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The first part of its file names.
    pub stem: Stem,
    /// The hour.
    pub hour: Hour,
    /// Bytes of all its files.
    pub bytes: u64,
    /// How far it is.
    pub class: RetentionClass,
}

/// What retention would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// The hours that go, as indices of what was given, oldest first, each with the limit for whose
    /// sake it goes.
    pub removals: Vec<(usize, LimitKind)>,
    /// Limits that would not be kept even then.
    pub unmet: Vec<LimitKind>,
}

/// Chooses the hours that go: whole hours, oldest first by the hour in their names. `free` is what
/// is free on the file system now, in bytes. For the sake of a limit that could not be kept even
/// if everything went that may, nothing goes: others may be filling the disk, or one hour is larger
/// than the limit.
pub fn plan_retention(
    hours: &[Candidate],
    now: UnixNanos,
    free: u64,
    limits: &RetentionLimits,
) -> RetentionPlan {
    let mut order: Vec<(usize, &Candidate)> = hours.iter().enumerate().collect();
    order.sort_by_key(|(_, hour)| (hour.hour, &hour.stem));
    let mut total: u128 = hours.iter().map(|hour| u128::from(hour.bytes)).sum();
    let mut free = u128::from(free);
    let mut plan = RetentionPlan::default();
    let mut gone = vec![false; hours.len()];
    let too_old =
        |hour: Hour| limits.max_age.is_some_and(|age| hour.end().saturating_add(age) <= now);
    let too_large = |total| limits.max_total_size.is_some_and(|most| total > u128::from(most));
    let too_full = |free| limits.min_free_disk.is_some_and(|least| free < u128::from(least));
    let sum = |may: fn(RetentionClass) -> bool| {
        let may_go = hours.iter().filter(|hour| may(hour.class));
        may_go.map(|hour| u128::from(hour.bytes)).sum::<u128>()
    };
    let small_enough = !too_large(total - sum(|standing| standing == RetentionClass::Sealed));
    let free_enough = !too_full(free + sum(|standing| standing != RetentionClass::Open));
    // Unsealed hours come last of all, and for the disk's sake alone.
    for (standing, wanted) in [
        (RetentionClass::Sealed, LimitKind::MaxAge),
        (RetentionClass::Sealed, LimitKind::MaxTotalSize),
        (RetentionClass::Sealed, LimitKind::MinFreeDisk),
        (RetentionClass::Unsealed, LimitKind::MinFreeDisk),
    ] {
        for (index, hour) in &order {
            let needed = match wanted {
                LimitKind::MaxAge => too_old(hour.hour),
                LimitKind::MaxTotalSize => small_enough && too_large(total),
                LimitKind::MinFreeDisk => free_enough && too_full(free),
                LimitKind::KeepJournals => false,
            };
            let Some(gone) = gone.get_mut(*index).filter(|gone| !**gone) else { continue };
            // An hour without bytes frees none.
            let helps = hour.bytes > 0 || wanted == LimitKind::MaxAge;
            if needed && helps && hour.class == standing {
                *gone = true;
                total -= u128::from(hour.bytes);
                free += u128::from(hour.bytes);
                plan.removals.push((*index, wanted));
            }
        }
    }
    plan.removals.sort_by_key(|(index, _)| hours.get(*index).map(|hour| (hour.hour, &hour.stem)));
    let old_left =
        order.iter().any(|(index, hour)| too_old(hour.hour) && gone.get(*index) == Some(&false));
    for (limit, unmet) in [
        (LimitKind::MaxAge, old_left),
        (LimitKind::MaxTotalSize, too_large(total)),
        (LimitKind::MinFreeDisk, too_full(free)),
    ] {
        if unmet {
            plan.unmet.push(limit);
        }
    }
    plan
}

/// Removes the files of an hour. The journal notes it first and goes last, or stays, so that a removal that
/// was cut off is known for one. False when somebody has opened its lines meanwhile.
///
/// # Errors
/// The first file that could not be removed; those behind it are still there.
pub(super) fn remove_hour(
    dir: &Path,
    entry: &HourEntry,
    reason: LimitKind,
    now: UnixNanos,
    keep_journal: bool,
) -> Result<bool, FileError> {
    let path = entry.path(dir, FileKind::Lines);
    let lines = match entry.file(FileKind::Lines).map(|_| disk::open_regular(&path)).transpose() {
        Err(error) if error.source.kind() == ErrorKind::NotFound => None,
        lines => lines?,
    };
    if let Some(lines) = &lines
        && !file_lock::try_lock(lines, &path)?
    {
        return Ok(false);
    }
    let journal = entry.path(dir, FileKind::Journal);
    // A full disk, which is why the hour goes, may not take the note.
    drop(journal::append(&journal, now, journal::JournalEvent::Removed { reason }));
    finish_removal(dir, entry, keep_journal)?;
    Ok(true)
}

/// Removes the files of an hour, its journal last if at all.
pub(super) fn finish_removal(
    dir: &Path,
    entry: &HourEntry,
    keep_journal: bool,
) -> Result<(), FileError> {
    for kind in entry.kinds().filter(|kind| *kind != FileKind::Journal) {
        disk::remove_if_exists(&entry.path(dir, kind))?;
    }
    if keep_journal { Ok(()) } else { disk::remove_if_exists(&entry.path(dir, FileKind::Journal)) }
}

/// Whether the hour is what is left of a removal that was cut off.
pub(super) fn is_partially_removed(dir: &Path, entry: &HourEntry, keep_journal: bool) -> bool {
    let others = entry.kinds().any(|kind| kind != FileKind::Journal);
    let left =
        !entry.has_lines() && entry.file(FileKind::Journal).is_some() && (others || !keep_journal);
    left && journal::read_compacted(&entry.path(dir, FileKind::Journal))
        .is_ok_and(|entries| entries.is_some_and(|entries| journal::is_removed(&entries)))
}

/// Bytes that this process may still write on the directory's file system, and its size.
pub(super) fn disk_space(dir: &Path) -> Result<(u64, u64), FileError> {
    let stat = rustix::fs::statvfs(dir)
        .map_err(|error| FileError::from_io("read the free space of", dir)(error.into()))?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arbitrary_hours() -> impl Strategy<Value = Vec<Candidate>> {
        let standing = prop_oneof![
            1 => Just(RetentionClass::Open),
            1 => Just(RetentionClass::Unsealed),
            4 => Just(RetentionClass::Sealed),
        ];
        let key = (0..40_u64, 0..3_u8);
        proptest::collection::btree_map(key, (0..1000_u64, standing), 0..40).prop_map(|hours| {
            let hours = hours.into_iter();
            hours
                .map(|((hour, stem), (bytes, standing))| Candidate {
                    stem: Stem::from_topic(&format!("s{stem}")).unwrap(),
                    hour: Hour::starting_at(hour * 3600).unwrap(),
                    bytes,
                    class: standing,
                })
                .collect()
        })
    }

    fn arbitrary_limits() -> impl Strategy<Value = RetentionLimits> {
        let age = proptest::option::of(0..40_u64);
        let bytes = || proptest::option::of(0..20_000_u64);
        (age, bytes(), bytes()).prop_map(|(age, max_total_size, min_free_disk)| RetentionLimits {
            keep_journals: None,
            max_age: age.map(|hours| Duration::from_secs(hours * 3600)),
            max_total_size,
            min_free_disk,
        })
    }

    /// Which limits a set of hours that goes would leave broken.
    fn violated_limits(
        all: &[Candidate],
        gone: &[usize],
        now: UnixNanos,
        free: u64,
        limits: &RetentionLimits,
    ) -> Vec<LimitKind> {
        let stays = |(index, _): &(usize, &Candidate)| !gone.contains(index);
        let left: Vec<_> = all.iter().enumerate().filter(stays).map(|(_, hour)| hour).collect();
        let total: u64 = left.iter().map(|hour| hour.bytes).sum();
        let freed: u64 = gone.iter().map(|index| all[*index].bytes).sum();
        let mut broken = Vec::new();
        if limits
            .max_age
            .is_some_and(|age| left.iter().any(|h| h.hour.end().saturating_add(age) <= now))
        {
            broken.push(LimitKind::MaxAge);
        }
        if limits.max_total_size.is_some_and(|most| total > most) {
            broken.push(LimitKind::MaxTotalSize);
        }
        if limits.min_free_disk.is_some_and(|least| free + freed < least) {
            broken.push(LimitKind::MinFreeDisk);
        }
        broken
    }

    proptest! {
        #[test]
        fn plan_meets_every_achievable_limit_with_the_fewest_removals(
            hours in arbitrary_hours(), limits in arbitrary_limits(), now in 0..40_u64, free in 0..20_000_u64,
        ) {
            let now = UnixNanos::from_seconds(now * 3600);
            let plan = plan_retention(&hours, now, free, &limits);
            let gone: Vec<usize> = plan.removals.iter().map(|(index, _)| *index).collect();
            prop_assert_eq!(&violated_limits(&hours, &gone, now, free, &limits), &plan.unmet);
            for (index, limit) in &plan.removals {
                let hour = &hours[*index];
                prop_assert_ne!(hour.class, RetentionClass::Open);
                prop_assert!(hour.class == RetentionClass::Sealed || *limit == LimitKind::MinFreeDisk);
                if *limit == LimitKind::MaxAge {
                    prop_assert!(hour.hour.end().saturating_add(limits.max_age.unwrap()) <= now);
                }
            }
            // What is left broken could not be mended by anything that may go.
            for (limit, may_go) in [
                (LimitKind::MaxTotalSize, (|hour| hour.class == RetentionClass::Sealed) as fn(&Candidate) -> bool),
                (LimitKind::MinFreeDisk, |hour| hour.class != RetentionClass::Open),
            ] {
                if plan.unmet.contains(&limit) {
                    let all: Vec<_> = (0..hours.len()).filter(|index| may_go(&hours[*index])).collect();
                    prop_assert!(violated_limits(&hours, &all, now, free, &limits).contains(&limit));
                    // So nothing went for it in vain.
                    prop_assert!(plan.removals.iter().all(|(_, of)| *of != limit));
                }
            }
            // Nothing more than needed: without its newest removal, sealed before unsealed, a limit
            // is broken; with it, it is not, or everything that might have helped is gone.
            let newest = plan.removals.iter().filter(|(_, limit)| *limit != LimitKind::MaxAge)
                .max_by_key(|(index, _)| {
                    let hour = &hours[*index];
                    (hour.class == RetentionClass::Unsealed, hour.hour, hour.stem.clone())
                });
            if let Some((newest, _)) = newest {
                let fewer: Vec<_> = gone.iter().copied().filter(|index| index != newest).collect();
                let broken = violated_limits(&hours, &fewer, now, free, &limits);
                prop_assert!(broken.iter().any(|limit| *limit != LimitKind::MaxAge));
            }
        }

        #[test]
        fn oldest_hours_are_removed_first(hours in arbitrary_hours(), limits in arbitrary_limits(), free in 0..20_000_u64) {
            let plan = plan_retention(&hours, UnixNanos::default(), free, &limits);
            let newest = plan.removals.iter()
                .rfind(|(index, _)| hours[*index].class == RetentionClass::Sealed);
            if let Some((newest, _)) = newest {
                let key = |hour: &Candidate| (hour.hour, hour.stem.clone());
                for (index, hour) in hours.iter().enumerate() {
                    let older = key(hour) < key(&hours[*newest]);
                    if older && hour.class == RetentionClass::Sealed && hour.bytes > 0 {
                        prop_assert!(plan.removals.iter().any(|(gone, _)| *gone == index));
                    }
                }
            }
        }

        #[test]
        fn plan_is_independent_of_input_order(
            (hours, shuffled) in arbitrary_hours().prop_flat_map(|hours| {
                (Just(hours.clone()), Just(hours).prop_shuffle())
            }),
            limits in arbitrary_limits(), now in 0..40_u64, free in 0..20_000_u64,
        ) {
            let now = UnixNanos::from_seconds(now * 3600);
            let named = |all: &[Candidate]| {
                let plan = plan_retention(all, now, free, &limits);
                let removals: Vec<_> = plan.removals.iter()
                    .map(|(index, limit)| (all[*index].clone(), *limit)).collect();
                (removals, plan.unmet)
            };
            prop_assert_eq!(named(&hours), named(&shuffled));
        }
    }
}
