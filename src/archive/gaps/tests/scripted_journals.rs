//! Tests with journals that are written out event by event.

use super::*;

fn open(run: &str, connected: bool) -> JournalEvent {
    let run = run.to_owned();
    JournalEvent::Open(Box::new(OpenEvent { run, connected, ..OpenEvent::default() }))
}

fn up() -> JournalEvent {
    JournalEvent::Up { connection: ConnectionId::new(1) }
}

fn down() -> JournalEvent {
    JournalEvent::Down { cause: "eof".to_owned(), detail: String::new(), since: None, exact: false }
}

fn mark() -> JournalEvent {
    JournalEvent::Mark(Mark::default())
}

fn closed(stop: bool) -> JournalEvent {
    JournalEvent::Closed(ClosedEvent { stop, ..ClosedEvent::default() })
}

/// Returns the gaps of these journals: each the number of an hour, and events with their seconds.
fn detect(journals: Vec<(u64, Vec<(u64, JournalEvent)>)>, now: u64) -> Vec<String> {
    let entry = |(t, event)| JournalEntry { t: UnixNanos::from_seconds(t), event };
    let records: Vec<_> = journals
        .into_iter()
        .map(|(hour, events)| HourRecord {
            hour: Hour::starting_at(hour * 3_600).unwrap(),
            may_have_lines: true,
            missing_lines: Vec::new(),
            journal: Ok(events.into_iter().map(entry).collect()),
        })
        .collect();
    format_gaps(&detect_gaps(&records, UnixNanos::from_seconds(now), RecorderState::Running))
}

#[test]
fn oldest_journal_yields_only_its_own_gaps() {
    let lost = vec![(36_000, open("a", true)), (36_001, mark()), (37_800, down()), (37_860, up())];
    assert_eq!(detect(vec![(10, lost)], 38_000), ["down 37800-37860 exact"]);
    let killed = vec![
        (36_000, open("a", true)),
        (36_001, mark()),
        (37_800, open("b", false)),
        (37_860, up()),
    ];
    assert_eq!(detect(vec![(10, killed)], 38_000), ["not_running 36001-37860 at_most"]);
}

#[test]
fn oldest_journal_opened_unconnected_is_down_from_its_start() {
    let begin = |part| match open("a", false) {
        JournalEvent::Open(open) => JournalEvent::Open(Box::new(OpenEvent { part, ..*open })),
        other => other,
    };
    let hour = vec![(36_000, begin(3)), (37_800, up())];
    assert_eq!(detect(vec![(10, hour)], 38_000), ["down 36000-37800 exact"]);
    // The first hour of a run, which was never connected before, is no gap.
    let hour = vec![(36_000, begin(1)), (37_800, up())];
    assert_eq!(detect(vec![(10, hour)], 38_000), Vec::<String>::new());
}

#[test]
fn run_that_crashed_before_connecting_is_a_gap_until_the_next_connects() {
    let lines = vec![
        (36_000, open("a", false)),
        (36_004, mark()),
        (36_700, open("b", false)),
        (36_710, up()),
    ];
    assert_eq!(detect(vec![(10, lines)], 38_000), ["not_running 36004-36710 at_most"]);
}

#[test]
fn backdated_down_event_extends_the_current_outage() {
    let (cause, detail) = ("overflow".to_owned(), String::new());
    let dead = |since: u64| {
        let (cause, detail) = (cause.clone(), detail.clone());
        JournalEvent::Down {
            cause,
            detail,
            since: Some(UnixNanos::from_seconds(since)),
            exact: false,
        }
    };
    let dropped = JournalEvent::Drop {
        since: UnixNanos::from_seconds(36_202),
        messages: 1,
        cause: cause.clone(),
        shared: false,
        detail: String::new(),
    };
    let hour = vec![
        (36_000, open("a", true)),
        (36_100, down()),
        (36_110, up()),
        (36_200, down()),
        // An unrelated event in between changes nothing.
        (36_203, dropped),
        (36_205, dead(36_150)),
        (36_206, dead(36_050)),
        (36_220, up()),
    ];
    let gaps = ["down 36100-36110 exact", "down 36110-36220 at_most", "dropped 36202-36203 exact"];
    assert_eq!(detect(vec![(10, hour)], 38_000), gaps);
}

