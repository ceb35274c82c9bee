//! Tests of an hour that is recorded, rolled, sealed and removed, with a fault at every operation
//! in turn.

use std::io::ErrorKind;
use std::time::Duration;

use super::*;
use crate::archive::coverage::Coverage;
use crate::archive::disk::injected_fault::{InjectedFault, with_fault};
use crate::archive::hour_writer::{
    CloseReason, HourWriter, HourWriterOptions, JournalSync, TimeIndexing,
};
use crate::archive::journal::{JournalEvent, OpenEvent};
use crate::archive::receipt_runs::ReceiptRun;
use crate::archive::received_lines::ReceivedLines;
use crate::archive::{gaps, hour_summary};
use crate::base::connection_id::ConnectionId;

/// Recorder that a test drives by hand.
pub(super) struct TestRecorder {
    options: HourWriterOptions,
    run: String,
    open: Option<HourWriter>,
    /// Lines that were accepted, with the number of their hour.
    accepted: Vec<(u64, String)>,
    /// Lines that were refused, likewise. A crash may have left some of them in the file.
    refused: Vec<(u64, String)>,
}

impl TestRecorder {
    pub(super) fn new(archive: &TestArchive, run: &str) -> Self {
        let options = HourWriterOptions {
            time_index: TimeIndexing::On,
            dir: archive.dir.path().to_owned(),
            stem: Stem::from_topic("t").unwrap(),
            mode: 0o640,
            sync_interval: Some(Duration::ZERO),
        };
        Self { options, run: run.to_owned(), open: None, accepted: Vec::new(), refused: Vec::new() }
    }

    fn open_hour_at(&mut self, seconds: u64) -> Option<&mut HourWriter> {
        let time = UnixNanos::from_seconds(seconds);
        let hour = Hour::containing(time);
        if self.open.as_ref().is_none_or(|open| open.hour() != hour) {
            self.close_hour(seconds, CloseReason::Rolled);
            let open_event =
                OpenEvent { run: self.run.clone(), connected: true, ..OpenEvent::default() };
            self.open =
                HourWriter::open(&self.options, hour, time, open_event).ok().map(|(open, _)| open);
        }
        self.open.as_mut()
    }

    /// Tries up to three times to write lines; the pipeline tries until it succeeds.
    pub(super) fn write(&mut self, seconds: u64, range: std::ops::Range<u64>) {
        let text = lines(range.clone());
        let count = range.end - range.start;
        let time = UnixNanos::from_seconds(seconds);
        for _ in 0..3 {
            let Some(open) = self.open_hour_at(seconds) else { continue };
            let run = ReceiptRun { receipt: time.into(), bytes: text.len() };
            if open.append(ReceivedLines::of_run(text.as_bytes(), count, &run)).is_ok() {
                self.accepted.push((seconds / 3600, text));
                return;
            }
        }
        self.refused.push((seconds / 3600, text));
    }

    pub(super) fn record_event(&mut self, seconds: u64, event: JournalEvent) {
        if let Some(open) = self.open_hour_at(seconds) {
            open.record_event(UnixNanos::from_seconds(seconds), event);
        }
    }

    pub(super) fn tick(&mut self, seconds: u64) {
        if let Some(open) = self.open_hour_at(seconds) {
            // The journal records a sync that fails.
            let now = UnixNanos::from_seconds(seconds);
            drop(open.sync_and_mark_due(now, Duration::ZERO, Duration::ZERO));
        }
    }

    pub(super) fn close_hour(&mut self, seconds: u64, reason: CloseReason) {
        if let Some(open) = self.open.take() {
            let now = UnixNanos::from_seconds(seconds);
            drop(open.close(now, reason, JournalSync::Now));
        }
    }

    /// Returns whether the text has all accepted lines of the hour, followed by at most some of the
    /// refused ones.
    fn is_consistent_with(&self, hour: u64, text: &str) -> bool {
        let of_hour = |all: &[(u64, String)]| -> String {
            all.iter().filter(|(of, _)| *of == hour).map(|(_, text)| text.as_str()).collect()
        };
        let refused = of_hour(&self.refused);
        let more = text.strip_prefix(&of_hour(&self.accepted));
        more.is_some_and(|more| {
            refused.starts_with(more) && (more.is_empty() || more.ends_with('\n'))
        })
    }
}

pub(super) fn read_gaps(archive: &TestArchive) -> Vec<gaps::Gap> {
    let hours = Directory::read(archive.dir.path()).unwrap().hours;
    let coverage = Coverage::read(archive.dir.path(), &hours, UnixNanos::from_seconds(NOW), 1);
    coverage.gaps.into_values().flatten().collect()
}

