//! Tests of removals: their order, their resumption, and the guard against a clock that jumps.

use std::time::Duration;

use super::*;
use crate::archive::disk::injected_fault::{InjectedFault, with_fault};
use crate::archive::hour_removal::{JournalFate, is_partially_removed};
use crate::base::time::Clock as _;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: u64 = 24 * 3600;

#[test]
fn keep_journals_keeps_journals_of_removed_hours() {
    let mut archive = TestArchive::new();
    for hour in 1..=3 {
        archive.write(hour, FileKind::Lines, lines(0..10));
    }
    archive.run();
    archive.job.limits.max_age = Some(HOUR);
    archive.job.limits.keep_journals = Some(HOUR * 9);
    let (summary, events) = archive.run();
    // Hour 1 ended ten hours ago.
    assert_eq!(summary.removed, 3, "{events:?}");
    assert_eq!(archive.names(), ["t_10800.journal", "t_3600.journal", "t_7200.journal"]);
    assert!(archive.verdicts().is_empty(), "a removed hour is not reported as missing");
    let (summary, events) = archive.run();
    assert_eq!(summary.removed, 2, "{events:?}");
    assert!(events[0].to_string().contains("for `keep_journals`"), "{}", events[0]);
    assert_eq!(archive.names(), ["t_10800.journal"]);
    // Without the key, journals are removed with their hours.
    archive.job.limits.keep_journals = None;
    archive.run();
    assert_eq!(archive.names(), Vec::<String>::new());
}

#[test]
fn an_interrupted_removal_with_kept_journal_is_resumed() {
    for nth in 0..12 {
        let mut archive = TestArchive::new();
        archive.write(3, FileKind::Lines, lines(0..5));
        archive.run();
        archive.write(3, FileKind::Torn, "x");
        archive.job.limits.max_age = Some(HOUR);
        archive.job.limits.keep_journals = Some(HOUR * 100);
        let (_, triggered) = with_fault(InjectedFault::Crash, nth, || archive.try_run());
        archive.run();
        assert_eq!(archive.names(), ["t_10800.journal"], "crash at {nth}");
        if !triggered {
            return;
        }
    }
    panic!("the run does not end");
}

#[test]
fn a_clock_jump_defers_removals_by_one_run() {
    let mut archive = TestArchive::new();
    for hour in 1..=3 {
        archive.write(hour, FileKind::Lines, lines(0..10));
    }
    archive.run();
    archive.job.limits.max_age = Some(HOUR * 24);
    // The clock of a machine without a battery, which was set from 1970.
    archive.clock.set(UnixNanos::from_seconds(NOW + 20_000 * DAY));
    let planned = archive.job.plan(archive.clock.now()).unwrap();
    assert!(planned.to_remove.is_empty());
    let (summary, events) = archive.run();
    assert_eq!(summary.removed, 0);
    let [deferred @ JobEvent::Deferred { hours: 3, .. }] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert!(deferred.is_warning() && deferred.to_string().contains("stay until the next run"));
    archive.clock.set(UnixNanos::from_seconds(NOW + 20_000 * DAY + 3600));
    let (summary, events) = archive.run();
    assert_eq!(summary.removed, 3, "{events:?}");
}

#[test]
fn a_clock_in_1970_removes_nothing() {
    let mut archive = TestArchive::new();
    archive.write(400_000, FileKind::Lines, lines(0..10));
    archive.job.limits.max_age = Some(HOUR);
    archive.job.limits.max_total_size = Some(1);
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.removed), (0, 0), "{events:?}");
    assert_eq!(archive.cat(400_000), lines(0..10));
}

#[test]
fn a_weekly_schedule_is_not_a_clock_jump() {
    for days in [1, 7] {
        let mut archive = TestArchive::new();
        for hour in 1..=3 {
            archive.write(hour, FileKind::Lines, lines(0..10));
        }
        archive.run();
        archive.job.limits.max_age = Some(HOUR);
        let mut removed = 0;
        for run in 1..=2 {
            // Each run starts a second later than the schedule says.
            archive.clock.set(UnixNanos::from_seconds(NOW + run * (days * DAY + 1)));
            removed += archive.run().0.removed;
        }
        assert_eq!(removed, 3, "every {days} days");
    }
}

#[test]
fn an_unreadable_time_of_the_last_run_is_a_warning_and_puts_removals_off() {
    let mut archive = TestArchive::new();
    archive.write(3, FileKind::Lines, lines(0..10));
    archive.run();
    let lock_file = archive.dir.path().join(crate::archive::file_name::ARCHIVE_LOCK_NAME);
    fs::remove_file(&lock_file).unwrap();
    fs::create_dir(&lock_file).unwrap();
    archive.job.limits.max_age = Some(HOUR);
    archive.clock.set(UnixNanos::from_seconds(NOW + 20_000 * DAY));
    let plan = archive.job.plan(archive.clock.now()).unwrap();
    assert!(plan.to_remove.is_empty());
    let [JobEvent::Remark { path, message }, JobEvent::Deferred { .. }] = plan.warnings.as_slice()
    else {
        panic!("{:?}", plan.warnings);
    };
    assert_eq!(path, &lock_file);
    assert!(message.contains("the time of the last run is unknown"), "{message}");
}

#[test]
fn an_unreadable_journal_without_lines_is_a_failure() {
    let archive = TestArchive::new();
    archive.write(3, FileKind::Journal, "");
    archive.write(3, FileKind::Torn, "x");
    // Root can read every file, so that the file is replaced after the directory is read.
    let path = archive.path(3, FileKind::Journal);
    let entry = Directory::read(archive.dir.path()).unwrap().hours.remove(0);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let fate = JournalFate::Remove;
    let error = is_partially_removed(archive.dir.path(), &entry, fate).unwrap_err();
    assert_eq!(error.path, path);
}

#[test]
fn a_failed_check_of_the_free_space_is_an_error() {
    let mut archive = TestArchive::new();
    assert!(!archive.job.is_below_min_free_disk().unwrap());
    archive.job.limits.min_free_disk = Some(u64::MAX);
    assert!(archive.job.is_below_min_free_disk().unwrap());
    archive.job.dir = archive.dir.path().join("missing");
    archive.job.is_below_min_free_disk().unwrap_err();
}
