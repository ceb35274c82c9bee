//! Tests of a power cut: bytes that were not synced may be cut off anywhere, or be zeros, page by
//! page.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::recording_faults::{TestRecorder, read_gaps};
use super::*;
use crate::archive::disk::injected_fault::durable_lengths_after;
use crate::archive::gaps::{Certainty, GapKind};
use crate::archive::hour_writer::CloseReason;
use crate::archive::journal::JournalEvent;
use crate::base::connection_id::ConnectionId;

const PAGE: usize = 4096;

/// Damages a file as a power cut may: a part of the bytes that were not durable remains, and some
/// of its pages are zeros.
fn simulate_power_cut(path: &Path, durable: usize, rng: &mut fastrand::Rng) {
    let mut content = fs::read(path).unwrap();
    content.truncate(durable + rng.usize(..=content.len() - durable));
    // The page in which the durable part ends was written with it.
    let mut page = durable.next_multiple_of(PAGE);
    while page < content.len() {
        let end = (page + PAGE).min(content.len());
        if rng.bool() {
            content[page..end].fill(0);
        }
        page = end;
    }
    fs::write(path, content).unwrap();
}

/// Records one batch of lines a second, of these sizes. Every third second is synced.
fn record_seconds(
    archive: &TestArchive,
    seconds: &[u64],
) -> (TestRecorder, u64, BTreeMap<PathBuf, u64>) {
    let mut recorder = TestRecorder::new(archive, "first");
    let mut sent = 0;
    let ((), durable) = durable_lengths_after(|| {
        recorder.record_event(36_000, JournalEvent::Up { connection: ConnectionId::new(1) });
        for (second, count) in (0..).zip(seconds) {
            recorder.write(36_001 + second, sent..sent + count);
            sent += count;
            if second % 3 == 0 {
                recorder.tick(36_001 + second);
            }
        }
    });
    (recorder, sent, durable)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_power_cut_loses_only_unsynced_lines_and_leaves_a_gap(
        seconds in proptest::collection::vec(1..1_500_u64, 1..8),
        seed: u64,
        sealed_first: bool,
    ) {
        let archive = TestArchive::new();
        let (recorder, sent, durable) = record_seconds(&archive, &seconds);
        // Without power nothing is closed.
        std::mem::forget(recorder);
        let mut rng = fastrand::Rng::with_seed(seed);
        for kind in [FileKind::Lines, FileKind::Journal] {
            let path = archive.path(10, kind);
            let length = durable.get(&path).copied().unwrap_or(0);
            simulate_power_cut(&path, usize::try_from(length).unwrap(), &mut rng);
        }
        let synced: u64 = seconds.iter().take((seconds.len() - 1) / 3 * 3 + 1).sum();
        if sealed_first {
            // The hour is sealed before a recorder starts again.
            release_leaked_lock(&archive);
            archive.run();
            archive.clock.set(UnixNanos::from_seconds(NOW + 3600));
        }
        release_leaked_lock(&archive);
        let mut again = TestRecorder::new(&archive, "second");
        again.record_event(37_000, JournalEvent::Up { connection: ConnectionId::new(1) });
        again.write(37_001, 0..3);
        again.close_hour(37_002, CloseReason::Stopped);
        archive.run();
        let text = archive.cat(10);
        prop_assert!(text.ends_with(&lines(0..3)));
        let kept = (text.lines().count() - 3) as u64;
        prop_assert!((synced..=sent).contains(&kept), "{kept} of {sent}, {synced} were synced");
        prop_assert!(text == lines(0..kept) + &lines(0..3), "what is there was sent, in order");
        for verdict in archive.verdicts() {
            prop_assert!(matches!(verdict, HourVerdict::Intact { .. }), "{verdict:?}");
        }
        let found = read_gaps(&archive);
        let reported = found.iter().any(|gap| {
            let crash = gap.kind == GapKind::NotRunning && gap.certainty == Certainty::AtMost;
            crash && gap.from.seconds() < 36_010 && gap.to.is_some_and(|to| to.seconds() == 37_000)
        });
        prop_assert!(reported, "{found:?}");
    }
}

/// Replaces the file of the lines by a copy, since the recorder that was leaked in this process
/// still holds the lock of the original.
fn release_leaked_lock(archive: &TestArchive) {
    let path = archive.path(10, FileKind::Lines);
    if path.exists() {
        let copy = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, copy).unwrap();
    }
}