/// Records hour 10 and a part of hour 11, then runs the job, which seals hour 10 and removes hour
/// 3.
fn record_and_seal(archive: &TestArchive, recorder: &mut TestRecorder) {
    recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
    recorder.write(36_010, 0..10);
    recorder.tick(36_011);
    recorder.write(36_020, 10..20);
    recorder.tick(36_021);
    recorder.write(39_600, 20..30);
    recorder.tick(39_601);
    recorder.close_hour(39_602, CloseReason::Stopped);
    // A run that fails is repeated an hour later.
    drop(archive.try_run());
}

fn test_fault_at_every_operation(fault: InjectedFault) {
    for nth in 0.. {
        assert!(nth < 200, "the recording does not end");
        let mut archive = TestArchive::new();
        archive.write(3, FileKind::Lines, lines(0..5));
        archive.run();
        archive.job.limits.max_age = Some(Duration::from_secs(3 * 3600));
        let mut recorder = TestRecorder::new(&archive, "first");
        let ((), triggered) = with_fault(fault, nth, || record_and_seal(&archive, &mut recorder));
        let crashed = triggered && matches!(fault, InjectedFault::Crash);
        // The recorder starts again in the same hour.
        let mut again = TestRecorder::new(&archive, "second");
        again.record_event(39_700, JournalEvent::Up { connection: ConnectionId::new(1) });
        again.write(39_710, 30..40);
        again.close_hour(39_720, CloseReason::Stopped);
        archive.run();
        archive.run();
        let names = archive.names();
        let what = format!("{nth}: {names:?}");
        assert!(recorder.is_consistent_with(10, &archive.cat(10)), "{what}");
        let eleven = archive.cat(11);
        let before = eleven.strip_suffix(&lines(30..40));
        assert!(
            before.is_some_and(|text| recorder.is_consistent_with(11, text)),
            "{what}: {eleven}"
        );
        assert!(
            crashed || recorder.refused.is_empty(),
            "{what}: an operation that fails once is repeated"
        );
        assert!(!archive.path(3, FileKind::Sealed).exists(), "{what}");
        for verdict in archive.verdicts() {
            assert!(matches!(verdict, HourVerdict::Intact { .. }), "{verdict:?} at {what}");
        }
        let found = read_gaps(&archive);
        let is_downtime = |gap: &&gaps::Gap| {
            gap.kind == gaps::GapKind::NotRunning && gap.to == Some(UnixNanos::from_seconds(39_700))
        };
        let downtime = found.iter().find(is_downtime);
        let recorded_nothing = crashed && recorder.accepted.is_empty();
        assert!(
            downtime.is_some() || recorded_nothing,
            "it did not run for a while, at {what}: {found:?}"
        );
        if let (true, Some(gap)) = (crashed, downtime) {
            assert!(gap.from.seconds() <= 39_602 && gap.to.unwrap().seconds() == 39_700, "{gap:?}");
        }
        if !triggered {
            assert!(nth > 30, "only {nth} operations were seen");
            return;
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_no_accepted_line() {
    test_fault_at_every_operation(InjectedFault::Crash);
}

#[test]
fn a_disk_error_at_any_operation_loses_no_accepted_line() {
    test_fault_at_every_operation(InjectedFault::Error(ErrorKind::StorageFull));
    test_fault_at_every_operation(InjectedFault::Error(ErrorKind::Other));
}

#[test]
fn a_file_that_can_take_no_more_is_continued_and_all_parts_become_one_sealed_file() {
    // Also where no file is too large, but an operation says so.
    test_fault_at_every_operation(InjectedFault::Error(ErrorKind::FileTooLarge));
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
    let too_large = InjectedFault::Error(ErrorKind::FileTooLarge);
    for second in 0..4 {
        recorder.write(36_010 + second, second * 100..second * 100 + 50);
        recorder.tick(36_010 + second);
        with_fault(too_large, 0, || {
            recorder.write(36_010 + second, second * 100 + 50..second * 100 + 100);
        });
    }
    assert!(recorder.refused.is_empty());
    let expected = lines(0..400);
    assert_eq!(archive.cat(10), expected);
    let unsealed = archive.verdicts();
    assert!(matches!(unsealed.as_slice(), [HourVerdict::Unsealed { messages: 400, .. }]));
    assert_eq!(hour_state(&archive, 10), hour_summary::HourState::Open);
    recorder.close_hour(39_600, CloseReason::Stopped);
    let names = ["36000.1", "36000.2", "36000.3", "36000.4", "36000"];
    let names = names.map(|name| format!("t_{name}.jsonl"));
    assert!(names.iter().all(|name| archive.names().contains(name)), "{:?}", archive.names());
    // The order of the names is that of the lines, also for a shell.
    let in_order: String = names
        .iter()
        .map(|name| fs::read_to_string(archive.dir.path().join(name)).unwrap())
        .collect();
    assert_eq!(in_order, expected);
    let (summary, events) = archive.run();
    assert_eq!((summary.sealed, summary.failures), (1, 0), "{events:?}");
    assert_eq!(archive.names(), ["t_36000.journal", "t_36000.jsonl.zst"]);
    assert_eq!((archive.cat(10), archive.decode_sealed(10)), (expected.clone(), expected));
    let verdicts = archive.verdicts();
    assert!(matches!(verdicts.as_slice(), [HourVerdict::Intact { messages: 400, .. }]));
    let gaps = read_gaps(&archive);
    let is_expected = |kind| matches!(kind, gaps::GapKind::NotRecorded | gaps::GapKind::NotRunning);
    assert!(gaps.iter().all(|gap| is_expected(gap.kind)), "{gaps:?}");
}

#[test]
fn a_crash_while_parts_are_sealed_loses_and_repeats_no_line() {
    for nth in 0.. {
        let archive = TestArchive::new();
        let mut recorder = TestRecorder::new(&archive, "first");
        for second in 0..3 {
            recorder.write(36_010 + second, second * 100..second * 100 + 50);
            let too_large = InjectedFault::Error(ErrorKind::FileTooLarge);
            with_fault(too_large, 0, || {
                recorder.write(36_010 + second, second * 100 + 50..second * 100 + 100);
            });
        }
        recorder.close_hour(39_600, CloseReason::Stopped);
        let (_, crashed) = with_fault(InjectedFault::Crash, nth, || archive.try_run());
        assert_eq!(archive.cat(10), lines(0..300), "{nth}");
        let bad = archive.verdicts().iter().any(|v| matches!(v, HourVerdict::Bad { .. }));
        assert!(!bad, "{nth}: {:?}", archive.verdicts());
        archive.run();
        assert_eq!(archive.decode_sealed(10), lines(0..300), "{nth}");
        assert_eq!(archive.names(), ["t_36000.journal", "t_36000.jsonl.zst"], "{nth}");
        let verdicts = archive.verdicts();
        assert!(matches!(verdicts.as_slice(), [HourVerdict::Intact { .. }]), "{nth}: {verdicts:?}");
        if !crashed {
            assert!(nth > 20, "only {nth} operations were seen");
            return;
        }
    }
}

#[test]
fn verify_reports_lines_removed_from_an_hour() {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.write(36_010, 0..1000);
    recorder.tick(36_011);
    recorder.tick(39_600);
    fs::remove_file(archive.path(10, FileKind::Lines)).unwrap();
    recorder.close_hour(39_610, CloseReason::Stopped);
    archive.run();
    let verdicts = archive.verdicts();
    let [HourVerdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(reason.contains("1000 messages were written"), "{reason}");
    assert_eq!(hour_state(&archive, 10), hour_summary::HourState::Missing);
}

fn hour_state(archive: &TestArchive, hour: u64) -> hour_summary::HourState {
    let hours = Directory::read(archive.dir.path()).unwrap().hours;
    let entry = hours.iter().find(|entry| entry.hour.start_seconds() == hour * 3600).unwrap();
    let journal = journal::read(&archive.path(hour, FileKind::Journal)).unwrap();
    let now = UnixNanos::from_seconds(NOW);
    hour_summary::summarize_hour(
        archive.dir.path(),
        entry,
        &journal,
        gaps::HourGaps::default(),
        now,
    )
    .unwrap()
    .state
}

#[test]
fn a_restarted_recorder_counts_lines_removed_meanwhile() {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
    recorder.write(36_010, 0..1000);
    recorder.tick(36_011);
    drop(recorder);
    fs::remove_file(archive.path(10, FileKind::Lines)).unwrap();
    let mut again = TestRecorder::new(&archive, "second");
    again.record_event(36_020, JournalEvent::Up { connection: ConnectionId::new(1) });
    again.write(36_030, 1000..1010);
    again.close_hour(36_040, CloseReason::Stopped);
    let gaps = read_gaps(&archive);
    let lost = gaps.iter().find(|gap| gap.kind == gaps::GapKind::Dropped);
    assert_eq!(lost.unwrap().messages, Some(1000), "{gaps:?}");
    archive.run();
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Intact { messages: 10, .. }]));
}

#[test]
fn a_late_line_that_waits_for_a_seal_reports_no_loss() {
    late_line_during_seal(true);
    late_line_during_seal(false);
}

fn late_line_during_seal(writes_again: bool) {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
    recorder.write(36_010, 0..1000);
    recorder.tick(39_600);
    let path = archive.path(10, FileKind::Lines);
    // The last steps of a seal, from the lock on.
    let sealing = fs::File::open(&path).unwrap();
    sealing.lock().unwrap();
    // The hour opens, and its lines do not.
    recorder.write(39_599, 1000..1001);
    assert_eq!(recorder.refused.len(), 1);
    let hash = crate::archive::sha256_hash::Sha256Hash::digest(b"");
    let record = journal::SealRecord {
        raw_bytes: 0,
        messages: 1000,
        raw_sha256: hash,
        stored_bytes: 0,
        stored_sha256: hash,
        torn: false,
        part: None,
    };
    let journal = archive.path(10, FileKind::Journal);
    journal::append(&journal, UnixNanos::from_seconds(39_600), JournalEvent::Sealed(record))
        .unwrap();
    fs::remove_file(&path).unwrap();
    drop(sealing);
    if writes_again {
        recorder.write(39_599, 1000..1001);
        assert_eq!(fs::read_to_string(&path).unwrap(), lines(1000..1001));
    }
    recorder.close_hour(39_601, CloseReason::Rolled);
    recorder.record_event(39_598, JournalEvent::Resume);
    let gaps = read_gaps(&archive);
    assert!(gaps.iter().all(|gap| gap.messages.is_none()), "{gaps:?}");
}

#[test]
fn zeros_in_a_range_that_could_not_be_synced_are_found() {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
    recorder.write(36_010, 0..1000);
    let broken = InjectedFault::Error(ErrorKind::Other);
    let ((), triggered) = with_fault(broken, 0, || recorder.tick(36_011));
    assert!(triggered);
    recorder.write(36_012, 1000..1010);
    recorder.tick(36_013);
    drop(recorder);
    zero_the_start(&archive.path(10, FileKind::Lines));
    let mut again = TestRecorder::new(&archive, "second");
    again.record_event(36_020, JournalEvent::Up { connection: ConnectionId::new(1) });
    again.close_hour(36_040, CloseReason::Stopped);
    archive.run();
    assert_eq!(archive.cat(10), "");
    let lost: u64 = read_gaps(&archive).iter().filter_map(|gap| gap.messages).sum();
    assert_eq!(lost, 1010);
}

fn zero_the_start(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[..4096].fill(0);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_close_that_was_not_durable_is_not_trusted() {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.options.sync_interval = None;
    recorder.write(36_010, 0..1000);
    recorder.tick(36_011);
    recorder.close_hour(36_012, CloseReason::Stopped);
    zero_the_start(&archive.path(10, FileKind::Lines));
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Bad { .. }]));
    archive.run();
    assert!(!archive.cat(10).contains('\0'));
}

