//! Other programs and other hands in the same directory, before, after and while the job runs.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;
use crate::archive::disk::faults::{Fault, with};
use crate::archive::gaps::InHour;
use crate::archive::hour_file::HourFile;
use crate::archive::line_lock::is_held;
use crate::archive::list::{Standing, row};
use crate::archive::seal::{Outcome, Remark, Target, seal};

/// What `unzstd` leaves: the lines beside the sealed file, with its time.
fn unzstd(archive: &Archive, hour: u64) {
    let sealed = fs::metadata(archive.path(hour, Kind::Sealed)).unwrap();
    archive.write(hour, Kind::Lines, archive.unsealed(hour));
    let lines = fs::File::options().append(true).open(archive.path(hour, Kind::Lines)).unwrap();
    lines.set_modified(sealed.modified().unwrap()).unwrap();
}

#[test]
fn a_recorder_that_comes_at_any_moment_loses_nothing() {
    for nth in 0..60 {
        let archive = Archive::new();
        archive.write(10, Kind::Lines, lines(0..100));
        let dir = archive.dir.path().to_owned();
        let path = archive.path(10, Kind::Lines);
        let recorder: Arc<Mutex<Option<JoinHandle<()>>>> = Arc::default();
        let started = Arc::clone(&recorder);
        let deed = move || {
            let (dir, held) = (dir.clone(), is_held(&path));
            let late = std::thread::spawn(move || {
                let hour = Hour::starting_at(10 * 3600).unwrap();
                let (mut file, _) =
                    HourFile::open(&dir, &Stem::from_topic("t").unwrap(), hour, 0o640).unwrap();
                file.append(lines(100..101).as_bytes(), 1).unwrap();
            });
            if held {
                // It waits until the hour is sealed.
                *started.lock().unwrap() = Some(late);
            } else {
                late.join().unwrap();
            }
        };
        let (result, came) =
            with(Fault::Meanwhile(Box::leak(Box::new(deed))), nth, || archive.try_run());
        if let Some(late) = recorder.lock().unwrap().take() {
            late.join().unwrap();
        }
        result.unwrap();
        if !came {
            assert!(nth > 10, "only {nth} operations were seen");
            return;
        }
        assert_eq!(archive.cat(10), lines(0..101), "at {nth}");
        archive.run();
        assert_eq!(archive.unsealed(10), lines(0..101), "at {nth}");
    }
}

#[test]
fn a_file_that_is_held_is_not_sealed_and_one_that_is_rewritten_neither() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, lines(0..100));
    let stem = Stem::from_topic("t").unwrap();
    let hour = Hour::starting_at(10 * 3600).unwrap();
    let target = Target { dir: archive.dir.path(), stem: &stem, hour };
    let mut ignore = |_: Remark| {};
    let mut run = || {
        let compression = archive.job.compression;
        seal(target, compression, &archive.clock, &Progress::default(), &mut ignore)
    };
    let held = fs::File::open(archive.path(10, Kind::Lines)).unwrap();
    held.lock().unwrap();
    assert_eq!(run().unwrap(), Outcome::Held);
    assert_eq!(archive.names(), ["t_36000.jsonl"]);
    drop(held);
    let path = archive.path(10, Kind::Lines);
    let rewrite: &'static _ = Box::leak(Box::new(move || fs::write(&path, "other\n").unwrap()));
    // The third operation is a write to the temporary file.
    let (result, came) = with(Fault::Meanwhile(rewrite), 3, run);
    assert!(came && result.is_err(), "{result:?}");
    assert_eq!(archive.cat(10), "other\n");
    assert_eq!(archive.names(), ["t_36000.jsonl"]);
}

