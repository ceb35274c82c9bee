//! Tests of hours in several files, of which some are gone or cut off.

use std::io::ErrorKind;

use super::recording_faults::{TestRecorder, read_gaps};
use super::*;
use crate::archive::cat::cat_hour;
use crate::archive::disk::injected_fault::{InjectedFault, with_fault};
use crate::archive::gaps::{Gap, GapKind};
use crate::archive::hour_entry::HourEntry;
use crate::archive::hour_writer::CloseReason;
use crate::archive::journal::JournalEvent;
use crate::base::connection_id::ConnectionId;

/// Lines of each file of [`continued_hour`].
const FILES: [(FileKind, std::ops::Range<u64>); 4] = [
    (FileKind::Part(1), 0..100),
    (FileKind::Part(2), 100..200),
    (FileKind::Part(3), 200..300),
    (FileKind::Lines, 300..400),
];

/// Records hour 10 in four files.
fn continued_hour() -> TestArchive {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
    for (index, (_, range)) in (0..).zip(FILES) {
        let write = || recorder.write(36_010 + index, range);
        if index == 0 {
            write();
        } else {
            let too_large = InjectedFault::Error(ErrorKind::FileTooLarge);
            assert!(with_fault(too_large, 0, write).1);
        }
        recorder.tick(36_010 + index);
    }
    recorder.close_hour(39_600, CloseReason::Stopped);
    let names = archive.names();
    let files = Directory::read(archive.dir.path()).unwrap().hours;
    let kinds = files.iter().flat_map(HourEntry::unsealed_kinds);
    assert_eq!(kinds.count(), 4, "{names:?}");
    archive
}

fn try_cat(archive: &TestArchive) -> (String, Result<(), CatError>) {
    let hours = Directory::read(archive.dir.path()).unwrap().hours;
    let mut out = Vec::new();
    let now = UnixNanos::from_seconds(NOW);
    let result = hours
        .iter()
        .filter(|entry| entry.has_lines())
        .try_for_each(|entry| cat_hour(archive.dir.path(), entry, now, &mut out));
    (String::from_utf8(out).unwrap(), result)
}

fn missing(archive: &TestArchive) -> Vec<Gap> {
    let mut gaps = read_gaps(archive);
    gaps.retain(|gap| gap.kind == GapKind::Dropped && gap.cause == "lines_missing");
    gaps
}

/// Asserts that every reader tells that lines are missing.
fn assert_told(archive: &TestArchive, rest: &str, lost: u64, what: &str) {
    let (printed, result) = try_cat(archive);
    assert_eq!(printed, rest, "{what}");
    let hours = Directory::read(archive.dir.path()).unwrap().hours;
    assert!(result.is_err() || !hours[0].has_lines(), "{what}");
    let verdicts = archive.verdicts();
    assert!(matches!(verdicts.as_slice(), [HourVerdict::Bad { .. }]), "{what}: {verdicts:?}");
    let gaps = missing(archive);
    let counted: u64 = gaps.iter().filter_map(|gap| gap.messages).sum();
    assert_eq!(counted, lost, "{what}: {gaps:?}");
    assert!(gaps.iter().all(|gap| (36_000..=39_600).contains(&gap.from.seconds())), "{gaps:?}");
}

#[test]
fn a_file_of_a_continued_hour_that_is_gone_or_cut_off_is_told_by_every_reader() {
    for (kind, range) in FILES {
        for left in [None, Some(0), Some(40)] {
            let archive = continued_hour();
            let path = archive.path(10, kind);
            let kept = range.start..range.start + left.unwrap_or(0);
            match left {
                None => fs::remove_file(&path).unwrap(),
                Some(_) => fs::write(&path, lines(kept.clone())).unwrap(),
            }
            let rest = lines(0..range.start) + &lines(kept) + &lines(range.end..400);
            let lost = 100 - left.unwrap_or(0);
            let what = format!("{kind} with {left:?} lines");
            assert_told(&archive, &rest, lost, &what);
            archive.run();
            assert_eq!(archive.decode_sealed(10), rest);
            assert_told(&archive, &rest, lost, &format!("{what}, sealed"));
            archive.run();
            assert_told(&archive, &rest, lost, &format!("{what}, sealed, and run again"));
        }
    }
}

#[test]
fn a_continued_hour_without_any_of_its_files_is_told() {
    let archive = continued_hour();
    for (kind, _) in FILES {
        fs::remove_file(archive.path(10, kind)).unwrap();
    }
    assert_told(&archive, "", 400, "all are gone");
}

