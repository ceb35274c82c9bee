//! Tests of other programs and users in the same directory, before, after and while the job runs.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;
use crate::archive::disk::injected_fault::{InjectedFault, with_fault};
use crate::archive::file_lock::is_locked;
use crate::archive::gaps::HourGaps;
use crate::archive::hour_file::HourFile;
use crate::archive::hour_summary::{HourState, summarize_hour};
use crate::archive::seal::{SealOutcome, SealTarget, SealWarning, seal};

/// Decompresses the sealed file as `unzstd` does: the lines have its time.
fn unzstd(archive: &TestArchive, hour: u64) {
    let sealed = fs::metadata(archive.path(hour, FileKind::Sealed)).unwrap();
    archive.write(hour, FileKind::Lines, archive.decode_sealed(hour));
    let lines = fs::File::options().append(true).open(archive.path(hour, FileKind::Lines)).unwrap();
    lines.set_modified(sealed.modified().unwrap()).unwrap();
}

#[test]
fn a_recorder_that_appends_during_a_seal_loses_nothing() {
    for nth in 0..60 {
        let archive = TestArchive::new();
        archive.write(10, FileKind::Lines, lines(0..100));
        let dir = archive.dir.path().to_owned();
        let path = archive.path(10, FileKind::Lines);
        let recorder: Arc<Mutex<Option<JoinHandle<()>>>> = Arc::default();
        let started = Arc::clone(&recorder);
        let append_late = move || {
            let dir = dir.clone();
            let held = is_locked(&path);
            let late = std::thread::spawn(move || {
                let hour = Hour::starting_at(10 * 3600).unwrap();
                let stem = Stem::from_topic("t").unwrap();
                let (mut file, _) = loop {
                    match HourFile::open(&dir, &stem, hour, 0o640) {
                        Err(error) if error.is_locked() => std::thread::yield_now(),
                        opened => break opened.unwrap(),
                    }
                };
                file.append(lines(100..101).as_bytes(), 1).unwrap();
            });
            if held {
                // The thread waits until the hour is sealed.
                *started.lock().unwrap() = Some(late);
            } else {
                late.join().unwrap();
            }
        };
        let (result, triggered) =
            with_fault(InjectedFault::Interleave(Box::leak(Box::new(append_late))), nth, || {
                archive.try_run()
            });
        if let Some(late) = recorder.lock().unwrap().take() {
            late.join().unwrap();
        }
        result.unwrap();
        if !triggered {
            assert!(nth > 10, "only {nth} operations were seen");
            return;
        }
        assert_eq!(archive.cat(10), lines(0..101), "at {nth}");
        archive.run();
        assert_eq!(archive.decode_sealed(10), lines(0..101), "at {nth}");
    }
}

#[test]
fn locked_and_rewritten_files_are_not_sealed() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..100));
    let stem = Stem::from_topic("t").unwrap();
    let hour = Hour::starting_at(10 * 3600).unwrap();
    let target = SealTarget { dir: archive.dir.path(), stem: &stem, hour, lines: FileKind::Lines };
    let mut ignore = |_: SealWarning| {};
    let mut run = || {
        let compression = archive.job.compression;
        seal(target, compression, &archive.clock, &Progress::default(), &mut ignore)
    };
    let held = fs::File::open(archive.path(10, FileKind::Lines)).unwrap();
    held.lock().unwrap();
    assert_eq!(run().unwrap(), SealOutcome::InUse);
    assert_eq!(archive.names(), ["t_36000.jsonl"]);
    drop(held);
    let path = archive.path(10, FileKind::Lines);
    let rewrite: &'static _ = Box::leak(Box::new(move || fs::write(&path, "other\n").unwrap()));
    // The third operation is a write to the temporary file.
    let (result, triggered) = with_fault(InjectedFault::Interleave(rewrite), 3, run);
    assert!(triggered && result.is_err(), "{result:?}");
    assert_eq!(archive.cat(10), "other\n");
    assert_eq!(archive.names(), ["t_36000.jsonl"]);
}

