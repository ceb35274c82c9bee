//! Tests of gap detection with simulated recordings, scripted journals and arbitrary events.

mod scripted_journals;

use proptest::prelude::*;

use super::*;
use crate::archive::journal::{
    ClosedEvent, ConfigChangedEvent, JournalEntry, JournalEvent, Mark, OpenEvent, RecoveredEvent,
};
use crate::base::connection_id::ConnectionId;

/// A simulated recorder that writes journals, and knows in which seconds it was not connected.
#[derive(Default)]
struct RecorderSimulation {
    journals: BTreeMap<Hour, Vec<JournalEntry>>,
    now: u64,
    run: u64,
    running: bool,
    connected: bool,
    hour: Option<Hour>,
    /// Seconds without a connection, from the first connection on.
    missed_seconds: Vec<u64>,
    was_connected: bool,
}

impl RecorderSimulation {
    fn at(now: u64) -> Self {
        Self { now, ..Self::default() }
    }

    fn record_event(&mut self, event: JournalEvent) {
        let hour = Hour::containing(UnixNanos::from_seconds(self.now));
        if self.hour != Some(hour) {
            if self.hour.is_some() {
                self.close(false);
            }
            self.hour = Some(hour);
            let run = self.run.to_string();
            let open = OpenEvent { run, connected: self.connected, ..OpenEvent::default() };
            self.append_event(JournalEvent::Open(Box::new(open)));
        }
        self.append_event(event);
    }

    fn append_event(&mut self, event: JournalEvent) {
        let Some(hour) = self.hour else { return };
        let t = UnixNanos::from_seconds(self.now);
        self.journals.entry(hour).or_default().push(JournalEntry { t, event });
    }

    fn close(&mut self, stop: bool) {
        self.append_event(JournalEvent::Closed(ClosedEvent { stop, ..ClosedEvent::default() }));
        self.hour = None;
    }

    fn start(&mut self) {
        if !self.running {
            self.run += 1;
            self.running = true;
            self.record_event(JournalEvent::Resume);
        }
    }

    fn up(&mut self) {
        if self.running && !self.connected {
            self.record_event(JournalEvent::Up { connection: ConnectionId::new(1) });
            self.connected = true;
            self.was_connected = true;
        }
    }

    fn down(&mut self) {
        if self.running {
            self.record_event(JournalEvent::Down {
                cause: "eof".to_owned(),
                detail: String::new(),
                since: None,
                exact: false,
            });
            self.connected = false;
        }
    }

    fn stop(&mut self) {
        if self.running {
            self.record_event(JournalEvent::Resume);
            self.close(true);
            (self.running, self.connected) = (false, false);
        }
    }

    fn kill(&mut self) {
        (self.running, self.connected, self.hour) = (false, false, None);
    }

    /// Lets time pass. A connected recorder writes a mark every second.
    fn advance(&mut self, seconds: u64) {
        for _ in 0..seconds {
            if !self.connected && self.was_connected {
                self.missed_seconds.push(self.now);
            }
            self.now += 1;
            if self.running {
                // A tick opens the next hour, also without a mark.
                let marks = self.connected;
                self.record_event(if marks {
                    JournalEvent::Mark(Mark::default())
                } else {
                    JournalEvent::Resume
                });
            }
        }
    }

    fn hour_records(&self) -> Vec<HourRecord> {
        let record = |(hour, journal): (&Hour, &Vec<JournalEntry>)| HourRecord {
            hour: *hour,
            may_have_lines: true,
            missing_lines: Vec::new(),
            journal: Ok(journal.clone()),
        };
        self.journals.iter().map(record).collect()
    }

    fn gaps(&self) -> Vec<Gap> {
        let recorder = if self.running {
            RecorderState::Running
        } else {
            RecorderState::Stopped { last_run: None }
        };
        detect_gaps(&self.hour_records(), UnixNanos::from_seconds(self.now), recorder)
    }
}

fn format_gaps(gaps: &[Gap]) -> Vec<String> {
    gaps.iter()
        .map(|gap| {
            let to = gap.to.map_or("…".to_owned(), |to| to.seconds().to_string());
            format!("{} {}-{to} {}", gap.kind, gap.from.seconds(), gap.certainty)
        })
        .collect()
}

#[test]
fn lost_connection_is_one_gap_with_the_first_cause() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(10);
    history.down();
    history.advance(5);
    history.down();
    history.advance(5);
    history.up();
    history.advance(10);
    assert_eq!(format_gaps(&history.gaps()), ["down 3610-3620 exact"]);
    assert_eq!(history.gaps()[0].cause, "eof");
}