#[test]
fn a_zstd_that_is_under_way_is_not_taken_for_a_corrupt_file() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, lines(0..1000));
    let whole = zstd::encode_all(lines(0..1000).as_bytes(), 3).unwrap();
    archive.write(10, Kind::Sealed, &whole[..whole.len() / 2]);
    let (sealed, path) = (archive.path(10, Kind::Sealed), archive.path(10, Kind::Lines));
    // It comes to its end while the lines are sealed.
    let deed: &'static _ = Box::leak(Box::new(move || {
        let mut file = fs::File::options().append(true).open(&sealed).unwrap();
        file.write_all(&whole[whole.len() / 2..]).unwrap();
        fs::remove_file(&path).unwrap();
    }));
    let (result, came) = with(Fault::Meanwhile(deed), 3, || archive.try_run());
    assert!(came && result.is_ok());
    assert_eq!(archive.names().iter().filter(|name| name.contains("corrupt")).count(), 0);
    assert_eq!(archive.cat(10), lines(0..1000));
}

#[test]
fn an_hour_that_somebody_decompressed_is_not_sealed_twice() {
    let archive = Archive::new();
    // Of another program, of ours, and of ours with late lines; by unzstd, and by redirection.
    archive.write(9, Kind::Sealed, zstd::encode_all(lines(0..10).as_bytes(), 3).unwrap());
    archive.write(10, Kind::Lines, lines(0..10));
    archive.write(11, Kind::Lines, lines(0..10_000));
    archive.run();
    archive.write_late(10, &lines(10..20));
    archive.run();
    for hour in [9, 10, 11] {
        unzstd(&archive, hour);
    }
    archive.write(11, Kind::Lines, archive.unsealed(11));
    assert_eq!([9, 10, 11].map(|hour| archive.cat(hour).lines().count()), [10, 20, 10_000]);
    let (_, events) = archive.run();
    assert_eq!(
        [9, 10, 11].map(|hour| archive.unsealed(hour).lines().count()),
        [10, 20, 10_000],
        "{events:?}"
    );
    assert!(!archive.path(10, Kind::Lines).exists());
}

#[test]
fn what_was_sealed_and_is_gone_is_missed_whatever_comes_after() {
    for replacement in [None, Some(lines(0..50))] {
        let archive = Archive::new();
        archive.write(10, Kind::Lines, lines(0..100));
        archive.run();
        match &replacement {
            None => fs::remove_file(archive.path(10, Kind::Sealed)).unwrap(),
            Some(fewer) => {
                archive.write(10, Kind::Sealed, zstd::encode_all(fewer.as_bytes(), 3).unwrap());
            }
        }
        archive.write(10, Kind::Lines, lines(100..300));
        let (_, events) = archive.run();
        let verdicts = archive.verdicts();
        let [Verdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert!(reason.contains("100 messages that were sealed once"), "{reason}");
        if replacement.is_none() {
            assert!(events[0].to_string().contains("with 100 messages, was gone"), "{events:?}");
        }
    }
}

#[test]
fn a_sealed_file_without_its_last_line_feed_does_not_swallow_what_comes_behind() {
    let archive = Archive::new();
    let torn = zstd::encode_all(&b"{\"a\":1}\n{\"b\":"[..], 3).unwrap();
    archive.write(10, Kind::Sealed, &torn);
    archive.write(11, Kind::Sealed, &torn);
    archive.run();
    let expected = "{\"a\":1}\n{\"b\":\n{\"c\":3}\n";
    for hour in [10, 11] {
        archive.write(hour, Kind::Lines, "{\"c\":3}\n");
        assert_eq!(archive.cat(hour), expected);
    }
    archive.run();
    for hour in [10, 11] {
        assert_eq!(archive.unsealed(hour), expected);
        assert_eq!(archive.cat(hour), expected);
    }
}

#[test]
fn a_frame_that_wants_too_much_memory_is_a_failure_and_not_corrupt() {
    let archive = Archive::new();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(lines(0..10).as_bytes()).unwrap();
    let sealed = encoder.finish().unwrap();
    archive.write(10, Kind::Sealed, &sealed);
    archive.write(10, Kind::Lines, lines(10..20));
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (0, 1), "{events:?}");
    assert_eq!(archive.names(), ["t_36000.jsonl", "t_36000.jsonl.zst"]);
    assert!(matches!(archive.verdicts().as_slice(), [Verdict::Unreadable { .. }]));
}

