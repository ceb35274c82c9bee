//! Gaps of histories that are known, and of any history.

mod written;

use proptest::prelude::*;

use super::*;
use crate::archive::journal::{Closed, Event, Mark, Open, Recovered};

const SECOND: u64 = 1_000_000_000;

/// Writes journals as a recorder does whose every second is known.
#[derive(Default)]
struct History {
    journals: BTreeMap<Hour, Vec<Entry>>,
    now: u64,
    run: u64,
    running: bool,
    connected: bool,
    hour: Option<Hour>,
    /// The seconds in which it did not listen, from the first connection on.
    deaf: Vec<u64>,
    connected_once: bool,
}

impl History {
    fn at(now: u64) -> Self {
        Self { now, ..Self::default() }
    }

    fn note(&mut self, event: Event) {
        let hour = Hour::containing(UnixNanos::from_seconds(self.now));
        if self.hour != Some(hour) {
            if self.hour.is_some() {
                self.close(false);
            }
            self.hour = Some(hour);
            let run = self.run.to_string();
            let open = Open { run, connected: self.connected, ..Open::default() };
            self.push(Event::Open(Box::new(open)));
        }
        self.push(event);
    }

    fn push(&mut self, event: Event) {
        let (Some(hour), t) = (self.hour, self.now * SECOND) else { return };
        self.journals.entry(hour).or_default().push(Entry { t, event });
    }

    fn close(&mut self, stop: bool) {
        self.push(Event::Closed(Closed { stop, ..Closed::default() }));
        self.hour = None;
    }

    fn start(&mut self) {
        if !self.running {
            self.run += 1;
            self.running = true;
            self.note(Event::Resume);
        }
    }

    fn up(&mut self) {
        if self.running && !self.connected {
            self.note(Event::Up { connection: 1 });
            self.connected = true;
            self.connected_once = true;
        }
    }

    fn down(&mut self) {
        if self.running {
            self.note(Event::Down { cause: "eof".to_owned(), detail: String::new(), since: None });
            self.connected = false;
        }
    }

    fn stop(&mut self) {
        if self.running {
            self.note(Event::Resume);
            self.close(true);
            (self.running, self.connected) = (false, false);
        }
    }

    fn kill(&mut self) {
        (self.running, self.connected, self.hour) = (false, false, None);
    }

    /// Lets time pass. A recorder that listens marks every second.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            if !self.connected && self.connected_once {
                self.deaf.push(self.now);
            }
            self.now += 1;
            if self.running {
                // A tick opens the next hour.
                let marks = self.connected;
                self.note(if marks { Event::Mark(Mark::default()) } else { Event::Resume });
            }
        }
    }

    fn records(&self) -> Vec<Record> {
        let record = |(hour, journal): (&Hour, &Vec<Entry>)| Record {
            hour: *hour,
            has_lines: true,
            journal: Ok(journal.clone()),
        };
        self.journals.iter().map(record).collect()
    }

    fn gaps(&self) -> Vec<Gap> {
        gaps(&self.records(), UnixNanos::from_seconds(self.now), self.running)
    }
}

fn shown(gaps: &[Gap]) -> Vec<String> {
    gaps.iter()
        .map(|gap| {
            let to = gap.to.map_or("…".to_owned(), |to| to.seconds().to_string());
            format!("{} {}-{to} {}", gap.kind, gap.from.seconds(), gap.certainty)
        })
        .collect()
}

#[test]
fn a_connection_that_is_lost_is_a_gap_with_its_first_cause() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(10);
    history.down();
    history.pass(5);
    history.down();
    history.pass(5);
    history.up();
    history.pass(10);
    assert_eq!(shown(&history.gaps()), ["down 3610-3620 exact"]);
    assert_eq!(history.gaps()[0].cause, "eof");
}

