//! Tests of archive files that are empty, damaged, unreadable or of an unexpected kind.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn failures(events: &[JobEvent]) -> Vec<String> {
    let failed = events.iter().filter(|event| matches!(event, JobEvent::Failed { .. }));
    failed.map(JobEvent::to_string).collect()
}

#[test]
fn an_empty_hour_is_sealed_like_any_other() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "");
    assert_eq!(archive.run().0.sealed, 1);
    assert_eq!(archive.decode_sealed(10), "");
    assert_eq!(archive.verdicts(), [HourVerdict::Intact { messages: 0, raw_bytes: 0 }]);
    archive.write(10, FileKind::Lines, "1\n");
    archive.run();
    assert_eq!(archive.decode_sealed(10), "1\n");
}

#[test]
fn non_utf8_bytes_are_sealed_unchanged() {
    let archive = TestArchive::new();
    let bytes = b"\xff\xfe\x00\n\x80\n";
    archive.write(10, FileKind::Lines, bytes);
    archive.run();
    let sealed = fs::read(archive.path(10, FileKind::Sealed)).unwrap();
    assert_eq!(zstd::decode_all(sealed.as_slice()).unwrap(), bytes);
}

#[test]
fn sealing_repairs_a_missing_line_feed_or_a_torn_line() {
    let archive = TestArchive::new();
    archive.write(9, FileKind::Lines, "{}\n{\"a\":1}");
    archive.write(10, FileKind::Lines, "{}\n{\"a\":");
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (2, 0), "{events:?}");
    assert_eq!(archive.decode_sealed(9), "{}\n{\"a\":1}\n");
    assert_eq!(archive.decode_sealed(10), "{}\n");
    assert_eq!(fs::read_to_string(archive.path(10, FileKind::Torn)).unwrap(), "{\"a\":\n");
    assert!(events.iter().any(|event| event.to_string().contains("its last line was torn")));
}

#[test]
fn a_future_hour_is_skipped_with_a_remark() {
    let archive = TestArchive::new();
    archive.write(20, FileKind::Lines, "1\n");
    let (summary, events) = archive.run();
    assert_eq!(summary, JobSummary::default());
    assert!(events[0].to_string().contains("lies in the future"), "{events:?}");
}

#[test]
fn foreign_files_are_untouched_and_non_regular_ones_reported() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n");
    let at = |name: &str| archive.dir.path().join(name);
    for name in ["t_36000.jsonl.gz", "t_36001.jsonl", "notes.txt", "T_36000.jsonl~", "_36000.jsonl"]
    {
        fs::write(at(name), "x").unwrap();
    }
    symlink("t_36000.jsonl", at("l_36000.jsonl")).unwrap();
    symlink("l_0.jsonl", at("l_0.jsonl")).unwrap();
    fs::create_dir(at("d_36000.jsonl")).unwrap();
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (1, 0), "{events:?}");
    let remarks = events.iter().filter(|event| event.to_string().contains("not a regular file"));
    assert_eq!(remarks.count(), 3);
    assert_eq!(archive.names().len(), 10);
}

#[test]
fn a_corrupt_sealed_file_is_set_aside_and_its_lines_resealed() {
    let archive = TestArchive::new();
    for number in 1..=2_u64 {
        archive.write(10, FileKind::Lines, lines(0..100 * number));
        archive.write(10, FileKind::Sealed, "no zstd");
        let (summary, events) = archive.run();
        assert_eq!((summary.sealed, summary.failures), (1, 0), "{events:?}");
        assert!(events[0].to_string().contains("corrupt ("), "{events:?}");
        assert_eq!(archive.decode_sealed(10), lines(0..100 * number));
    }
    assert_eq!(fs::read(archive.path(10, FileKind::Corrupt(1))).unwrap(), b"no zstd");
    assert_eq!(fs::read(archive.path(10, FileKind::Corrupt(2))).unwrap(), b"no zstd");
}

#[test]
fn a_corrupt_sealed_file_without_lines_is_reported_and_kept() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..1000));
    archive.run();
    let path = archive.path(10, FileKind::Sealed);
    let good = fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let other = zstd::encode_all(lines(1..1001).as_bytes(), 1).unwrap();
    let torn = good[..good.len() - 5].to_vec();
    for (bad, reason) in [
        (flipped.as_slice(), "cannot be decoded"),
        (torn.as_slice(), "cannot be decoded"),
        (other.as_slice(), "bytes"),
        (b"", "cannot be decoded"),
    ] {
        fs::write(&path, bad).unwrap();
        let verdicts = archive.verdicts();
        let [HourVerdict::Bad { reason: found }] = verdicts.as_slice() else {
            panic!("{verdicts:?}")
        };
        assert!(found.contains(reason), "{found}");
        archive.run();
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    fs::remove_file(&path).unwrap();
    let verdicts = archive.verdicts();
    let [HourVerdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(reason.contains("it held 1000 messages"), "{reason}");
}

#[test]
fn a_corrupt_foreign_file_fails_on_every_run() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Sealed, "no zstd");
    archive.write(11, FileKind::Lines, "1\n");
    for _ in 0..2 {
        let (_, events) = archive.run();
        assert_eq!(failures(&events).len(), 1, "{events:?}");
        assert_eq!(fs::read(archive.path(10, FileKind::Sealed)).unwrap(), b"no zstd");
    }
    assert_eq!(archive.decode_sealed(11), "1\n");
}

#[test]
fn verify_reports_messages_lost_with_a_corrupt_file() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..100));
    archive.run();
    archive.write(10, FileKind::Sealed, "no zstd");
    archive.write(10, FileKind::Lines, lines(100..110));
    archive.run();
    let verdicts = archive.verdicts();
    let [HourVerdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(reason.contains("100 messages that were sealed once are not in it"), "{reason}");
}

#[test]
fn a_failing_hour_does_not_stop_the_others() {
    let archive = TestArchive::new();
    for hour in [9, 10, 11] {
        archive.write(hour, FileKind::Lines, "1\n");
    }
    // A directory in place of the temporary file: even root cannot write to it.
    fs::create_dir(archive.path(10, FileKind::SealingTemp)).unwrap();
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (2, 1), "{events:?}");
    assert!(failures(&events)[0].contains("t_36000.jsonl"), "{events:?}");
    assert_eq!(archive.cat(10), "1\n");
}

#[test]
fn a_read_only_directory_is_a_lock_file_error() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n");
    fs::set_permissions(archive.dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let result = archive.try_run();
    fs::set_permissions(archive.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root may write all the same.
        assert!(result.is_ok());
    } else {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(".streamer.archive.lock"), "{error}");
    }
    assert_eq!(archive.cat(10), "1\n");
}

#[test]
fn a_missing_directory_is_named_in_the_error() {
    let mut archive = TestArchive::new();
    archive.job.dir = archive.dir.path().join("nowhere");
    let error = archive.try_run().unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn an_unreadable_hour_is_a_failure() {
    if rustix::process::geteuid().is_root() {
        // Root may open everything; `tests/archive.rs` tests this as another user.
        return;
    }
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, "1\n");
    fs::set_permissions(archive.path(10, FileKind::Lines), fs::Permissions::from_mode(0o000))
        .unwrap();
    assert_eq!(archive.run().0.failures, 1);
}
