//! Journals that are written out, event by event.

use super::*;

fn open(run: &str, connected: bool) -> Event {
    let run = run.to_owned();
    Event::Open(Box::new(Open { run, connected, ..Open::default() }))
}

fn up() -> Event {
    Event::Up { connection: 1 }
}

fn down() -> Event {
    Event::Down { cause: "eof".to_owned(), detail: String::new(), since: None }
}

fn mark() -> Event {
    Event::Mark(Mark::default())
}

fn closed(stop: bool) -> Event {
    Event::Closed(Closed { stop, ..Closed::default() })
}

/// The gaps of journals that are written out: the hour, and its events by their seconds.
fn told(journals: Vec<(u64, Vec<(u64, Event)>)>, now: u64) -> Vec<String> {
    let entry = |(t, event)| Entry { t: t * SECOND, event };
    let records: Vec<_> = journals
        .into_iter()
        .map(|(hour, events)| Record {
            hour: Hour::starting_at(hour * 3_600).unwrap(),
            has_lines: true,
            journal: Ok(events.into_iter().map(entry).collect()),
        })
        .collect();
    shown(&gaps(&records, UnixNanos::from_seconds(now), true))
}

#[test]
fn the_oldest_journal_stands_alone_when_retention_has_removed_those_before() {
    let lost = vec![(36_000, open("a", true)), (36_001, mark()), (37_800, down()), (37_860, up())];
    assert_eq!(told(vec![(10, lost)], 38_000), ["down 37800-37860 exact"]);
    let killed = vec![
        (36_000, open("a", true)),
        (36_001, mark()),
        (37_800, open("b", false)),
        (37_860, up()),
    ];
    assert_eq!(told(vec![(10, killed)], 38_000), ["not_running 36001-37860 at_most"]);
}

#[test]
fn an_oldest_journal_that_begins_without_a_connection_is_down_from_its_start() {
    let begin = |part| match open("a", false) {
        Event::Open(open) => Event::Open(Box::new(Open { part, ..*open })),
        other => other,
    };
    let hour = vec![(36_000, begin(3)), (37_800, up())];
    assert_eq!(told(vec![(10, hour)], 38_000), ["down 36000-37800 exact"]);
    // The first hour of a run: it was never connected before.
    let hour = vec![(36_000, begin(1)), (37_800, up())];
    assert_eq!(told(vec![(10, hour)], 38_000), Vec::<String>::new());
}

#[test]
fn a_run_that_crashed_before_it_was_subscribed_is_a_gap_up_to_the_next() {
    let lines = vec![
        (36_000, open("a", false)),
        (36_004, mark()),
        (36_700, open("b", false)),
        (36_710, up()),
    ];
    assert_eq!(told(vec![(10, lines)], 38_000), ["not_running 36004-36710 at_most"]);
}

#[test]
fn what_is_found_dead_while_another_is_down_was_dead_before() {
    let (cause, detail) = ("overflow".to_owned(), String::new());
    let dead = |since: u64| {
        let (cause, detail) = (cause.clone(), detail.clone());
        Event::Down { cause, detail, since: Some(since * SECOND) }
    };
    let dropped =
        Event::Drop { since: 36_202 * SECOND, messages: 1, cause: cause.clone(), shared: false };
    let hour = vec![
        (36_000, open("a", true)),
        (36_100, down()),
        (36_110, up()),
        (36_200, down()),
        // What else is told meanwhile hides nothing.
        (36_203, dropped),
        (36_205, dead(36_150)),
        (36_206, dead(36_050)),
        (36_220, up()),
    ];
    let gaps = ["down 36100-36110 exact", "down 36110-36220 at_most", "dropped 36202-36203 exact"];
    assert_eq!(told(vec![(10, hour)], 38_000), gaps);
}

#[test]
fn an_hour_that_begins_connected_ends_what_went_before() {
    let before = vec![
        (33_000, open("a", false)),
        (33_001, up()),
        (34_000, closed(true)),
        (34_010, open("b", false)),
    ];
    let after = vec![(36_000, open("b", true)), (36_001, mark())];
    assert_eq!(told(vec![(9, before), (10, after)], 38_000), ["not_running 34000-36000 exact"]);
}

#[test]
fn runs_are_told_one_after_the_other_though_the_clock_was_set_back_between() {
    let nine = vec![
        (33_000, open("a", false)),
        (33_001, up()),
        (36_000, closed(false)),
        (35_000, open("a", true)),
        (35_000, Event::ClockStep { from: 36_600 * SECOND }),
        (35_100, closed(true)),
        (35_110, open("b", false)),
        (35_111, up()),
        (36_000, closed(false)),
    ];
    let ten = vec![
        (36_000, open("a", true)),
        (36_500, mark()),
        (35_000, closed(false)),
        (36_000, open("b", true)),
        (36_100, mark()),
    ];
    let gaps = told(vec![(9, nine), (10, ten)], 38_000);
    assert!(
        gaps.iter().all(|gap| gap.starts_with("not_running 35") && !gap.contains('…')),
        "{gaps:?}"
    );
}