#[test]
fn a_half_written_foreign_zstd_file_is_not_set_aside_as_corrupt() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..1000));
    let whole = zstd::encode_all(lines(0..1000).as_bytes(), 3).unwrap();
    archive.write(10, FileKind::Sealed, &whole[..whole.len() / 2]);
    let sealed = archive.path(10, FileKind::Sealed);
    let path = archive.path(10, FileKind::Lines);
    // The other program finishes while the lines are sealed.
    let finish: &'static _ = Box::leak(Box::new(move || {
        let mut file = fs::File::options().append(true).open(&sealed).unwrap();
        file.write_all(&whole[whole.len() / 2..]).unwrap();
        fs::remove_file(&path).unwrap();
    }));
    let (result, triggered) =
        with_fault(InjectedFault::Interleave(finish), 3, || archive.try_run());
    assert!(triggered && result.is_ok());
    assert_eq!(archive.names().iter().filter(|name| name.contains("corrupt")).count(), 0);
    assert_eq!(archive.cat(10), lines(0..1000));
}

#[test]
fn a_decompressed_hour_is_not_sealed_twice() {
    let archive = TestArchive::new();
    // Hour 9 was sealed by another program, hour 10 has late lines. All are decompressed by
    // `unzstd`, and hour 11 again by redirection, which does not keep the time.
    archive.write(9, FileKind::Sealed, zstd::encode_all(lines(0..10).as_bytes(), 3).unwrap());
    archive.write(10, FileKind::Lines, lines(0..10));
    archive.write(11, FileKind::Lines, lines(0..10_000));
    archive.run();
    archive.write_late(10, &lines(10..20));
    archive.run();
    for hour in [9, 10, 11] {
        unzstd(&archive, hour);
    }
    archive.write(11, FileKind::Lines, archive.decode_sealed(11));
    assert_eq!([9, 10, 11].map(|hour| archive.cat(hour).lines().count()), [10, 20, 10_000]);
    let (_, events) = archive.run();
    assert_eq!(
        [9, 10, 11].map(|hour| archive.decode_sealed(hour).lines().count()),
        [10, 20, 10_000],
        "{events:?}"
    );
    assert!(!archive.path(10, FileKind::Lines).exists());
}

#[test]
fn verify_reports_sealed_lines_that_were_removed_or_replaced() {
    for replacement in [None, Some(lines(0..50))] {
        let archive = TestArchive::new();
        archive.write(10, FileKind::Lines, lines(0..100));
        archive.run();
        match &replacement {
            None => fs::remove_file(archive.path(10, FileKind::Sealed)).unwrap(),
            Some(fewer) => {
                archive.write(10, FileKind::Sealed, zstd::encode_all(fewer.as_bytes(), 3).unwrap());
            }
        }
        archive.write(10, FileKind::Lines, lines(100..300));
        let (_, events) = archive.run();
        let verdicts = archive.verdicts();
        let [HourVerdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert!(reason.contains("100 messages that were sealed once"), "{reason}");
        if replacement.is_none() {
            assert!(events[0].to_string().contains("with 100 messages, was gone"), "{events:?}");
        }
    }
}

#[test]
fn lines_appended_to_an_unterminated_sealed_file_start_a_new_line() {
    let archive = TestArchive::new();
    let torn = zstd::encode_all(&b"{\"a\":1}\n{\"b\":"[..], 3).unwrap();
    archive.write(10, FileKind::Sealed, &torn);
    archive.write(11, FileKind::Sealed, &torn);
    archive.run();
    let expected = "{\"a\":1}\n{\"b\":\n{\"c\":3}\n";
    for hour in [10, 11] {
        archive.write(hour, FileKind::Lines, "{\"c\":3}\n");
        assert_eq!(archive.cat(hour), expected);
    }
    archive.run();
    for hour in [10, 11] {
        assert_eq!(archive.decode_sealed(hour), expected);
        assert_eq!(archive.cat(hour), expected);
    }
}

#[test]
fn an_oversized_frame_window_is_a_failure_not_corruption() {
    let archive = TestArchive::new();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(lines(0..10).as_bytes()).unwrap();
    let sealed = encoder.finish().unwrap();
    archive.write(10, FileKind::Sealed, &sealed);
    archive.write(10, FileKind::Lines, lines(10..20));
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (0, 1), "{events:?}");
    assert_eq!(archive.names(), ["t_36000.jsonl", "t_36000.jsonl.zst"]);
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Unreadable { .. }]));
}