#[test]
fn clean_stop_gap_ends_when_the_next_run_connects() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(10);
    history.stop();
    history.advance(10_000);
    assert_eq!(format_gaps(&history.gaps()), ["not_running 3610-… exact"]);
    history.start();
    history.advance(2);
    history.up();
    assert_eq!(format_gaps(&history.gaps()), ["not_running 3610-13612 exact"]);
}

#[test]
fn crash_gap_starts_at_the_last_activity() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(10);
    history.kill();
    history.advance(100);
    assert_eq!(format_gaps(&history.gaps()), ["not_running 3610-… at_most"]);
    history.start();
    history.down();
    history.advance(3);
    history.up();
    assert_eq!(
        format_gaps(&history.gaps()),
        ["not_running 3610-3710 at_most", "down 3710-3713 exact"]
    );
}

#[test]
fn an_outage_over_hours_is_one_gap() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(10);
    history.down();
    history.advance(10_000);
    assert_eq!(format_gaps(&history.gaps()), ["down 3610-… exact"]);
    history.up();
    let gaps = history.gaps();
    assert_eq!(format_gaps(&gaps), ["down 3610-13610 exact"]);
    let all = history.hour_records().into_iter().map(|record| record.hour).collect::<Vec<_>>();
    let hours = gaps_by_hour(&gaps, all, UnixNanos::from_seconds(history.now));
    let seconds: Vec<_> = hours.values().map(|hour| hour.duration.as_secs()).collect();
    assert_eq!(seconds, [3_590, 3_600, 2_810]);
}

#[test]
fn hours_without_a_journal_are_unknown_gaps() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(4 * 3_600);
    let mut records = history.hour_records();
    assert_eq!(records.len(), 5);
    records[1].journal = Err("there is no journal");
    let gaps_of = |records: Vec<HourRecord>| {
        detect_gaps(&records, UnixNanos::from_seconds(history.now), RecorderState::Running)
    };
    assert_eq!(format_gaps(&gaps_of(records.clone())), ["unknown 7200-10800 possible"]);
    records.remove(1);
    assert_eq!(format_gaps(&gaps_of(records.clone())), ["unknown 7200-10800 possible"]);
    // Only the end of a journal is lost.
    let Ok(journal) = &mut records[1].journal else { panic!() };
    journal.truncate(100);
    let last = journal.last().unwrap().t.seconds();
    assert_eq!(
        format_gaps(&gaps_of(records)),
        ["unknown 7200-10800 possible".to_owned(), format!("unknown {last}-14400 possible")]
    );
}

#[test]
fn archive_without_journals_is_unknown_until_the_first_journal() {
    let mut history = RecorderSimulation::at(20_000);
    history.start();
    history.up();
    let blank = |hour| HourRecord {
        hour: Hour::starting_at(hour).unwrap(),
        may_have_lines: true,
        missing_lines: Vec::new(),
        journal: Err("there is no journal"),
    };
    let mut records = vec![blank(3_600), blank(7_200)];
    records.extend(history.hour_records());
    let now = UnixNanos::from_seconds(20_000);
    assert_eq!(
        format_gaps(&detect_gaps(&records, now, RecorderState::Running)),
        ["unknown 3600-20000 possible"]
    );
    // Without any journal, the gap ends with the last hour.
    records.truncate(2);
    assert_eq!(
        format_gaps(&detect_gaps(&records, now, RecorderState::Stopped { last_run: None })),
        ["unknown 3600-10800 possible"]
    );
}

#[test]
fn drops_stalls_and_failed_syncs_are_gaps() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(10);
    let since = UnixNanos::from_seconds(3_609);
    let cause = "overflow".to_owned();
    history.record_event(JournalEvent::Drop {
        since,
        messages: 7,
        cause,
        shared: false,
        detail: String::new(),
    });
    history.record_event(JournalEvent::Stall { error: "full".to_owned() });
    history.now += 5;
    history.record_event(JournalEvent::Resume);
    history.record_event(JournalEvent::SyncFailed {
        from: 0,
        to: 1,
        since,
        error: "bad".to_owned(),
    });
    history.append_event(JournalEvent::Torn);
    history.advance(5);
    history.kill();
    history.append_event(JournalEvent::Torn);
    history.start();
    let lost = RecoveredEvent {
        lost: 9,
        since: UnixNanos::from_seconds(3_618),
        ..RecoveredEvent::default()
    };
    history.record_event(JournalEvent::Recovered(lost));
    history.up();
    let found = history.gaps();
    assert_eq!(
        format_gaps(&found),
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
fn clock_step_is_no_gap_but_suspend_is() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(10);
    // The hours that the clock passes over have no journals.
    let from = UnixNanos::from_seconds(history.now);
    history.now += 90_000;
    history.record_event(JournalEvent::ClockStep { from });
    history.advance(10);
    assert_eq!(format_gaps(&history.gaps()), Vec::<String>::new());
    let since = UnixNanos::from_seconds(history.now);
    history.now += 5_000;
    history.record_event(JournalEvent::Suspended { since });
    history.advance(10);
    assert_eq!(format_gaps(&history.gaps()), ["not_running 93620-98620 exact"]);
    assert_eq!(history.gaps()[0].cause, "suspended");
}

