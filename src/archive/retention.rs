//! Retention: the choice of hours to remove so that an archive stays within its limits.
//!
//! This module decides from sizes and times alone; it reads and removes no files.

use std::time::Duration;

use super::file_name::Stem;
use super::journal::LimitKind;
use crate::base::time::{Hour, UnixNanos};

/// The limits of an archive. A limit of `None` does not apply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Maximum age of an hour, counted from its end.
    pub max_age: Option<Duration>,
    /// Maximum size of all files of all hours, in bytes.
    pub max_total_size: Option<u64>,
    /// Minimum free space on the file system, in bytes.
    pub min_free_disk: Option<u64>,
    /// Age, counted from the end of its hour, until which a journal is kept after its hour was
    /// removed. With `None`, journals are removed with their hours.
    pub keep_journals: Option<Duration>,
}

/// The state of an hour, as far as its removal depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionClass {
    /// The hour may still be written to and is never removed.
    Open,
    /// Some lines of the hour are not sealed. It is removed only if the disk would be full otherwise.
    Unsealed,
    /// The hour may be removed.
    Sealed,
}

/// An hour that may be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Stem of the hour's file names.
    pub stem: Stem,
    /// The hour.
    pub hour: Hour,
    /// Bytes of all files of the hour.
    pub bytes: u64,
    /// State of the hour.
    pub class: RetentionClass,
}

/// A candidate to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRemoval {
    /// Index of the candidate in the slice that was passed to [`plan_retention`].
    pub index: usize,
    /// Limit that requires the removal.
    pub limit: LimitKind,
}

/// The decision of [`plan_retention`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// Hours to remove, oldest first.
    pub removals: Vec<PlannedRemoval>,
    /// Limits that would still be exceeded after these removals.
    pub unmet: Vec<LimitKind>,
}

/// A limit that removes whole hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HourLimit {
    MaxAge,
    MaxTotalSize,
    MinFreeDisk,
}

impl HourLimit {
    fn kind(self) -> LimitKind {
        match self {
            Self::MaxAge => LimitKind::MaxAge,
            Self::MaxTotalSize => LimitKind::MaxTotalSize,
            Self::MinFreeDisk => LimitKind::MinFreeDisk,
        }
    }
}

