//! Files of ours that are not as they should be.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn failures(events: &[Event]) -> Vec<String> {
    let failed = events.iter().filter(|event| matches!(event, Event::Failed { .. }));
    failed.map(Event::to_string).collect()
}

#[test]
fn an_empty_hour_is_sealed_like_any_other() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, "");
    assert_eq!(archive.run().0.sealed, 1);
    assert_eq!(archive.unsealed(10), "");
    assert_eq!(archive.verdicts(), [Verdict::Intact { messages: 0, raw_bytes: 0 }]);
    archive.write(10, Kind::Lines, "1\n");
    archive.run();
    assert_eq!(archive.unsealed(10), "1\n");
}

#[test]
fn bytes_that_are_no_text_are_sealed_as_they_are() {
    let archive = Archive::new();
    let bytes = b"\xff\xfe\x00\n\x80\n";
    archive.write(10, Kind::Lines, bytes);
    archive.run();
    let sealed = fs::read(archive.path(10, Kind::Sealed)).unwrap();
    assert_eq!(zstd::decode_all(sealed.as_slice()).unwrap(), bytes);
}

#[test]
fn a_missing_last_line_feed_is_added_or_the_torn_line_kept_aside() {
    let archive = Archive::new();
    archive.write(9, Kind::Lines, "{}\n{\"a\":1}");
    archive.write(10, Kind::Lines, "{}\n{\"a\":");
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (2, 0), "{events:?}");
    assert_eq!(archive.unsealed(9), "{}\n{\"a\":1}\n");
    assert_eq!(archive.unsealed(10), "{}\n");
    assert_eq!(fs::read_to_string(archive.path(10, Kind::Torn)).unwrap(), "{\"a\":\n");
    assert!(events.iter().any(|event| event.to_string().contains("its last line was torn")));
}

#[test]
fn an_hour_of_the_future_is_left_alone_with_a_word() {
    let archive = Archive::new();
    archive.write(20, Kind::Lines, "1\n");
    let (summary, events) = archive.run();
    assert_eq!(summary, Summary::default());
    assert!(events[0].to_string().contains("lies in the future"), "{events:?}");
}

#[test]
fn strangers_are_not_touched_and_nearly_ours_get_a_word() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, "1\n");
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
    let words = events.iter().filter(|event| event.to_string().contains("no regular file"));
    assert_eq!(words.count(), 3);
    assert_eq!(archive.names().len(), 10);
}

#[test]
fn a_corrupt_sealed_file_is_kept_aside_while_its_lines_are_there() {
    let archive = Archive::new();
    for number in 1..=2_u64 {
        archive.write(10, Kind::Lines, lines(0..100 * number));
        archive.write(10, Kind::Sealed, "no zstd");
        let (summary, events) = archive.run();
        assert_eq!((summary.sealed, summary.failures), (1, 0), "{events:?}");
        assert!(events[0].to_string().contains("corrupt ("), "{events:?}");
        assert_eq!(archive.unsealed(10), lines(0..100 * number));
    }
    assert_eq!(fs::read(archive.path(10, Kind::Corrupt(1))).unwrap(), b"no zstd");
    assert_eq!(fs::read(archive.path(10, Kind::Corrupt(2))).unwrap(), b"no zstd");
}

#[test]
fn a_corrupt_sealed_file_alone_is_reported_and_stays() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, lines(0..1000));
    archive.run();
    let path = archive.path(10, Kind::Sealed);
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
        let [Verdict::Bad { reason: found }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert!(found.contains(reason), "{found}");
        archive.run();
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    fs::remove_file(&path).unwrap();
    let verdicts = archive.verdicts();
    let [Verdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(reason.contains("it held 1000 messages"), "{reason}");
}

#[test]
fn what_another_program_left_corrupt_is_a_failure_each_time() {
    let archive = Archive::new();
    archive.write(10, Kind::Sealed, "no zstd");
    archive.write(11, Kind::Lines, "1\n");
    for _ in 0..2 {
        let (_, events) = archive.run();
        assert_eq!(failures(&events).len(), 1, "{events:?}");
        assert_eq!(fs::read(archive.path(10, Kind::Sealed)).unwrap(), b"no zstd");
    }
    assert_eq!(archive.unsealed(11), "1\n");
}

#[test]
fn what_a_corrupt_file_held_is_missed_when_less_is_left() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, lines(0..100));
    archive.run();
    archive.write(10, Kind::Sealed, "no zstd");
    archive.write(10, Kind::Lines, lines(100..110));
    archive.run();
    let verdicts = archive.verdicts();
    let [Verdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(reason.contains("100 messages that were sealed once are not in it"), "{reason}");
}

#[test]
fn an_hour_that_cannot_be_read_does_not_keep_the_others() {
    let archive = Archive::new();
    for hour in [9, 10, 11] {
        archive.write(hour, Kind::Lines, "1\n");
    }
    // Root reads everything, but writes to no directory.
    fs::create_dir(archive.path(10, Kind::Sealing)).unwrap();
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (2, 1), "{events:?}");
    assert!(failures(&events)[0].contains("t_36000.jsonl"), "{events:?}");
    assert_eq!(archive.cat(10), "1\n");
}

#[test]
fn a_directory_without_write_permission_is_one_clear_error() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, "1\n");
    fs::set_permissions(archive.dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let result = archive.try_run();
    fs::set_permissions(archive.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        // Root may.
        assert!(result.is_ok());
    } else {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(".streamer.archive.lock"), "{error}");
    }
    assert_eq!(archive.cat(10), "1\n");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let mut archive = Archive::new();
    archive.job.dir = archive.dir.path().join("nowhere");
    let error = archive.try_run().unwrap_err().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn an_hour_that_may_not_be_opened_is_a_failure() {
    if rustix::process::geteuid().is_root() {
        // Root may open everything; `tests/archive.rs` does this as somebody else.
        return;
    }
    let archive = Archive::new();
    archive.write(10, Kind::Lines, "1\n");
    fs::set_permissions(archive.path(10, Kind::Lines), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(archive.run().0.failures, 1);
}