#[test]
fn hour_opened_connected_ends_the_previous_gap() {
    let before = vec![
        (33_000, open("a", false)),
        (33_001, up()),
        (34_000, closed(true)),
        (34_010, open("b", false)),
    ];
    let after = vec![(36_000, open("b", true)), (36_001, mark())];
    assert_eq!(detect(vec![(9, before), (10, after)], 38_000), ["not_running 34000-36000 exact"]);
}

#[test]
fn runs_stay_in_order_when_the_clock_is_set_back() {
    let nine = vec![
        (33_000, open("a", false)),
        (33_001, up()),
        (36_000, closed(false)),
        (35_000, open("a", true)),
        (35_000, JournalEvent::ClockStep { from: UnixNanos::from_seconds(36_600) }),
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
    let gaps = detect(vec![(9, nine), (10, ten)], 38_000);
    assert!(
        gaps.iter().all(|gap| gap.starts_with("not_running 35") && !gap.contains('…')),
        "{gaps:?}"
    );
}

#[test]
fn clock_briefly_in_the_future_creates_no_gap() {
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
        (far, JournalEvent::ClockStep { from: UnixNanos::from_seconds(36_605) }),
        (far + 5, closed(false)),
    ];
    assert_eq!(detect(vec![(10, now), (far / 3_600, then)], 38_000), Vec::<String>::new());
}

#[test]
fn gaps_by_hour_visits_only_existing_hours() {
    let gap = Gap {
        from: UnixNanos::from_seconds(10),
        to: Some(UnixNanos::from_seconds(1_800_000_010)),
        kind: GapKind::NotRunning,
        cause: "stopped".to_owned(),
        detail: String::new(),
        messages: None,
        certainty: Certainty::Exact,
        length: GapLength::Bounds,
    };
    let hours = [0, 3_600, 1_800_000_000].map(|second| Hour::starting_at(second).unwrap());
    let found = gaps_by_hour(&[gap], hours, UnixNanos::from_seconds(2_000_000_000));
    let seconds: Vec<_> = found.values().map(|hour| hour.duration.as_secs()).collect();
    assert_eq!(seconds, [3_590, 3_600, 10]);
}

#[test]
fn missing_events_are_unknown_until_the_next_mark() {
    let since = UnixNanos::from_seconds(36_200);
    let missed = vec![
        (36_000, open("a", false)),
        (36_001, up()),
        (36_256, JournalEvent::Missing { events: 44, since }),
        (36_301, mark()),
        (36_302, down()),
    ];
    let gaps = detect(vec![(10, missed)], 38_000);
    assert_eq!(gaps, ["unknown 36200-36301 possible", "down 36302-… exact"]);
}

#[test]
fn a_disconnect_after_missing_events_begins_no_earlier_than_they() {
    let since = UnixNanos::from_seconds(36_200);
    let journal = |down| {
        let missing = JournalEvent::Missing { events: 44, since };
        vec![(36_000, open("a", false)), (36_001, up()), (36_256, missing), (36_302, down)]
    };
    let gaps = detect(vec![(10, journal(down()))], 38_000);
    assert_eq!(gaps, ["unknown 36200-36302 possible", "down 36302-… exact"]);
    let silent_since = |t| {
        let since = Some(UnixNanos::from_seconds(t));
        JournalEvent::Down { cause: "idle".to_owned(), detail: String::new(), since, exact: false }
    };
    let gaps = detect(vec![(10, journal(silent_since(36_290)))], 38_000);
    assert_eq!(gaps, ["unknown 36200-36290 possible", "down 36290-… at_most"]);
    let gaps = detect(vec![(10, journal(silent_since(36_100)))], 38_000);
    assert_eq!(gaps, ["unknown 36200-36200 possible", "down 36200-… at_most"]);
}

#[test]
fn idle_connection_gap_starts_when_it_went_silent() {
    let since = Some(UnixNanos::from_seconds(36_200));
    let silent =
        JournalEvent::Down { cause: "idle".to_owned(), detail: String::new(), since, exact: false };
    let journal =
        vec![(36_000, open("a", true)), (36_100, mark()), (36_260, silent), (36_270, up())];
    assert_eq!(detect(vec![(10, journal)], 38_000), ["down 36200-36270 at_most"]);
}