#[test]
fn a_clean_stop_ends_where_the_next_run_is_connected() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(10);
    history.stop();
    history.pass(10_000);
    assert_eq!(shown(&history.gaps()), ["not_running 3610-… exact"]);
    history.start();
    history.pass(2);
    history.up();
    assert_eq!(shown(&history.gaps()), ["not_running 3610-13612 exact"]);
}

#[test]
fn a_crash_is_a_gap_from_the_last_sign_of_life() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(10);
    history.kill();
    history.pass(100);
    assert_eq!(shown(&history.gaps()), ["not_running 3610-… at_most"]);
    history.start();
    history.down();
    history.pass(3);
    history.up();
    assert_eq!(shown(&history.gaps()), ["not_running 3610-3710 at_most", "down 3710-3713 exact"]);
}

#[test]
fn an_outage_over_hours_is_one_gap() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(10);
    history.down();
    history.pass(10_000);
    assert_eq!(shown(&history.gaps()), ["down 3610-… exact"]);
    history.up();
    let gaps = history.gaps();
    assert_eq!(shown(&gaps), ["down 3610-13610 exact"]);
    let all = history.records().into_iter().map(|record| record.hour).collect::<Vec<_>>();
    let hours = by_hour(&gaps, all, UnixNanos::from_seconds(history.now));
    let seconds: Vec<_> = hours.values().map(|hour| hour.lasting.as_secs()).collect();
    assert_eq!(seconds, [3_590, 3_600, 2_810]);
}

#[test]
fn hours_whose_journals_are_lost_are_unknown() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(4 * 3_600);
    let mut records = history.records();
    assert_eq!(records.len(), 5);
    records[1].journal = Err("there is no journal");
    let gaps_of = |records: Vec<Record>| gaps(&records, UnixNanos::from_seconds(history.now), true);
    assert_eq!(shown(&gaps_of(records.clone())), ["unknown 7200-10800 possible"]);
    records.remove(1);
    assert_eq!(shown(&gaps_of(records.clone())), ["unknown 7200-10800 possible"]);
    // Its end alone is lost.
    let Ok(journal) = &mut records[1].journal else { panic!() };
    journal.truncate(100);
    let last = journal.last().unwrap().t / SECOND;
    assert_eq!(
        shown(&gaps_of(records)),
        ["unknown 7200-10800 possible".to_owned(), format!("unknown {last}-14400 possible")]
    );
}

#[test]
fn an_archive_from_before_there_were_journals_is_unknown_until_the_first() {
    let mut history = History::at(20_000);
    history.start();
    history.up();
    let blank = |hour| Record {
        hour: Hour::starting_at(hour).unwrap(),
        has_lines: true,
        journal: Err("there is no journal"),
    };
    let mut records = vec![blank(3_600), blank(7_200)];
    records.extend(history.records());
    let now = UnixNanos::from_seconds(20_000);
    assert_eq!(shown(&gaps(&records, now, true)), ["unknown 3600-20000 possible"]);
    // And where there never was a recorder, until the end of what there is.
    records.truncate(2);
    assert_eq!(shown(&gaps(&records, now, false)), ["unknown 3600-10800 possible"]);
}

#[test]
fn what_else_is_noted_is_a_gap_too() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(10);
    let (since, cause) = (3_609 * SECOND, "overflow".to_owned());
    history.note(Event::Drop { since, messages: 7, cause, shared: false });
    history.note(Event::Stall { error: "full".to_owned() });
    history.now += 5;
    history.note(Event::Resume);
    history.note(Event::SyncFailed { from: 0, to: 1, since, error: "bad".to_owned() });
    history.push(Event::Torn);
    history.pass(5);
    history.kill();
    history.push(Event::Torn);
    history.start();
    let lost = Recovered { lost: 9, since: 3_618 * SECOND, ..Recovered::default() };
    history.note(Event::Recovered(lost));
    history.up();
    let found = history.gaps();
    assert_eq!(
        shown(&found),
        [
            "dropped 3609-3610 exact",
            "unknown 3609-3615 possible",
            "stalled 3610-3615 possible",
            "unknown 3615-3616 possible",
            "dropped 3618-3620 exact",
            "not_running 3620-3620 at_most",
        ]
    );
    assert_eq!((found[0].messages, found[4].messages), (Some(7), Some(9)));
}

