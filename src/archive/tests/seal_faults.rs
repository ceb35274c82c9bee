//! Tests of a run that is interrupted at each of its operations, and of the next run.

use std::io::ErrorKind;

use super::*;
use crate::archive::disk::injected_fault::{InjectedFault, with_fault};

/// Runs the job with the fault at each operation in turn, each time on a fresh archive, and then
/// once more without a fault. `prepare` writes hour 10, whose lines must be `expected` from then
/// on.
fn test_fault_at_every_operation(
    fault: InjectedFault,
    prepare: impl Fn(&TestArchive),
    expected: &str,
) {
    let name = match fault {
        InjectedFault::Error(kind) => format!("{kind}"),
        InjectedFault::Crash | InjectedFault::Interleave(_) => "a crash".to_owned(),
    };
    for nth in 0.. {
        assert!(nth < 200, "the run does not end");
        let archive = TestArchive::new();
        prepare(&archive);
        let (_, triggered) = with_fault(fault, nth, || archive.try_run());
        assert!(archive.cat(10) == expected, "{name} at {nth}: {:?}", archive.names());
        let bad = archive.verdicts().iter().any(|v| matches!(v, HourVerdict::Bad { .. }));
        assert!(!bad, "{name} at {nth}: no line is lost, so no hour is bad");
        archive.run();
        let names = archive.names();
        assert!(archive.decode_sealed(10) == expected, "{name} at {nth}: {names:?}");
        assert!(archive.cat(10) == expected, "{name} at {nth}: {names:?}");
        let expected_names = ["journal", "zst", "torn"];
        let stray =
            names.iter().any(|name| !expected_names.contains(&name.rsplit_once('.').unwrap().1));
        assert!(!stray, "{name} at {nth}: {names:?}");
        let verdicts = archive.verdicts();
        let intact = matches!(verdicts.as_slice(), [HourVerdict::Intact { .. }]);
        assert!(intact, "{name} at {nth}: {verdicts:?}");
        if !triggered {
            assert!(nth > 10, "only {nth} operations were seen");
            return;
        }
    }
}

const FAULTS: [InjectedFault; 3] = [
    InjectedFault::Crash,
    InjectedFault::Error(ErrorKind::StorageFull),
    InjectedFault::Error(ErrorKind::Other),
];

#[test]
fn an_interrupted_seal_is_resumed() {
    for fault in FAULTS {
        test_fault_at_every_operation(
            fault,
            |archive| archive.write(10, FileKind::Lines, lines(0..500)),
            &lines(0..500),
        );
    }
}

#[test]
fn an_interrupted_seal_of_a_torn_line_is_resumed() {
    for fault in FAULTS {
        test_fault_at_every_operation(
            fault,
            |archive| archive.write(10, FileKind::Lines, lines(0..5) + "{\"number"),
            &lines(0..5),
        );
    }
}

#[test]
fn an_interrupted_seal_of_late_lines_is_resumed() {
    for fault in FAULTS {
        test_fault_at_every_operation(
            fault,
            |archive| {
                archive.write(10, FileKind::Lines, lines(0..500));
                archive.run();
                archive.write(10, FileKind::Lines, lines(500..700));
            },
            &lines(0..700),
        );
    }
}

#[test]
fn an_interrupted_seal_of_repeated_late_lines_is_resumed() {
    test_fault_at_every_operation(
        InjectedFault::Crash,
        |archive| {
            archive.write(10, FileKind::Lines, lines(0..1));
            archive.run();
            archive.write_late(10, &lines(0..1));
        },
        &(lines(0..1) + &lines(0..1)),
    );
}

#[test]
fn an_interrupted_seal_is_resumed_after_further_lines() {
    use std::io::Write as _;
    for late in [false, true] {
        for nth in 0..60 {
            let archive = TestArchive::new();
            let mut expected = String::new();
            if late {
                archive.write(10, FileKind::Lines, lines(0..10));
                archive.run();
                expected += &lines(0..10);
            }
            archive.write(10, FileKind::Lines, lines(10..20));
            let (_, triggered) = with_fault(InjectedFault::Crash, nth, || archive.try_run());
            // A clock that steps back lets the recorder open the hour again.
            let file = fs::File::options()
                .append(true)
                .create(true)
                .open(archive.path(10, FileKind::Lines));
            file.unwrap().write_all(lines(20..30).as_bytes()).unwrap();
            expected += &lines(10..30);
            assert!(
                archive.cat(10) == expected,
                "late {late}, crash at {nth}: {:?}",
                archive.names()
            );
            archive.run();
            assert!(archive.decode_sealed(10) == expected, "late {late}, crash at {nth}");
            if !triggered {
                break;
            }
        }
    }
}

#[test]
fn an_interrupted_seal_is_resumed_without_a_journal() {
    for nth in 0..60 {
        let archive = TestArchive::new();
        archive.write(10, FileKind::Lines, lines(0..10));
        archive.run();
        archive.write(10, FileKind::Lines, lines(10..20));
        let (_, triggered) = with_fault(InjectedFault::Crash, nth, || archive.try_run());
        drop(fs::remove_file(archive.path(10, FileKind::Journal)));
        archive.run();
        assert_eq!(archive.decode_sealed(10), lines(0..20), "crash at {nth}");
        if !triggered {
            break;
        }
    }
}

#[test]
fn an_interrupted_removal_is_resumed() {
    for nth in 0..20 {
        let mut archive = TestArchive::new();
        archive.write(3, FileKind::Lines, lines(0..5));
        archive.run();
        archive.write(3, FileKind::Torn, "x");
        archive.job.limits.max_total_size = Some(0);
        let (_, triggered) = with_fault(InjectedFault::Crash, nth, || archive.try_run());
        assert!(
            !archive.verdicts().iter().any(|verdict| matches!(verdict, HourVerdict::Bad { .. }))
        );
        // Also when the limit has been removed from the configuration meanwhile.
        if archive.path(3, FileKind::Sealed).exists() {
            archive.run();
        } else {
            archive.job.limits = RetentionLimits::default();
            archive.run();
        }
        assert_eq!(archive.names(), Vec::<String>::new(), "crash at {nth}");
        if !triggered {
            return;
        }
    }
}
