//! Tests of the time index, from the recorder to the sealed file.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::archive::hour_writer::{
    CloseReason, HourWriter, HourWriterOptions, JournalSync, TimeIndexing,
};
use crate::archive::journal::OpenEvent;
use crate::archive::receipt_runs::ReceiptRuns;
use crate::archive::received_lines::ReceivedLines;
use crate::archive::time_index::{IndexedLines, TICK_NANOS, TimesFile};
use crate::base::time::Receipt;

/// The hour of the tests, which is over.
const HOUR: u64 = 3;

fn hour() -> Hour {
    Hour::starting_at(HOUR * 3600).unwrap()
}

/// A run of a recorder in [`HOUR`], whose lines name the microsecond of their receipt.
struct Run {
    open: HourWriter,
    micros: u64,
}

impl Run {
    fn start(archive: &TestArchive, micros: u64) -> Self {
        let options = HourWriterOptions {
            dir: archive.dir.path().to_owned(),
            stem: Stem::from_topic("t").unwrap(),
            mode: 0o640,
            sync_interval: None,
            time_index: TimeIndexing::On,
        };
        let now = hour().start();
        let (open, _) = HourWriter::open(&options, hour(), now, OpenEvent::default()).unwrap();
        Self { open, micros }
    }

    /// Receives batches of so many lines, after so many microseconds each, and appends them with one
    /// write.
    fn append(&mut self, batches: &[(u16, u8)]) {
        let mut text = String::new();
        let mut runs = ReceiptRuns::default();
        let mut receipt = Receipt::default();
        for (pause, lines) in batches {
            self.micros += u64::from(*pause);
            let received = UnixNanos::new(hour().start().nanos() + self.micros * 1_000);
            receipt = received.into();
            let start = text.len();
            for _ in 0..*lines {
                writeln!(text, "{{\"at\":{}}}", self.micros).unwrap();
            }
            runs.push(receipt, text.len() - start);
        }
        let messages = text.lines().count() as u64;
        if messages > 0 {
            let bytes = text.as_bytes();
            let runs = runs.as_slice();
            self.open.append(ReceivedLines { bytes, messages, receipt, runs }).unwrap();
        }
    }

    fn tick(&mut self) {
        self.open.sync_and_mark_due(hour().start(), Duration::ZERO, Duration::ZERO).unwrap();
    }

    fn stop(self) -> u64 {
        let closed = self.open.close(hour().start(), CloseReason::Stopped, JournalSync::Now);
        assert!(closed.lines.is_none() && closed.journal.is_none(), "{closed:?}");
        self.micros
    }

    /// Ends as a kill does: what was not written is gone.
    fn kill(self) -> u64 {
        drop(self.open);
        self.micros
    }
}

/// The time that a line names, to the tick.
fn named_time(line: &str) -> UnixNanos {
    let digits: String = line.chars().filter(char::is_ascii_digit).collect();
    let nanos = digits.parse::<u64>().unwrap() * 1_000;
    UnixNanos::new(hour().start().nanos() + nanos / TICK_NANOS * TICK_NANOS)
}

/// Returns the times of the sealed lines, and `None` for those that have none.
fn sealed_times(archive: &TestArchive) -> Vec<Option<UnixNanos>> {
    let file = File::open(archive.path(HOUR, FileKind::Sealed)).unwrap();
    let all = archive.decode_sealed(HOUR);
    let mut starts = BTreeMap::new();
    let mut start = 0;
    for (number, line) in all.split_inclusive('\n').enumerate() {
        starts.insert(start as u64, number);
        start += line.len();
    }
    let mut times = vec![None; starts.len()];
    for indexed in IndexedLines::read_all(&file).unwrap() {
        let mut line = starts[&indexed.times.bytes.start];
        for record in indexed.times.records() {
            for _ in 0..record.lines {
                times[line] = record.received;
                line += 1;
            }
        }
    }
    times
}

/// Compares the times of the sealed lines with those that the lines name. Returns the number of lines
/// without a time.
fn check_sealed_times(archive: &TestArchive) -> usize {
    // A child that another test of this process starts has the lock for a moment, too.
    for _ in 0..100 {
        archive.run();
        if !archive.path(HOUR, FileKind::Lines).exists() {
            break;
        }
    }
    assert!(!archive.path(HOUR, FileKind::Times).exists());
    let verdicts = archive.verdicts();
    assert!(matches!(verdicts.as_slice(), [HourVerdict::Intact { .. }]), "{verdicts:?}");
    let lines = archive.decode_sealed(HOUR);
    let times = sealed_times(archive);
    assert_eq!(lines.lines().count(), times.len());
    let known = lines.lines().zip(&times).filter_map(|(line, time)| Some((line, (*time)?)));
    for (line, time) in known {
        assert_eq!(time, named_time(line), "{line}");
    }
    times.iter().filter(|time| time.is_none()).count()
}