#[test]
fn a_clock_that_steps_is_no_gap_and_a_machine_that_was_suspended_is() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(10);
    // The hours that it passed over have no journals.
    let from = history.now * SECOND;
    history.now += 90_000;
    history.note(Event::ClockStep { from });
    history.pass(10);
    assert_eq!(shown(&history.gaps()), Vec::<String>::new());
    let since = history.now * SECOND;
    history.now += 5_000;
    history.note(Event::Suspended { since });
    history.pass(10);
    assert_eq!(shown(&history.gaps()), ["not_running 93620-98620 exact"]);
    assert_eq!(history.gaps()[0].cause, "suspended");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Up,
    Down,
    Stop,
    Kill,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Start),
        4 => Just(Step::Up),
        2 => Just(Step::Down),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        2 => (1..50_u64).prop_map(Step::Pass),
        1 => (1..9_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gaps_are_exactly_the_seconds_in_which_nobody_listened(steps in steps()) {
        let mut history = History::at(3_600);
        for step in steps {
            match step {
                Step::Start => history.start(),
                Step::Up => history.up(),
                Step::Down => history.down(),
                Step::Stop => history.stop(),
                Step::Kill => history.kill(),
                Step::Pass(seconds) => history.pass(seconds),
            }
        }
        let now = history.now;
        let mut told = Vec::new();
        for gap in history.gaps() {
            let end = gap.to.map_or(now, UnixNanos::seconds);
            told.extend(gap.from.seconds()..end);
        }
        // Before the first connection nobody promised to listen.
        if let Some(first) = history.deaf.first() {
            told.retain(|second| second >= first);
            prop_assert_eq!(told, history.deaf);
        }
    }

    #[test]
    fn any_journal_has_gaps_in_order(
        events in proptest::collection::vec((0..50_000_u64, 0..12_u8, 0..3_u8), 0..60),
        running: bool,
    ) {
        let mut journals: BTreeMap<Hour, Vec<Entry>> = BTreeMap::new();
        for (t, event, number) in events {
            let run = number.to_string();
            let since = u64::from(number) * SECOND;
            let event = match event {
                0 | 1 => Event::Open(Box::new(Open { run, connected: number == 1, ..Open::default() })),
                2 => Event::Up { connection: 1 },
                3 => Event::Down { cause: run.clone(), detail: run, since: None },
                4 => Event::Mark(Mark::default()),
                5 => Event::Drop { since, messages: 1, cause: run, shared: false },
                6 => Event::Stall { error: run },
                7 => Event::Resume,
                8 => Event::ClockStep { from: since },
                9 => Event::Closed(Closed { stop: number == 0, ..Closed::default() }),
                10 => Event::Torn,
                _ => Event::Recovered(Recovered { lost: 1, since, ..Recovered::default() }),
            };
            let hour = Hour::containing(UnixNanos::from_seconds(t));
            journals.entry(hour).or_default().push(Entry { t: t * SECOND, event });
        }
        let now = UnixNanos::from_seconds(60_000);
        let records: Vec<_> = journals
            .into_iter()
            .map(|(hour, journal)| Record { hour, has_lines: true, journal: Ok(journal) })
            .collect();
        let found = gaps(&records, now, running);
        prop_assert!(found.is_sorted_by_key(|gap| gap.from));
        prop_assert!(found.iter().all(|gap| gap.to.is_none_or(|to| to >= gap.from)));
        let hours = records.iter().map(|record| record.hour);
        for hour in by_hour(&found, hours, now).values() {
            prop_assert!(hour.lasting <= Duration::from_secs(3_600));
        }
    }
}
