//! Wall clocks that step while the recorder runs.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{Recorder, RunningExchange, TOPIC, Test, faketime, run, split_answers};

/// Returns a recorder whose wall clock is offset by the content of the file `clock`.
fn test_with_clock_file(exchange: &RunningExchange) -> Option<Test> {
    let library = faketime()?;
    let test = Test::new(&exchange.url);
    let file = test.path("clock");
    fs::write(&file, "+0").unwrap();
    Some(
        test.env("LD_PRELOAD", library.to_str().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1"),
    )
}

/// Sets the clock, and waits until the recorder has noticed and recorded 500 more messages.
fn step_clock(test: &Test, recorder: &Recorder, offset: &str) {
    let new = test.path("clock.new");
    fs::write(&new, offset).unwrap();
    fs::rename(new, test.path("clock")).unwrap();
    // The archive job logs another line for a step back.
    recorder.wait_for(&["the clock stepped expected="]);
    let messages = recorder.status()["messages"].as_u64().unwrap();
    recorder.wait_for_messages(messages + 500);
}

#[test]
fn a_clock_that_steps_over_hours_and_days_and_back_overwrites_nothing() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 2_000, ..ExchangeOptions::default() });
    let Some(test) = test_with_clock_file(&exchange) else { return };
    let test = test.set("archive", json!({ "schedule": "* * * * * *" }));
    let recorder = test.start();
    recorder.wait_for_messages(500);
    // The clock goes two hours on, two days on, a day back, two days on, and back to hours that are
    // sealed by then.
    for offset in ["+7200", "+172800", "+86400", "+172800", "+0"] {
        step_clock(&test, &recorder, offset);
    }
    let status = recorder.status();
    assert_eq!((&status["dropped"], &status["sink_errors"]), (&json!(0), &json!(0)), "{status:#}");
    assert_eq!(status["archive"]["failures"], 0, "{status:#}");
    recorder.stop();
    let sent = exchange.stop();
    let config = test.config();
    let sealed = run(&["archive", "-config", config.to_str().unwrap()]);
    assert!(sealed.status.success(), "{}", String::from_utf8_lossy(&sealed.stderr));

    // Every line is there once, in the order of the hours and not in that of the sending.
    let (recorded, _) = split_answers(&run(&["cat", "-config", config.to_str().unwrap()]).stdout);
    let mut recorded: Vec<_> = recorded.split_inclusive(|byte| *byte == b'\n').collect();
    let all = Market::new(TOPIC).lines(0..sent);
    let mut expected: Vec<_> = all.split_inclusive(|byte| *byte == b'\n').collect();
    // The close may have cut a write of the exchange short.
    assert!(expected.len() - recorded.len() < 512, "{} of {}", recorded.len(), expected.len());
    expected.truncate(recorded.len());
    recorded.sort_unstable();
    expected.sort_unstable();
    assert!(recorded == expected);

    let verified = run(&["verify", "-config", config.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let steps = test.journal().iter().filter(|event| event["event"] == "clock_step").count();
    assert_eq!(steps, 5);
    // The recorder listened all the time, whatever the clock showed.
    let gaps = test.query("gaps");
    assert!(gaps.iter().all(|gap| gap["to"] == Value::Null), "{gaps:#?}");
}

#[test]
fn a_drop_at_the_boundary_of_an_hour_is_one_gap_in_both() {
    let Some(library) = faketime() else { return };
    // The server drops the connection repeatedly around the full hour.
    let drop_at = (1..30).map(|drop| drop * 300).collect();
    let exchange = RunningExchange::start(ExchangeOptions {
        rate: 1_000,
        drop_at,
        ..ExchangeOptions::default()
    });
    let test = Test::new(&exchange.url)
        .env("LD_PRELOAD", library.to_str().unwrap())
        .env("FAKETIME", "@2026-03-01 10:59:57")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1");
    let recorder = test.start();
    recorder.wait_until(|_| test.files().len() == 2);
    let messages = recorder.status()["messages"].as_u64().unwrap();
    recorder.wait_for_messages(messages + 500);
    recorder.stop();
    let sent = exchange.stop();
    let (recorded, _) = split_answers(&test.recorded());
    let lines = recorded.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(recorded == Market::new(TOPIC).lines(0..lines) && sent < lines + 512);
    assert!(test.gaps().iter().all(|gap| gap == "down eof exact"), "{:?}", test.gaps());
    // The seconds by hour add up to those by gap. The last gap goes on until the end of the hour.
    let mut gaps = test.query_all("gaps");
    gaps.pop();
    let of_gaps: f64 = gaps.iter().map(|gap| gap["seconds"].as_f64().unwrap()).sum();
    let hours = test.query("ls");
    assert_eq!(hours.len(), 2);
    let [before, after] = [0, 1].map(|hour| hours[hour]["gap_seconds"].as_f64().unwrap());
    let stopped: f64 = 3600.0 - seconds_into_hour_at_stop(&test);
    assert!((before + after - of_gaps - stopped).abs() < 0.01, "{before} + {after}, {of_gaps}");
}

/// Returns the seconds of the hour that had passed when the recorder stopped.
fn seconds_into_hour_at_stop(test: &Test) -> f64 {
    let stop = test.journal().into_iter().rfind(|event| event["event"] == "stopping").unwrap();
    (stop["t"].as_u64().unwrap() % 3_600_000_000_000) as f64 / 1e9
}

#[test]
fn a_machine_that_boots_in_1970_keeps_what_it_has() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 2_000, ..ExchangeOptions::default() });
    let Some(test) = test_with_clock_file(&exchange) else { return };
    // The offset is more than 56 years in seconds.
    fs::write(test.path("clock"), "-1780000000").unwrap();
    let archive = json!({ "schedule": "* * * * * *", "retention": { "max_age": "365d" } });
    let test = test.set("archive", archive);
    let hour = current_hour_start() - 30 * 24 * 3600;
    fs::create_dir(test.output()).unwrap();
    let old = test.output().join(format!("{TOPIC}_{hour}.jsonl"));
    fs::write(&old, Market::new(TOPIC).lines(0..10)).unwrap();
    // This hour is sealed before the clock is set, and is older than a year afterwards.
    let of_1970 = test.output().join(format!("{TOPIC}_360000.jsonl"));
    fs::write(&of_1970, Market::new(TOPIC).lines(0..10)).unwrap();
    let recorder = test.start();
    recorder.wait_for_messages(500);
    recorder.wait_until(|status| status["archive"]["sealed_hours"] == 1);
    assert!(old.exists(), "an hour of the future stays");
    step_clock(&test, &recorder, "+0");
    // By the new clock the hours of 1970 are older than a year. The clock is not trusted at once.
    let status = recorder.wait_until(|status| status["archive"]["removed_hours"] != 0);
    assert_eq!(status["sink_errors"], 0, "{status:#}");
    recorder.stop();
    let log = test.log();
    let put_off = log.find("stay until the next run");
    let removed = log.find("INFO removed ");
    assert!(put_off.is_some() && put_off < removed, "{log}");
    let sealed = old.with_extension("jsonl.zst");
    assert!(sealed.exists() || old.exists());
}