#[test]
fn each_batch_keeps_its_time_also_where_several_are_written_together() {
    let archive = TestArchive::new();
    let mut run = Run::start(&archive, 50);
    run.append(&[(10, 1), (250, 3), (20, 2), (5_000, 1)]);
    run.tick();
    run.append(&[(60_000, 40)]);
    let micros = run.stop();
    let mut run = Run::start(&archive, micros + 1_000_000);
    run.append(&[(0, 2), (100, 1)]);
    run.stop();
    assert_eq!(check_sealed_times(&archive), 0);
}

#[test]
fn lines_without_an_index_are_sealed_as_before_and_late_ones_have_their_times() {
    let archive = TestArchive::new();
    archive.write(HOUR, FileKind::Lines, "{\"at\":1}\n{\"at\":2}\n");
    archive.run();
    assert_eq!(sealed_times(&archive), [None, None]);
    let mut run = Run::start(&archive, 700);
    run.append(&[(10, 2)]);
    run.stop();
    assert_eq!(check_sealed_times(&archive), 2);
    assert_eq!(sealed_times(&archive).len(), 4);
}

#[test]
fn an_index_of_edited_lines_says_nothing_of_them() {
    let archive = TestArchive::new();
    let mut run = Run::start(&archive, 0);
    run.append(&[(10, 1), (250, 3)]);
    run.stop();
    let path = archive.path(HOUR, FileKind::Lines);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"at\":10", "\"at\":1000000")).unwrap();
    archive.run();
    assert_eq!(sealed_times(&archive).last(), Some(&None));
}

#[test]
fn an_index_that_contradicts_the_lines_is_bad() {
    let archive = TestArchive::new();
    let mut run = Run::start(&archive, 0);
    run.append(&[(10, 1), (250, 3)]);
    run.stop();
    archive.run();
    let path = archive.path(HOUR, FileKind::Sealed);
    let sealed = fs::read(&path).unwrap();
    let is_magic = |window: &[u8]| window == b"strmtim\x01";
    let index = sealed.windows(8).position(is_magic).unwrap();
    let times = sealed_times(&archive);
    let mut reported = 0;
    let content_len = u32::from_le_bytes(sealed[index - 4..index].try_into().unwrap()) as usize;
    for offset in 8..content_len {
        let mut altered = sealed.clone();
        altered[index + offset] ^= 0x10;
        fs::write(&path, &altered).unwrap();
        match archive.verdicts().as_slice() {
            [HourVerdict::Bad { reason }] if reason.contains("time index") => reported += 1,
            // Some bits of a header mean nothing to a decoder.
            [HourVerdict::Intact { .. }] => assert_eq!(sealed_times(&archive), times, "{offset}"),
            verdicts => panic!("{offset}: {verdicts:?}"),
        }
    }
    assert!(reported > content_len / 2, "{reported}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_torn_index_loses_records_and_gives_no_wrong_time(
        runs in prop::collection::vec(
            (prop::collection::vec(prop::collection::vec((any::<u16>(), 0..4_u8), 1..4), 1..5),
             any::<bool>(), any::<prop::sample::Index>(), any::<bool>()),
            1..4,
        ),
    ) {
        let archive = TestArchive::new();
        let mut micros = 1;
        for (writes, is_killed, cut, fills_with_zeros) in runs {
            let mut run = Run::start(&archive, micros);
            for (number, write) in writes.iter().enumerate() {
                run.append(write);
                if number % 2 == 0 {
                    run.tick();
                }
            }
            micros = if is_killed { run.kill() } else { run.stop() };
            let path = archive.path(HOUR, FileKind::Times);
            if is_killed && path.exists() {
                let content = fs::read(&path).unwrap();
                let mut kept = content[..cut.index(content.len() + 1)].to_vec();
                if fills_with_zeros {
                    kept.resize(content.len(), 0);
                }
                fs::write(&path, kept).unwrap();
            }
        }
        let lines = archive.path(HOUR, FileKind::Lines);
        if lines.exists() {
            let ranges = TimesFile::read(&archive.path(HOUR, FileKind::Times), hour()).unwrap().ranges;
            prop_assert!(ranges.is_sorted_by(|a, b| a.bytes.end <= b.bytes.start));
            check_sealed_times(&archive);
        }
    }
}

#[test]
fn a_damaged_frame_costs_its_lines_and_brings_none_of_the_index() {
    let archive = TestArchive::new();
    let mut run = Run::start(&archive, 0);
    run.append(&[(10, 1), (250, 3)]);
    run.stop();
    archive.run();
    let path = archive.path(HOUR, FileKind::Sealed);
    let mut sealed = fs::read(&path).unwrap();
    // A block of no known type (RFC 8878, 3.1.1.2).
    sealed[6] |= 0b110;
    fs::write(&path, &sealed).unwrap();
    let mut printed = Vec::new();
    let hours = Directory::read(archive.dir.path()).unwrap().hours;
    let now = UnixNanos::from_seconds(NOW);
    crate::archive::cat::cat_hour(archive.dir.path(), &hours[0], now, &mut printed).unwrap_err();
    assert_eq!(String::from_utf8(printed), Ok(String::new()));
}