#[test]
fn lines_recorded_before_the_journal_began_are_unknown() {
    let found = RecoveredEvent { messages: 5, ..RecoveredEvent::default() };
    let journal = vec![
        (36_500, JournalEvent::Recovered(found)),
        (36_500, open("a", false)),
        (36_500, up()),
        (36_600, mark()),
    ];
    assert_eq!(detect(vec![(10, journal)], 38_000), ["unknown 36000-36500 possible"]);
}

#[test]
fn missing_part_of_a_run_is_unknown_despite_a_clock_step() {
    let part = |part, connected| {
        let run = "a".to_owned();
        JournalEvent::Open(Box::new(OpenEvent { run, part, connected, ..OpenEvent::default() }))
    };
    // The journal of hour 11 was removed while it was written.
    let first = vec![(36_000, part(1, false)), (36_001, up()), (36_100, mark())];
    let third = vec![
        (43_300, part(3, true)),
        (43_300, JournalEvent::ClockStep { from: UnixNanos::from_seconds(40_000) }),
        (43_301, mark()),
    ];
    let gaps = detect(vec![(10, first), (12, third.clone())], 44_000);
    assert_eq!(gaps, ["unknown 36100-43300 possible"]);
    // Only the last part of the run remains.
    assert_eq!(detect(vec![(12, third)], 44_000), ["unknown 43200-43300 possible"]);
    // Retention has removed the earlier parts.
    let rest = vec![(43_200, part(7, true)), (43_301, mark())];
    assert_eq!(detect(vec![(12, rest)], 44_000), Vec::<String>::new());
}

#[test]
fn unconfirmed_topic_makes_the_gap_at_most() {
    let mut history = RecorderSimulation::at(3_600);
    history.start();
    history.up();
    history.advance(10);
    for _ in 0..2 {
        history.down();
        history.advance(30);
        history.record_event(JournalEvent::Unconfirmed { topics: Vec::new() });
        history.up();
        history.advance(10);
        history.stop();
        history.advance(10);
        history.start();
    }
    let gaps = format_gaps(&history.gaps());
    assert_eq!(gaps[..2], ["down 3610-3640 at_most", "not_running 3650-3660 exact"]);
    assert_eq!(gaps[2], "down 3660-3690 at_most");
}

#[test]
fn gap_starts_at_stopping_not_at_the_last_event() {
    for end in [closed(true), mark()] {
        let clean = end == closed(true);
        let hour = vec![
            (36_000, open("a", true)),
            (36_100, JournalEvent::Stopping { since: None }),
            (36_130, end),
            (36_200, open("b", false)),
            (36_210, up()),
        ];
        let certainty = if clean { "exact" } else { "at_most" };
        let gap = format!("not_running 36100-36210 {certainty}");
        assert_eq!(detect(vec![(10, hour)], 38_000), [gap]);
    }
}

/// Returns an `open` event of run `number` on a machine that was started at this second by the clock.
fn open_of(number: u64, boot: &str, booted: u64) -> JournalEvent {
    JournalEvent::Open(Box::new(OpenEvent {
        run: number.to_string(),
        run_number: number,
        boot: boot.to_owned(),
        booted: Some(UnixNanos::from_seconds(booted)),
        ..OpenEvent::default()
    }))
}

/// Returns the gaps with their lengths in seconds; `?` for an unknown one.
fn detect_lengths(journals: Vec<(u64, Vec<(u64, JournalEvent)>)>) -> Vec<String> {
    let entry = |(t, event)| JournalEntry { t: UnixNanos::from_seconds(t), event };
    let records = journals.into_iter().map(|(hour, events)| HourRecord {
        hour: Hour::starting_at(hour * 3_600).unwrap(),
        may_have_lines: true,
        missing_lines: Vec::new(),
        journal: Ok(events.into_iter().map(entry).collect()),
    });
    let records: Vec<_> = records.collect();
    let now = UnixNanos::from_seconds(90_000);
    let gaps = detect_gaps(&records, now, RecorderState::Running);
    let length = |gap: &Gap| gap.duration(now).map_or("?".to_owned(), |d| d.as_secs().to_string());
    format_gaps(&gaps)
        .iter()
        .zip(&gaps)
        .map(|(text, gap)| format!("{text} {}", length(gap)))
        .collect()
}

