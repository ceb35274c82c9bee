//! An hour that is recorded, rolled, sealed and removed, with every operation of it all failing in
//! turn.

use std::io::ErrorKind;
use std::time::Duration;

use super::*;
use crate::archive::account::Account;
use crate::archive::disk::faults::{Fault, with};
use crate::archive::gaps;
use crate::archive::journal::{Event as Note, Open};
use crate::archive::open_hour::{OpenHour, Place};

/// A recorder in the hands of a test.
pub(super) struct Recorder {
    place: Place,
    run: String,
    open: Option<OpenHour>,
    /// Lines that were accepted, by hour.
    accepted: Vec<(u64, String)>,
    /// Lines that were not: a crash may have left some of them.
    refused: Vec<(u64, String)>,
}

impl Recorder {
    pub(super) fn new(archive: &Archive, run: &str) -> Self {
        let place = Place {
            dir: archive.dir.path().to_owned(),
            stem: Stem::from_topic("t").unwrap(),
            mode: 0o640,
            sync_interval: Some(Duration::ZERO),
            mark_interval: Duration::ZERO,
        };
        Self { place, run: run.to_owned(), open: None, accepted: Vec::new(), refused: Vec::new() }
    }

    fn hour(&mut self, seconds: u64) -> Option<&mut OpenHour> {
        let time = UnixNanos::from_seconds(seconds);
        let hour = Hour::containing(time);
        if self.open.as_ref().is_none_or(|open| open.hour() != hour) {
            self.leave(seconds, false);
            let opening = Open { run: self.run.clone(), connected: true, ..Open::default() };
            self.open = OpenHour::open(&self.place, hour, time, opening).ok().map(|(open, _)| open);
        }
        self.open.as_mut()
    }

    /// Tries to write lines three times, as the pipeline tries for ever.
    pub(super) fn write(&mut self, seconds: u64, range: std::ops::Range<u64>) {
        let (text, count) = (lines(range.clone()), range.end - range.start);
        let time = UnixNanos::from_seconds(seconds);
        for _ in 0..3 {
            let place = self.place.clone();
            let Some(open) = self.hour(seconds) else { continue };
            if open.append(&place, time, text.as_bytes(), count).is_ok() {
                self.accepted.push((seconds / 3600, text));
                return;
            }
        }
        self.refused.push((seconds / 3600, text));
    }

    pub(super) fn note(&mut self, seconds: u64, event: Note) {
        if let Some(open) = self.hour(seconds) {
            open.note(UnixNanos::from_seconds(seconds), event);
        }
    }

    pub(super) fn tick(&mut self, seconds: u64) {
        let place = self.place.clone();
        if let Some(open) = self.hour(seconds) {
            // A sync that fails is in the journal.
            drop(open.tick(&place, UnixNanos::from_seconds(seconds)));
        }
    }

    pub(super) fn leave(&mut self, seconds: u64, stop: bool) {
        if let Some(open) = self.open.take() {
            drop(open.close(&self.place, UnixNanos::from_seconds(seconds), stop));
        }
    }

    /// Whether these lines of an hour are all that were accepted, and at most some of the next.
    fn accounts_for(&self, hour: u64, text: &str) -> bool {
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

pub(super) fn gaps_of(archive: &Archive) -> Vec<gaps::Gap> {
    let hours = Directory::read(archive.dir.path()).unwrap().hours;
    let account = Account::read(archive.dir.path(), &hours, UnixNanos::from_seconds(NOW), 1);
    account.gaps.into_values().flatten().collect()
}

/// Hour 10 and a part of hour 11, then a run of the job that seals hour 10 and removes hour 3.
fn live(archive: &Archive, recorder: &mut Recorder) {
    recorder.note(36_000, Note::Up { connection: 1 });
    recorder.write(36_010, 0..10);
    recorder.tick(36_011);
    recorder.write(36_020, 10..20);
    recorder.tick(36_021);
    recorder.write(39_600, 20..30);
    recorder.tick(39_601);
    recorder.leave(39_602, true);
    // A run that fails is tried again an hour later.
    drop(archive.try_run());
}

fn at_every_operation(fault: Fault) {
    for nth in 0.. {
        assert!(nth < 200, "it does not come to an end");
        let mut archive = Archive::new();
        archive.write(3, Kind::Lines, lines(0..5));
        archive.run();
        archive.job.limits.max_age = Some(Duration::from_secs(3 * 3600));
        let mut recorder = Recorder::new(&archive, "first");
        let ((), came) = with(fault, nth, || live(&archive, &mut recorder));
        let crashed = came && matches!(fault, Fault::Crash);
        // The recorder starts again, in the hour in which it was.
        let mut again = Recorder::new(&archive, "second");
        again.note(39_700, Note::Up { connection: 1 });
        again.write(39_710, 30..40);
        again.leave(39_720, true);
        archive.run();
        archive.run();
        let names = archive.names();
        let what = format!("{nth}: {names:?}");
        assert!(recorder.accounts_for(10, &archive.cat(10)), "{what}");
        let eleven = archive.cat(11);
        let before = eleven.strip_suffix(&lines(30..40));
        assert!(before.is_some_and(|text| recorder.accounts_for(11, text)), "{what}: {eleven}");
        assert!(crashed || recorder.refused.is_empty(), "{what}: what fails once is tried again");
        assert!(!archive.path(3, Kind::Sealed).exists(), "{what}");
        for verdict in archive.verdicts() {
            assert!(matches!(verdict, Verdict::Intact { .. }), "{verdict:?} at {what}");
        }
        let found = gaps_of(&archive);
        let away = |gap: &&gaps::Gap| gap.kind == gaps::Kind::NotRunning && gap.to.is_some();
        let away = found.iter().find(away);
        let stood = crashed && recorder.accepted.is_empty();
        assert!(away.is_some() || stood, "it did not run for a while, at {what}: {found:?}");
        if let (true, Some(gap)) = (crashed, away) {
            assert!(gap.from.seconds() <= 39_602 && gap.to.unwrap().seconds() == 39_700, "{gap:?}");
        }
        if !came {
            assert!(nth > 30, "only {nth} operations were seen");
            return;
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_it_all_loses_no_line_that_was_accepted() {
    at_every_operation(Fault::Crash);
}

#[test]
fn nor_does_a_full_disk_or_a_broken_one() {
    at_every_operation(Fault::Error(ErrorKind::StorageFull));
    at_every_operation(Fault::Error(ErrorKind::Other));
}
