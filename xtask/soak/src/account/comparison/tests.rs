use std::fs;

use serde_json::json;
use streamer::time::UnixNanos;

use super::*;
use crate::account::run_clocks::RunClocks;

/// The time of the first tick; whole milliseconds, as gaps have them.
const START: u64 = 1_700_000_000_000_000_000;
const MILLI: u64 = 1_000_000;
const SETUP: Setup = Setup::OneTopic;

/// A change of the lines of an archive.
type Change = fn(&mut Vec<String>);

/// Returns 100 ticks of one topic, 20 ms apart, that was subscribed to from the first on.
fn truth() -> Truth {
    let sent = (0..100).map(|number| START + number * 20 * MILLI).collect();
    let topic = TopicTruth { sent, first_confirmed: Some(START) };
    Truth { topics: vec![topic], ..Truth::default() }
}

/// Returns the lines of these ticks.
fn lines(truth: &Truth, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let line = |number| Tick { topic: 0, number, sent: truth.topics[0].sent[number] }.text() + "\n";
    numbers.into_iter().map(line).collect()
}

/// Returns a gap from and to these milliseconds after the first tick.
fn gap(from: u64, to: u64, certainty: &str) -> ToldGap {
    let time = |millis: u64| UnixNanos::new(START + millis * MILLI).to_string();
    let gap = json!({
        "stem": "t00", "from": time(from), "to": time(to), "kind": "down", "cause": "eof",
        "detail": "", "messages": null, "certainty": certainty,
    });
    let mut clocks = RunClocks::default();
    clocks.begin(0, START);
    ToldGap::parse(&gap.to_string(), &clocks).unwrap().unwrap()
}

/// Compares these lines and gaps with the truth.
fn compare(truth: &Truth, lines: &[String], gaps: &[ToldGap]) -> Comparison {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t00_1699999200.jsonl"), lines.concat()).unwrap();
    let recording = Recording::read(dir.path(), SETUP, truth).unwrap();
    Comparison::new(SETUP, truth, recording, gaps)
}

/// Returns what is wrong if all ticks but numbers 40 to 59, sent from 800 to 1180 ms, are recorded.
fn discrepancies(gaps: &[ToldGap]) -> Vec<String> {
    let truth = truth();
    let lines = lines(&truth, (0..40).chain(60..100));
    let found = compare(&truth, &lines, gaps);
    assert_eq!((found.made, found.missing), (100, 20));
    found.discrepancies.into_iter().map(|discrepancy| discrepancy.text).collect()
}

#[test]
fn what_is_missing_must_lie_in_a_gap_within_25_ms() {
    let [outside] = &discrepancies(&[])[..] else { panic!("one range") };
    assert!(outside.starts_with("20 ticks outside of all gaps: t00 40..=59"), "{outside}");
    assert!(discrepancies(&[gap(800, 1_180, "at_most")]).is_empty());
    assert!(discrepancies(&[gap(825, 1_155, "exact")]).is_empty());
    let [outside] = &discrepancies(&[gap(830, 1_180, "exact")])[..] else { panic!("one range") };
    assert!(outside.starts_with("1 ticks outside of all gaps: t00 40..=40"), "{outside}");
    let [outside] = &discrepancies(&[gap(800, 1_150, "exact")])[..] else { panic!("one range") };
    assert!(outside.starts_with("1 ticks outside of all gaps: t00 59..=59"), "{outside}");
}

#[test]
fn an_exact_gap_is_no_longer_than_what_is_missing() {
    assert!(discrepancies(&[gap(760, 1_220, "exact")]).is_empty());
    assert!(discrepancies(&[gap(300, 1_800, "at_most")]).is_empty());
    for (from, to) in [(750, 1_180), (800, 1_250)] {
        let [excess] = &discrepancies(&[gap(from, to, "exact")])[..] else { panic!("one gap") };
        assert!(excess.starts_with("an exact gap that is too long"), "{excess}");
    }
    let gaps = [gap(800, 1_180, "exact"), gap(100, 300, "exact")];
    let [excess] = &discrepancies(&gaps)[..] else { panic!("one gap") };
    assert!(excess.ends_with("nothing is missing"), "{excess}");
}

#[test]
fn a_gap_may_begin_while_a_late_server_made_no_ticks() {
    let mut truth = truth();
    for sent in &mut truth.topics[0].sent[40..] {
        *sent += 200 * MILLI;
    }
    let lines = lines(&truth, (0..40).chain(60..100));
    let found = compare(&truth, &lines, &[gap(800, 1_390, "exact")]);
    assert_eq!((found.missing, found.discrepancies.len()), (20, 0), "{:?}", found.discrepancies);
}

#[test]
fn ticks_before_the_first_confirmation_do_not_count() {
    let mut truth = truth();
    truth.topics[0].first_confirmed = Some(START + 795 * MILLI);
    let found = compare(&truth, &lines(&truth, 40..100), &[]);
    assert_eq!((found.made, found.missing, found.outside), (60, 0, 0));
}

#[test]
fn lines_that_are_torn_altered_doubled_or_out_of_order_are_found() {
    let truth = truth();
    let all = lines(&truth, 0..100);
    assert!(compare(&truth, &all, &[]).discrepancies.is_empty());
    let cases: [(&str, Change); 4] = [
        ("torn", |lines| lines[99].truncate(20)),
        ("never sent", |lines| lines[7] = lines[7].replace("\"n\":7", "\"n\":8")),
        ("doubled", |lines| lines.push(lines[99].clone())),
        ("out of order", |lines| lines.swap(50, 51)),
    ];
    for (words, change) in cases {
        let mut changed = all.clone();
        change(&mut changed);
        let found = compare(&truth, &changed, &[]).discrepancies;
        assert!(found.iter().any(|fault| fault.text.contains(words)), "{words}: {found:?}");
    }
}