#[test]
fn a_removed_hour_can_be_recorded_again() {
    let mut archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.record_event(10_800, JournalEvent::Up { connection: ConnectionId::new(1) });
    recorder.write(10_810, 0..100);
    recorder.close_hour(14_400, CloseReason::Rolled);
    archive.run();
    archive.job.limits.max_total_size = Some(1);
    archive.job.limits.keep_journals = Some(Duration::from_secs(100 * 3600));
    archive.run();
    assert_eq!(archive.names(), ["t_10800.journal"]);
    assert_eq!(hour_state(&archive, 3), hour_summary::HourState::Removed);
    archive.job.limits.max_total_size = None;
    // The clock was set back: hour 3 is recorded again.
    recorder.write(10_900, 100..110);
    recorder.close_hour(14_400, CloseReason::Stopped);
    let (_, events) = archive.run();
    assert!(events.iter().all(|event| !event.is_warning()), "{events:?}");
    assert!(matches!(archive.verdicts().as_slice(), [HourVerdict::Intact { messages: 10, .. }]));
}

#[test]
fn verify_detects_lines_changed_before_sealing() {
    let archive = TestArchive::new();
    let mut recorder = TestRecorder::new(&archive, "first");
    recorder.write(36_010, 0..10);
    recorder.tick(36_011);
    recorder.write(36_012, 10..20);
    recorder.close_hour(36_013, CloseReason::Stopped);
    let path = archive.path(10, FileKind::Lines);
    // Two lines become one of the same length.
    fs::write(&path, fs::read_to_string(&path).unwrap().replacen('\n', " ", 1)).unwrap();
    archive.run();
    let verdicts = archive.verdicts();
    let [HourVerdict::Bad { reason }] = verdicts.as_slice() else { panic!("{verdicts:?}") };
    assert!(reason.contains("hold 9 messages, and its journal says 10"), "{reason}");
}