#[test]
fn cat_writes_the_lines_beside_a_corrupt_sealed_file() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..10));
    archive.write(10, FileKind::Sealed, "no zstd");
    let mut out = Vec::new();
    let directory = Directory::read(archive.dir.path()).unwrap();
    let failed = super::super::cat::cat_hour(
        archive.dir.path(),
        &directory.hours[0],
        UnixNanos::from_seconds(NOW),
        &mut out,
    );
    assert!(failed.is_err());
    assert_eq!(out, lines(0..10).as_bytes());
}

#[test]
fn ls_does_not_count_lines_twice_after_a_crash() {
    for nth in 0.. {
        let archive = TestArchive::new();
        archive.write(10, FileKind::Lines, lines(0..100));
        let (_, triggered) = with_fault(InjectedFault::Crash, nth, || archive.try_run());
        let directory = Directory::read(archive.dir.path()).unwrap();
        let entry =
            directory.hours.iter().find(|entry| entry.hour.start_seconds() == 36_000).unwrap();
        let journal = journal::read_compacted(&archive.path(10, FileKind::Journal))
            .unwrap()
            .unwrap_or_default();
        let now = UnixNanos::from_seconds(NOW);
        let summary =
            summarize_hour(archive.dir.path(), entry, &journal, HourGaps::default(), now).unwrap();
        assert_eq!(summary.messages, Some(100), "crash at {nth}: {:?}", archive.names());
        assert_eq!(summary.state == HourState::Sealed, !archive.path(10, FileKind::Lines).exists());
        if !triggered {
            return;
        }
    }
}

#[test]
fn an_unreachable_size_limit_removes_nothing() {
    let mut archive = TestArchive::new();
    for hour in 1..=5 {
        archive.write(hour, FileKind::Lines, lines(0..10));
    }
    archive.run();
    // The open hour alone exceeds the limit.
    archive.write(12, FileKind::Lines, lines(0..100_000));
    archive.job.limits.max_total_size = Some(1_000);
    let (summary, events) = archive.run();
    assert_eq!(summary.removed, 0);
    assert!(matches!(events.as_slice(), [JobEvent::Unmet { .. }]), "{events:?}");
}

#[test]
fn cat_skips_damaged_frames_and_never_writes_altered_lines() {
    let archive = TestArchive::new();
    archive.write(10, FileKind::Lines, lines(0..700_000));
    archive.run();
    let path = archive.path(10, FileKind::Sealed);
    let good = fs::read(&path).unwrap();
    let first = zstd::zstd_safe::find_frame_compressed_size(&good).unwrap();
    let frame = zstd::decode_all(&good[..first]).unwrap();
    let cat = || {
        let mut out = Vec::new();
        let directory = Directory::read(archive.dir.path()).unwrap();
        let error = super::super::cat::cat_hour(
            archive.dir.path(),
            &directory.hours[0],
            UnixNanos::from_seconds(NOW),
            &mut out,
        );
        (String::from_utf8(out).unwrap(), error.unwrap_err().to_string())
    };
    let mut flipped = good.clone();
    flipped[first / 2] ^= 0x55;
    fs::write(&path, &flipped).unwrap();
    let (out, error) = cat();
    assert!(out.as_bytes() == &lines(0..700_000).as_bytes()[frame.len()..]);
    assert!(error.contains("is damaged at its bytes 0 to "), "{error}");
    // A torn download.
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    let (out, error) = cat();
    assert!(lines(0..700_000).starts_with(&out) && out.ends_with('\n') && out.len() > frame.len());
    assert!(error.contains("incomplete frame"), "{error}");
    // The complete lines still exist: they are written instead.
    archive.write(10, FileKind::Lines, lines(0..700_001));
    assert!(archive.cat(10) == lines(0..700_001));
}

#[test]
fn a_file_as_directory_is_refused_and_unrecognized_names_get_one_remark() {
    let mut archive = TestArchive::new();
    for name in ["t_1700000000.jsonl", "a b_3600.jsonl", "t_03600.jsonl.zst"] {
        fs::write(archive.dir.path().join(name), "1\n").unwrap();
    }
    let (summary, events) = archive.run();
    assert_eq!((summary, events.len()), (JobSummary::default(), 1), "{events:?}");
    assert!(events[0].to_string().contains("3 such files are ignored"), "{}", events[0]);
    archive.job.dir = archive.dir.path().join("t_1700000000.jsonl");
    let error = archive.try_run().unwrap_err();
    assert!(crate::base::error_chain::error_chain(&error).contains("not a directory"), "{error:?}");
}