/// Returns the Unix second at which the current hour began.
fn current_hour_start() -> u64 {
    let time = streamer::time::Clock::now(&streamer::time::SystemClock);
    streamer::time::Hour::containing(time).start_seconds()
}

#[test]
fn a_clock_that_was_set_back_between_two_runs_hides_no_time() {
    // Stopped or killed, and by a little, by hours, and to a clock that was never set.
    for (offset, is_killed) in [("-5", false), ("-7200", true), ("-1780000000", false)] {
        let exchange =
            RunningExchange::start(ExchangeOptions { rate: 1_000, ..ExchangeOptions::default() });
        let Some(test) = test_with_clock_file(&exchange) else { return };
        let recorder = test.start();
        recorder.wait_for_messages(300);
        let before = Instant::now();
        if is_killed {
            recorder.kill();
            // The journals tell the number of the run as well.
            fs::remove_file(test.output().join(".streamer.lock")).unwrap();
        } else {
            recorder.stop();
        }
        let stopped = Instant::now();
        fs::write(test.path("clock"), offset).unwrap();
        let shortest = stopped.elapsed();
        let recorder = test.start();
        recorder.wait_for_messages(300);
        let longest = before.elapsed();
        let gaps = test.query("gaps");
        let [gap] = gaps.as_slice() else { panic!("{offset}: {gaps:#?}") };
        let cause = if is_killed { "crashed" } else { "stopped" };
        assert_eq!((&gap["kind"], &gap["cause"]), (&json!("not_running"), &json!(cause)));
        assert!(gap["to"].as_str().unwrap() < gap["from"].as_str().unwrap(), "{gap:#}");
        let seconds = gap["seconds"].as_f64().unwrap();
        // A crash is told from the last mark on, which may be two seconds old.
        let slack = if is_killed { 3.0 } else { 0.01 };
        let range = shortest.as_secs_f64()..longest.as_secs_f64() + slack;
        assert!(range.contains(&seconds), "{offset}: {seconds} in {range:?}");
        recorder.stop();
        exchange.stop();
    }
}