/// Chooses whole hours to remove, oldest first by the hour in their names. `free` is the free space
/// on the file system, in bytes.
///
/// No hour is removed for a limit that would be exceeded even without all hours that may be removed:
/// other programs may be filling the disk, or one hour may be larger than the limit.
pub fn plan_retention(
    hours: &[Candidate],
    now: UnixNanos,
    free: u64,
    limits: &RetentionLimits,
) -> RetentionPlan {
    struct Decision<'a> {
        index: usize,
        hour: &'a Candidate,
        removed_for: Option<LimitKind>,
    }
    let mut decisions: Vec<Decision<'_>> = hours
        .iter()
        .enumerate()
        .map(|(index, hour)| Decision { index, hour, removed_for: None })
        .collect();
    decisions.sort_by_key(|decision| (decision.hour.hour, &decision.hour.stem));
    let mut total: u128 = hours.iter().map(|hour| u128::from(hour.bytes)).sum();
    let mut free = u128::from(free);
    let too_old =
        |hour: Hour| limits.max_age.is_some_and(|age| hour.end().saturating_add(age) <= now);
    let too_large = |total| limits.max_total_size.is_some_and(|limit| total > u128::from(limit));
    let too_full = |free| limits.min_free_disk.is_some_and(|limit| free < u128::from(limit));
    let bytes_of = |may_remove: fn(RetentionClass) -> bool| {
        let removable = hours.iter().filter(|hour| may_remove(hour.class));
        removable.map(|hour| u128::from(hour.bytes)).sum::<u128>()
    };
    let is_size_achievable = !too_large(total - bytes_of(|class| class == RetentionClass::Sealed));
    let is_space_achievable = !too_full(free + bytes_of(|class| class != RetentionClass::Open));
    // Unsealed hours are removed last, and for free space alone.
    for (class, limit) in [
        (RetentionClass::Sealed, HourLimit::MaxAge),
        (RetentionClass::Sealed, HourLimit::MaxTotalSize),
        (RetentionClass::Sealed, HourLimit::MinFreeDisk),
        (RetentionClass::Unsealed, HourLimit::MinFreeDisk),
    ] {
        for Decision { hour, removed_for, .. } in &mut decisions {
            let is_needed = match limit {
                HourLimit::MaxAge => too_old(hour.hour),
                HourLimit::MaxTotalSize => is_size_achievable && too_large(total),
                HourLimit::MinFreeDisk => is_space_achievable && too_full(free),
            };
            // The removal of an hour without bytes frees none.
            let is_useful = hour.bytes > 0 || limit == HourLimit::MaxAge;
            if removed_for.is_none() && is_needed && is_useful && hour.class == class {
                *removed_for = Some(limit.kind());
                total -= u128::from(hour.bytes);
                free += u128::from(hour.bytes);
            }
        }
    }
    let is_too_old_kept = decisions
        .iter()
        .any(|decision| decision.removed_for.is_none() && too_old(decision.hour.hour));
    let unmet = [
        (LimitKind::MaxAge, is_too_old_kept),
        (LimitKind::MaxTotalSize, too_large(total)),
        (LimitKind::MinFreeDisk, too_full(free)),
    ];
    RetentionPlan {
        removals: decisions
            .into_iter()
            .filter_map(|Decision { index, removed_for, .. }| {
                removed_for.map(|limit| PlannedRemoval { index, limit })
            })
            .collect(),
        unmet: unmet.into_iter().filter_map(|(limit, unmet)| unmet.then_some(limit)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arbitrary_hours() -> impl Strategy<Value = Vec<Candidate>> {
        let class = prop_oneof![
            1 => Just(RetentionClass::Open),
            1 => Just(RetentionClass::Unsealed),
            4 => Just(RetentionClass::Sealed),
        ];
        let key = (0..40_u64, 0..3_u8);
        proptest::collection::btree_map(key, (0..1000_u64, class), 0..40).prop_map(|hours| {
            let hours = hours.into_iter();
            hours
                .map(|((hour, stem), (bytes, class))| Candidate {
                    stem: Stem::from_topic(&format!("s{stem}")).unwrap(),
                    hour: Hour::starting_at(hour * 3600).unwrap(),
                    bytes,
                    class,
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

    /// Returns the limits that are exceeded after the removal of these hours.
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
            let gone: Vec<usize> = plan.removals.iter().map(|removal| removal.index).collect();
            prop_assert_eq!(&violated_limits(&hours, &gone, now, free, &limits), &plan.unmet);
            for PlannedRemoval { index, limit } in &plan.removals {
                let hour = &hours[*index];
                prop_assert_ne!(hour.class, RetentionClass::Open);
                prop_assert!(hour.class == RetentionClass::Sealed || *limit == LimitKind::MinFreeDisk);
                if *limit == LimitKind::MaxAge {
                    prop_assert!(hour.hour.end().saturating_add(limits.max_age.unwrap()) <= now);
                }
            }
            // A limit that stays exceeded would be exceeded after all permitted removals.
            for (limit, may_go) in [
                (LimitKind::MaxTotalSize, (|hour| hour.class == RetentionClass::Sealed) as fn(&Candidate) -> bool),
                (LimitKind::MinFreeDisk, |hour| hour.class != RetentionClass::Open),
            ] {
                if plan.unmet.contains(&limit) {
                    let all: Vec<_> = (0..hours.len()).filter(|index| may_go(&hours[*index])).collect();
                    prop_assert!(violated_limits(&hours, &all, now, free, &limits).contains(&limit));
                    // No hour is removed for it.
                    prop_assert!(plan.removals.iter().all(|removal| removal.limit != limit));
                }
            }
            // No removal is superfluous: without the newest one, sealed before unsealed, a limit is
            // exceeded.
            let newest = plan.removals.iter().filter(|removal| removal.limit != LimitKind::MaxAge)
                .max_by_key(|removal| {
                    let hour = &hours[removal.index];
                    (hour.class == RetentionClass::Unsealed, hour.hour, hour.stem.clone())
                });
            if let Some(newest) = newest {
                let fewer: Vec<_> = gone.iter().copied().filter(|index| *index != newest.index).collect();
                let broken = violated_limits(&hours, &fewer, now, free, &limits);
                prop_assert!(broken.iter().any(|limit| *limit != LimitKind::MaxAge));
            }
        }

        #[test]
        fn oldest_hours_are_removed_first(hours in arbitrary_hours(), limits in arbitrary_limits(), free in 0..20_000_u64) {
            let plan = plan_retention(&hours, UnixNanos::default(), free, &limits);
            let newest = plan.removals.iter()
                .rfind(|removal| hours[removal.index].class == RetentionClass::Sealed);
            if let Some(newest) = newest {
                let key = |hour: &Candidate| (hour.hour, hour.stem.clone());
                for (index, hour) in hours.iter().enumerate() {
                    let older = key(hour) < key(&hours[newest.index]);
                    if older && hour.class == RetentionClass::Sealed && hour.bytes > 0 {
                        prop_assert!(plan.removals.iter().any(|removal| removal.index == index));
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
                    .map(|removal| (all[removal.index].clone(), removal.limit)).collect();
                (removals, plan.unmet)
            };
            prop_assert_eq!(named(&hours), named(&shuffled));
        }
    }
}