#[test]
fn a_clock_that_goes_back_between_runs_hides_no_time() {
    // Stopped at 37 000 and started again four seconds later, when the clock showed 36 400.
    let stopped = |boot, booted| {
        let events = vec![
            (36_300, open_of(1, "a", 30_000)),
            (36_301, up()),
            (37_000, closed(true)),
            (36_400, open_of(2, boot, booted)),
            (36_404, up()),
        ];
        vec![(10, events)]
    };
    assert_eq!(detect_lengths(stopped("a", 29_400)), ["not_running 37000-36404 exact 4"]);
    // Started as well, so that nobody knows how long it was off.
    assert_eq!(detect_lengths(stopped("b", 36_390)), ["not_running 37000-36404 at_most ?"]);
    // Until the clock is mended.
    let mut mended = stopped("b", 36_390);
    let step = JournalEvent::ClockStep { from: UnixNanos::from_seconds(36_410) };
    mended[0].1.push((37_410, step));
    assert_eq!(detect_lengths(mended), ["not_running 37000-36404 at_most 404"]);
}

#[test]
fn a_run_whose_clock_went_back_to_an_earlier_hour_follows_the_run_before() {
    let early = vec![(36_010, open_of(2, "b", 36_000)), (36_011, up()), (36_020, mark())];
    let late = vec![(54_000, open_of(1, "a", 50_000)), (54_001, up()), (54_100, mark())];
    assert_eq!(
        detect_lengths(vec![(10, early), (15, late)]),
        ["not_running 54100-36011 at_most ?"],
        "and the healthy second run goes on"
    );
}

#[test]
fn a_gap_with_a_step_of_the_clock_is_as_long_as_it_was() {
    let stepped = vec![
        (36_000, open_of(1, "a", 30_000)),
        (36_001, up()),
        (36_100, down()),
        (36_050, JournalEvent::ClockStep { from: UnixNanos::from_seconds(36_110) }),
        (36_070, up()),
    ];
    assert_eq!(detect_lengths(vec![(10, stepped)]), ["down 36100-36070 exact 30"]);
}

#[test]
fn a_small_step_back_shortens_no_gap_and_a_late_step_lengthens_none() {
    let events = |boot, booted| {
        vec![
            (36_300, open_of(1, "a", 30_000)),
            (36_301, up()),
            (37_000, closed(true)),
            (37_001, open_of(2, boot, booted)),
            (37_002, up()),
        ]
    };
    assert_eq!(
        detect_lengths(vec![(10, events("a", 29_999))]),
        ["not_running 37000-37002 exact 3"]
    );
    let mut later = events("b", 36_990);
    later.push((39_500, JournalEvent::ClockStep { from: UnixNanos::from_seconds(39_400) }));
    later.push((43_300, JournalEvent::ClockStep { from: UnixNanos::from_seconds(43_100) }));
    let mut much_later = later.clone();
    much_later.remove(5);
    assert_eq!(detect_lengths(vec![(10, later)]), ["not_running 37000-37002 at_most 102"]);
    assert_eq!(detect_lengths(vec![(10, much_later)]), ["not_running 37000-37002 exact 2"]);
}

#[test]
fn a_connection_that_was_lost_during_the_stop_leaves_no_gap_that_ends_before_it_begins() {
    let since = Some(UnixNanos::from_seconds(36_100));
    let stopped = vec![
        (36_000, open_of(1, "a", 30_000)),
        (36_001, up()),
        (36_101, down()),
        (36_102, JournalEvent::Stopping { since }),
        (36_102, closed(true)),
    ];
    let gaps = detect_lengths(vec![(10, stopped)]);
    assert_eq!(gaps[0], "not_running 36100-… at_most 53900");
    assert!(gaps[1..].iter().all(|gap| gap == "down 36101-36101 exact 0"), "{gaps:?}");
}

