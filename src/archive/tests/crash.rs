//! A run that is cut off before any one of its operations, and the next run.

use std::io::ErrorKind;

use super::*;
use crate::archive::disk::faults::{Fault, with};

/// Runs the job with the fault at each operation in turn, each time on a fresh archive, and then
/// once more without. `prepare` fills the hour 10, which holds `expected` from then on.
fn at_every_operation(fault: Fault, prepare: impl Fn(&Archive), expected: &str) {
    let name = match fault {
        Fault::Error(kind) => format!("{kind}"),
        Fault::Crash | Fault::Meanwhile(_) => "a crash".to_owned(),
    };
    for nth in 0.. {
        assert!(nth < 200, "the run does not come to an end");
        let archive = Archive::new();
        prepare(&archive);
        let (_, came) = with(fault, nth, || archive.try_run());
        assert!(archive.cat(10) == expected, "{name} at {nth}: {:?}", archive.names());
        let bad = archive.verdicts().iter().any(|v| matches!(v, Verdict::Bad { .. }));
        assert!(!bad, "{name} at {nth}: nothing is lost, so nothing is bad");
        archive.run();
        let names = archive.names();
        assert!(archive.unsealed(10) == expected, "{name} at {nth}: {names:?}");
        assert!(archive.cat(10) == expected, "{name} at {nth}: {names:?}");
        let expected_names = ["journal", "zst", "torn"];
        let stray =
            names.iter().any(|name| !expected_names.contains(&name.rsplit_once('.').unwrap().1));
        assert!(!stray, "{name} at {nth}: {names:?}");
        let verdicts = archive.verdicts();
        let intact = matches!(verdicts.as_slice(), [Verdict::Intact { .. }]);
        assert!(intact, "{name} at {nth}: {verdicts:?}");
        if !came {
            assert!(nth > 10, "only {nth} operations were seen");
            return;
        }
    }
}

const FAULTS: [Fault; 3] =
    [Fault::Crash, Fault::Error(ErrorKind::StorageFull), Fault::Error(ErrorKind::Other)];

#[test]
fn a_seal_is_taken_up_wherever_it_was_cut_off() {
    for fault in FAULTS {
        at_every_operation(
            fault,
            |archive| archive.write(10, Kind::Lines, lines(0..500)),
            &lines(0..500),
        );
    }
}

#[test]
fn so_is_one_with_a_torn_line() {
    for fault in FAULTS {
        at_every_operation(
            fault,
            |archive| archive.write(10, Kind::Lines, lines(0..5) + "{\"number"),
            &lines(0..5),
        );
    }
}

#[test]
fn so_is_one_of_late_lines() {
    for fault in FAULTS {
        at_every_operation(
            fault,
            |archive| {
                archive.write(10, Kind::Lines, lines(0..500));
                archive.run();
                archive.write(10, Kind::Lines, lines(500..700));
            },
            &lines(0..700),
        );
    }
}

#[test]
fn so_is_one_of_late_lines_that_are_the_same_as_those_before() {
    at_every_operation(
        Fault::Crash,
        |archive| {
            archive.write(10, Kind::Lines, lines(0..1));
            archive.run();
            archive.write_late(10, &lines(0..1));
        },
        &(lines(0..1) + &lines(0..1)),
    );
}

#[test]
fn so_is_one_whose_hour_gets_further_lines_before_the_next_run() {
    use std::io::Write as _;
    for late in [false, true] {
        for nth in 0..60 {
            let archive = Archive::new();
            let mut expected = String::new();
            if late {
                archive.write(10, Kind::Lines, lines(0..10));
                archive.run();
                expected += &lines(0..10);
            }
            archive.write(10, Kind::Lines, lines(10..20));
            let (_, came) = with(Fault::Crash, nth, || archive.try_run());
            // A clock that steps back lets the recorder open the hour again.
            let file =
                fs::File::options().append(true).create(true).open(archive.path(10, Kind::Lines));
            file.unwrap().write_all(lines(20..30).as_bytes()).unwrap();
            expected += &lines(10..30);
            assert!(
                archive.cat(10) == expected,
                "late {late}, crash at {nth}: {:?}",
                archive.names()
            );
            archive.run();
            assert!(archive.unsealed(10) == expected, "late {late}, crash at {nth}");
            if !came {
                break;
            }
        }
    }
}

#[test]
fn without_a_journal_nothing_is_lost_or_doubled_either() {
    for nth in 0..60 {
        let archive = Archive::new();
        archive.write(10, Kind::Lines, lines(0..10));
        archive.run();
        archive.write(10, Kind::Lines, lines(10..20));
        let (_, came) = with(Fault::Crash, nth, || archive.try_run());
        drop(fs::remove_file(archive.path(10, Kind::Journal)));
        archive.run();
        assert_eq!(archive.unsealed(10), lines(0..20), "crash at {nth}");
        if !came {
            break;
        }
    }
}

#[test]
fn a_removal_is_taken_up_as_well() {
    for nth in 0..20 {
        let mut archive = Archive::new();
        archive.write(3, Kind::Lines, lines(0..5));
        archive.run();
        archive.write(3, Kind::Torn, "x");
        archive.job.limits.max_total_size = Some(0);
        let (_, came) = with(Fault::Crash, nth, || archive.try_run());
        assert!(!archive.verdicts().iter().any(|verdict| matches!(verdict, Verdict::Bad { .. })));
        // Even when the limit does not ask for it any more.
        if archive.path(3, Kind::Sealed).exists() {
            archive.run();
        } else {
            archive.job.limits = Limits::default();
            archive.run();
        }
        assert_eq!(archive.names(), Vec::<String>::new(), "crash at {nth}");
        if !came {
            return;
        }
    }
}