#[test]
fn a_part_that_a_crash_left_unrecorded_is_whole() {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
    recorder.write(36_010, 0..100);
    recorder.tick(36_011);
    drop(recorder);
    fs::rename(archive.path(10, FileKind::Lines), archive.path(10, FileKind::Part(1))).unwrap();
    let assert_whole = |count| {
        let (printed, result) = try_cat(&archive);
        result.unwrap();
        assert_eq!(printed, lines(0..count));
        let is_bad = |verdict: &HourVerdict| matches!(verdict, HourVerdict::Bad { .. });
        assert!(!archive.verdicts().iter().any(is_bad), "{:?}", archive.verdicts());
        assert_eq!(missing(&archive), []);
    };
    assert_whole(100);
    let mut again = TestRecorder::new(&archive, "second");
    again.record_event(36_020, JournalEvent::Up { connection: ConnectionId::new(1) });
    assert_whole(100);
    again.write(36_030, 100..120);
    again.close_hour(36_040, CloseReason::Stopped);
    assert_whole(120);
    archive.run();
    assert_whole(120);
    assert_eq!(archive.names(), ["t_36000.journal", "t_36000.jsonl.zst"]);
}

#[test]
fn a_sealed_file_that_is_decompressed_is_whole_and_a_part_of_it_is_not() {
    let archive = continued_hour();
    archive.run();
    let sealed = archive.path(10, FileKind::Sealed);
    let text = archive.decode_sealed(10);
    fs::remove_file(&sealed).unwrap();
    archive.write(10, FileKind::Lines, &text);
    let (printed, result) = try_cat(&archive);
    result.unwrap();
    assert_eq!(printed, lines(0..400));
    assert_eq!(missing(&archive), []);
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Unsealed { .. }]));
    archive.write(10, FileKind::Lines, lines(0..300));
    assert!(try_cat(&archive).1.is_err());
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Bad { .. }]));
    assert_eq!(missing(&archive).len(), 1);
}

#[test]
fn a_sealed_file_that_is_cut_off_is_a_gap() {
    for keep in [0, 1, 2] {
        let archive = continued_hour();
        archive.run();
        let sealed = archive.path(10, FileKind::Sealed);
        let bytes = fs::read(&sealed).unwrap();
        // Each seal made a frame.
        let magic = 0xFD2F_B528_u32.to_le_bytes();
        let starts: Vec<_> = memchr::memmem::find_iter(&bytes, &magic).collect();
        assert_eq!(starts.len(), 4);
        fs::write(&sealed, &bytes[..starts[keep]]).unwrap();
        let rest = lines(0..keep as u64 * 100);
        assert_told(&archive, &rest, 400 - keep as u64 * 100, &format!("{keep} frames"));
    }
}

#[test]
fn an_hour_that_another_program_compressed_is_compared_with_the_marks() {
    let compress = |text: String| zstd::encode_all(text.as_bytes(), 1).unwrap();
    for (count, is_whole) in [(400, true), (300, false)] {
        let archive = continued_hour();
        for (kind, _) in FILES {
            fs::remove_file(archive.path(10, kind)).unwrap();
        }
        archive.write(10, FileKind::Sealed, compress(lines(0..count)));
        assert_eq!(try_cat(&archive).1.is_ok(), is_whole);
        let is_bad = matches!(archive.verdicts().as_slice(), [HourVerdict::Bad { .. }]);
        assert_eq!(!is_bad, is_whole, "{:?}", archive.verdicts());
    }
}

#[test]
fn without_a_journal_nothing_is_known_to_be_missing() {
    let archive = continued_hour();
    fs::remove_file(archive.path(10, FileKind::Journal)).unwrap();
    let (printed, result) = try_cat(&archive);
    result.unwrap();
    assert_eq!(printed, lines(0..400));
    let gaps = read_gaps(&archive);
    assert!(gaps.iter().any(|gap| gap.kind == GapKind::Unknown), "{gaps:?}");
}

#[test]
fn a_last_line_without_line_feed_is_told_once_nobody_writes_it() {
    for (torn, after) in [("{\"a\":", lines(0..10)), ("{\"a\":1}", lines(0..10) + "{\"a\":1}\n")] {
        let archive = TestArchive::new();
        archive.write(10, FileKind::Lines, lines(0..10) + torn);
        let (printed, result) = try_cat(&archive);
        assert_eq!(printed, lines(0..10));
        assert!(matches!(result, Err(CatError::Unterminated { .. })), "{result:?}");
        archive.run();
        let (printed, result) = try_cat(&archive);
        result.unwrap();
        assert_eq!(printed, after);
    }
    // A crash leaves such a line, and no recorder that closed the file does.
    let archive = continued_hour();
    let before = archive.verdicts();
    assert!(matches!(before.as_slice(), [HourVerdict::Unsealed { .. }]), "{before:?}");
    archive.write(10, FileKind::Lines, lines(300..400) + "{\"a\":");
    assert!(try_cat(&archive).1.is_err());
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Bad { .. }]));
    let archive = TestArchive::new();
    archive.write(12, FileKind::Lines, lines(0..10) + "{\"a\":");
    try_cat(&archive).1.unwrap();
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Unsealed { .. }]));
}