#[test]
fn a_corrupt_file_does_not_hide_the_lines_beside_it() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, lines(0..10));
    archive.write(10, Kind::Sealed, "no zstd");
    let mut out = Vec::new();
    let view = Directory::read(archive.dir.path()).unwrap();
    let failed = super::super::cat::cat(archive.dir.path(), &view.hours[0], &mut out);
    assert!(failed.is_err());
    assert_eq!(out, lines(0..10).as_bytes());
}

#[test]
fn lines_that_a_crash_left_are_not_counted_twice() {
    for nth in 0.. {
        let archive = Archive::new();
        archive.write(10, Kind::Lines, lines(0..100));
        let (_, came) = with(Fault::Crash, nth, || archive.try_run());
        let view = Directory::read(archive.dir.path()).unwrap();
        let entry = view.hours.iter().find(|entry| entry.hour.start_seconds() == 36_000).unwrap();
        let journal =
            journal::outline(&archive.path(10, Kind::Journal)).unwrap().unwrap_or_default();
        let now = UnixNanos::from_seconds(NOW);
        let row = row(archive.dir.path(), entry, &journal, InHour::default(), now).unwrap();
        assert_eq!(row.messages, Some(100), "crash at {nth}: {:?}", archive.names());
        assert_eq!(row.state == Standing::Sealed, !archive.path(10, Kind::Lines).exists());
        if !came {
            return;
        }
    }
}

#[test]
fn a_limit_that_cannot_be_kept_costs_nothing() {
    let mut archive = Archive::new();
    for hour in 1..=5 {
        archive.write(hour, Kind::Lines, lines(0..10));
    }
    archive.run();
    // The open hour alone is too large.
    archive.write(12, Kind::Lines, lines(0..100_000));
    archive.job.limits.max_total_size = Some(1_000);
    let (summary, events) = archive.run();
    assert_eq!(summary.removed, 0);
    assert!(matches!(events.as_slice(), [Event::Unmet { .. }]), "{events:?}");
}

#[test]
fn damage_costs_the_frames_that_it_hit_and_nothing_altered_comes_out() {
    let archive = Archive::new();
    archive.write(10, Kind::Lines, lines(0..700_000));
    archive.run();
    let path = archive.path(10, Kind::Sealed);
    let good = fs::read(&path).unwrap();
    let first = zstd::zstd_safe::find_frame_compressed_size(&good).unwrap();
    let frame = zstd::decode_all(&good[..first]).unwrap();
    let cat = || {
        let mut out = Vec::new();
        let view = Directory::read(archive.dir.path()).unwrap();
        let error = super::super::cat::cat(archive.dir.path(), &view.hours[0], &mut out);
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
    // The lines are still there in whole: they are what counts.
    archive.write(10, Kind::Lines, lines(0..700_001));
    assert!(archive.cat(10) == lines(0..700_001));
}

#[test]
fn a_file_is_no_directory_and_names_that_are_nearly_ours_get_one_word() {
    let mut archive = Archive::new();
    for name in ["t_1700000000.jsonl", "a b_3600.jsonl", "t_03600.jsonl.zst"] {
        fs::write(archive.dir.path().join(name), "1\n").unwrap();
    }
    let (summary, events) = archive.run();
    assert_eq!((summary, events.len()), (Summary::default(), 1), "{events:?}");
    assert!(events[0].to_string().contains("3 such files are left alone"), "{}", events[0]);
    archive.job.dir = archive.dir.path().join("t_1700000000.jsonl");
    let error = archive.try_run().unwrap_err();
    assert!(crate::errors::error_chain(&error).contains("not a directory"), "{error:?}");
}