#[derive(Debug, Clone, Copy)]
enum SimulationStep {
    Start,
    Up,
    Down,
    Stop,
    Kill,
    Pass(u64),
}

fn arbitrary_steps() -> impl Strategy<Value = Vec<SimulationStep>> {
    let step = prop_oneof![
        3 => Just(SimulationStep::Start),
        4 => Just(SimulationStep::Up),
        2 => Just(SimulationStep::Down),
        1 => Just(SimulationStep::Stop),
        1 => Just(SimulationStep::Kill),
        2 => (1..50_u64).prop_map(SimulationStep::Pass),
        1 => (1..9_000_u64).prop_map(SimulationStep::Pass),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn gaps_cover_exactly_the_unconnected_seconds(steps in arbitrary_steps()) {
        let mut history = RecorderSimulation::at(3_600);
        for step in steps {
            match step {
                SimulationStep::Start => history.start(),
                SimulationStep::Up => history.up(),
                SimulationStep::Down => history.down(),
                SimulationStep::Stop => history.stop(),
                SimulationStep::Kill => history.kill(),
                SimulationStep::Pass(seconds) => history.advance(seconds),
            }
        }
        let now = history.now;
        let mut reported = Vec::new();
        for gap in history.gaps() {
            let end = gap.to.map_or(now, UnixNanos::seconds);
            reported.extend(gap.from.seconds()..end);
        }
        // The time before the first connection is no gap.
        if let Some(first) = history.missed_seconds.first() {
            reported.retain(|second| second >= first);
            prop_assert_eq!(reported, history.missed_seconds);
        }
    }

    #[test]
    fn gaps_of_any_journal_are_sorted_and_within_the_hour(
        events in proptest::collection::vec((0..50_000_u64, 0..12_u8, 0..3_u8), 0..60),
        running: bool,
    ) {
        let recorder = if running { RecorderState::Running } else { RecorderState::Stopped { last_run: None } };
        let mut journals: BTreeMap<Hour, Vec<JournalEntry>> = BTreeMap::new();
        for (t, event, number) in events {
            let run = number.to_string();
            let since = UnixNanos::from_seconds(number.into());
            let event = match event {
                0 | 1 => JournalEvent::Open(Box::new(OpenEvent { run, connected: number == 1, ..OpenEvent::default() })),
                2 => JournalEvent::Up { connection: ConnectionId::new(1) },
                3 => JournalEvent::Down { cause: run.clone(), detail: run, since: None, exact: false },
                4 => JournalEvent::Mark(Mark::default()),
                5 => JournalEvent::Drop { since, messages: 1, cause: run, shared: false, detail: String::new() },
                6 => JournalEvent::Stall { error: run },
                7 => JournalEvent::Resume,
                8 => JournalEvent::ClockStep { from: since },
                9 => JournalEvent::Closed(ClosedEvent { stop: number == 0, ..ClosedEvent::default() }),
                10 => JournalEvent::Torn,
                _ => JournalEvent::Recovered(RecoveredEvent { lost: 1, since, ..RecoveredEvent::default() }),
            };
            let hour = Hour::containing(UnixNanos::from_seconds(t));
            journals.entry(hour).or_default().push(JournalEntry { t: UnixNanos::from_seconds(t), event });
        }
        let now = UnixNanos::from_seconds(60_000);
        let records: Vec<_> = journals
            .into_iter()
            .map(|(hour, journal)| HourRecord { hour, may_have_lines: true, missing_lines: Vec::new(), journal: Ok(journal) })
            .collect();
        let found = detect_gaps(&records, now, recorder);
        prop_assert!(found.is_sorted_by_key(|gap| gap.from));
        prop_assert!(found.iter().all(|gap| gap.to.is_none_or(|to| to >= gap.from || gap.length != GapLength::Bounds)));
        let hours = records.iter().map(|record| record.hour);
        for hour in gaps_by_hour(&found, hours, now).values() {
            prop_assert!(hour.duration <= Duration::from_secs(3_600));
        }
    }
}