#[test]
fn a_clock_that_strayed_into_the_future_marks_nothing_until_then() {
    let far = 1_893_456_000;
    let now = vec![
        (36_000, open("a", false)),
        (36_001, up()),
        (far, closed(false)),
        (36_610, open("a", true)),
        (36_611, mark()),
        (39_600, closed(false)),
    ];
    let then = vec![
        (far, open("a", true)),
        (far, Event::ClockStep { from: 36_605 * SECOND }),
        (far + 5, closed(false)),
    ];
    assert_eq!(told(vec![(10, now), (far / 3_600, then)], 38_000), Vec::<String>::new());
}

#[test]
fn a_gap_of_half_a_century_costs_no_more_than_the_hours_that_there_are() {
    let gap = Gap {
        from: UnixNanos::from_seconds(10),
        to: Some(UnixNanos::from_seconds(1_800_000_010)),
        kind: Kind::NotRunning,
        cause: "stopped".to_owned(),
        detail: String::new(),
        messages: None,
        certainty: Certainty::Exact,
    };
    let hours = [0, 3_600, 1_800_000_000].map(|second| Hour::starting_at(second).unwrap());
    let found = by_hour(&[gap], hours, UnixNanos::from_seconds(2_000_000_000));
    let seconds: Vec<_> = found.values().map(|hour| hour.lasting.as_secs()).collect();
    assert_eq!(seconds, [3_590, 3_600, 10]);
}

#[test]
fn what_could_not_be_written_is_unknown_until_something_is_again() {
    let since = 36_200 * SECOND;
    let missed = vec![
        (36_000, open("a", false)),
        (36_001, up()),
        (36_256, Event::Missing { events: 44, since }),
        (36_301, mark()),
        (36_302, down()),
    ];
    let gaps = told(vec![(10, missed)], 38_000);
    assert_eq!(gaps, ["unknown 36200-36301 possible", "down 36302-… exact"]);
}

#[test]
fn a_link_that_was_silent_may_have_been_dead_since() {
    let since = Some(36_200 * SECOND);
    let silent = Event::Down { cause: "idle".to_owned(), detail: String::new(), since };
    let journal =
        vec![(36_000, open("a", true)), (36_100, mark()), (36_260, silent), (36_270, up())];
    assert_eq!(told(vec![(10, journal)], 38_000), ["down 36200-36270 at_most"]);
}

#[test]
fn lines_that_are_older_than_their_journal_are_unknown() {
    let found = Recovered { messages: 5, ..Recovered::default() };
    let journal = vec![
        (36_500, Event::Recovered(found)),
        (36_500, open("a", false)),
        (36_500, up()),
        (36_600, mark()),
    ];
    assert_eq!(told(vec![(10, journal)], 38_000), ["unknown 36000-36500 possible"]);
}

#[test]
fn a_part_of_a_run_that_is_missing_is_unknown_whatever_the_clock_did() {
    let part = |part, connected| {
        let run = "a".to_owned();
        Event::Open(Box::new(Open { run, part, connected, ..Open::default() }))
    };
    // The journal of the hour was removed while it was written, or one between.
    let first = vec![(36_000, part(1, false)), (36_001, up()), (36_100, mark())];
    let third = vec![
        (43_300, part(3, true)),
        (43_300, Event::ClockStep { from: 40_000 * SECOND }),
        (43_301, mark()),
    ];
    let gaps = told(vec![(10, first), (12, third.clone())], 44_000);
    assert_eq!(gaps, ["unknown 36100-43300 possible"]);
    // Nothing is left but its end.
    assert_eq!(told(vec![(12, third)], 44_000), ["unknown 43200-43300 possible"]);
    // Retention took those before.
    let rest = vec![(43_200, part(7, true)), (43_301, mark())];
    assert_eq!(told(vec![(12, rest)], 44_000), Vec::<String>::new());
}

#[test]
fn a_topic_that_is_never_answered_is_in_doubt() {
    let mut history = History::at(3_600);
    history.start();
    history.up();
    history.pass(10);
    for _ in 0..2 {
        history.down();
        history.pass(30);
        history.note(Event::Unconfirmed { topics: Vec::new() });
        history.up();
        history.pass(10);
        history.stop();
        history.pass(10);
        history.start();
    }
    let gaps = shown(&history.gaps());
    assert_eq!(gaps[..2], ["down 3610-3640 at_most", "not_running 3650-3660 exact"]);
    assert_eq!(gaps[2], "down 3660-3690 at_most");
}

#[test]
fn what_is_written_after_the_recorder_stopped_listening_is_no_listening() {
    for end in [closed(true), mark()] {
        let clean = end == closed(true);
        let hour = vec![
            (36_000, open("a", true)),
            (36_100, Event::Stopping),
            (36_130, end),
            (36_200, open("b", false)),
            (36_210, up()),
        ];
        let certainty = if clean { "exact" } else { "at_most" };
        let gap = format!("not_running 36100-36210 {certainty}");
        assert_eq!(told(vec![(10, hour)], 38_000), [gap]);
    }
}