#[test]
fn a_topic_that_is_removed_has_no_gap_until_it_is_added_again() {
    let open = |run: &str, part| {
        let open = OpenEvent { run: run.to_owned(), part, ..OpenEvent::default() };
        JournalEvent::Open(Box::new(OpenEvent { topics: vec!["t".to_owned()], ..open }))
    };
    let changed = |added: &[&str], removed: &[&str]| {
        let [added, removed] =
            [added, removed].map(|topics| topics.iter().map(ToString::to_string).collect());
        let change = ConfigChangedEvent { added, removed, ..ConfigChangedEvent::default() };
        JournalEvent::ConfigChanged(Box::new(change))
    };
    let removed = || {
        let end = [(36_100, down()), (36_110, changed(&[], &["t"])), (39_600, closed(false))];
        [vec![(36_000, open("a", 1)), (36_001, up())], end.to_vec()].concat()
    };
    let lost = "down 36100-36110 exact";
    assert_eq!(detect(vec![(10, removed())], 50_000), [lost]);
    // The run adds it again, hours later; it stops, and the topic is in the next run.
    let again = vec![
        (46_900, open("a", 2)),
        (46_900, changed(&["t"], &[])),
        (46_900, down()),
        (46_905, up()),
        (46_910, changed(&[], &["t"])),
        (46_920, closed(true)),
        (46_980, open("b", 1)),
        (46_985, up()),
    ];
    let all = [lost, "down 46900-46905 exact", "down 46980-46985 exact"];
    assert_eq!(detect(vec![(10, removed()), (13, again)], 50_000), all);
}

#[test]
fn an_event_that_comes_before_unread_or_held_messages_does_not_shorten_the_gap_of_a_crash() {
    let crash_after = |events: Vec<(u64, JournalEvent)>| {
        let run = vec![(36_000, open("a", false)), (36_001, up()), (36_010, mark())];
        let next = vec![(36_700, open("b", false)), (36_710, up())];
        detect(vec![(10, [run, events, next].concat())], 38_000)
    };
    let topic = || "t".to_owned();
    let topic_down = JournalEvent::TopicDown {
        topic: topic(),
        cause: "refused".to_owned(),
        detail: String::new(),
        since: None,
    };
    for event in [
        JournalEvent::Unconfirmed { topics: vec![topic()] },
        JournalEvent::TopicUp { topic: topic() },
        topic_down,
        // Of another connection, while the first may have unread messages.
        up(),
    ] {
        let gaps = crash_after(vec![(36_020, event)]);
        assert!(gaps.contains(&"not_running 36010-36710 at_most".to_owned()), "{gaps:?}");
    }
    let behind = || JournalEvent::Behind { since: UnixNanos::from_seconds(36_015) };
    assert_eq!(
        crash_after(vec![(36_020, behind()), (36_020, down())]),
        ["not_running 36015-36710 at_most"]
    );
    let lost = vec![(36_020, behind()), (36_020, down()), (36_030, behind()), (36_030, up())];
    assert_eq!(crash_after(lost), ["not_running 36015-36710 at_most", "down 36020-36030 exact"]);
    let lost = vec![(36_020, behind()), (36_020, down()), (36_030, up())];
    assert_eq!(
        crash_after(lost),
        ["down 36020-36030 exact", "not_running 36030-36710 at_most"],
        "the first event alone is behind"
    );
}

#[test]
fn the_first_hour_of_a_recording_begins_with_a_gap_until_its_first_open() {
    let begin = |run: &str, part| match open(run, false) {
        JournalEvent::Open(open) => JournalEvent::Open(Box::new(OpenEvent { part, ..*open })),
        other => other,
    };
    let first = vec![(36_900, begin("a", 1)), (36_900, up()), (39_600, closed(false))];
    let next = vec![(39_600, begin("a", 2)), (39_600, up()), (40_000, closed(true))];
    let again = vec![(50_000, begin("b", 1)), (50_000, up())];
    let journals = vec![(10, first), (11, next), (13, again)];
    let expected = ["not_recorded 36000-36900 exact", "not_running 40000-50000 exact"];
    assert_eq!(detect(journals.clone(), 50_100), expected);
    // Retention has removed the first hour.
    assert_eq!(detect(journals[1..].to_vec(), 50_100), expected[1..]);
}

#[test]
fn a_topic_of_which_neither_a_confirmation_nor_a_message_came_is_a_possible_gap() {
    let doubt = || JournalEvent::Down {
        cause: "unconfirmed".to_owned(),
        detail: String::new(),
        since: None,
        exact: false,
    };
    let silent = vec![(36_000, open("a", false)), (36_030, up()), (36_030, doubt())];
    assert_eq!(detect(vec![(10, silent.clone())], 38_000), ["down 36030-… possible"]);
    let heard = [silent, vec![(37_000, up())]].concat();
    assert_eq!(detect(vec![(10, heard)], 38_000), ["down 36030-37000 possible"]);
}
