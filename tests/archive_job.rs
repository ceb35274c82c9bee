//! The archive job, which seals and removes hours beside a recording.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{RunningExchange, TOPIC, Test, faketime, run, split_answers, tool};

/// Returns a recorder whose directory already exists, for hours that a run before left.
fn test_with_old_hours(exchange: &RunningExchange, archive: Value) -> Test {
    let test = Test::new(&exchange.url).set("archive", archive);
    fs::create_dir(test.output()).unwrap();
    test
}

fn write_old_hour(test: &Test, hour: u64, lines: impl AsRef<[u8]>) -> PathBuf {
    let path = test.output().join(format!("{TOPIC}_{}.jsonl", hour * 3600));
    fs::write(&path, lines).unwrap();
    path
}

fn archive_counter(status: &Value, key: &str) -> u64 {
    status["archive"][key].as_u64().unwrap_or(0)
}

fn cat(test: &Test) -> Vec<u8> {
    run(&["cat", "-config", test.config().to_str().unwrap()]).stdout
}

#[test]
fn a_closed_hour_is_sealed_while_the_recording_goes_on_across_the_hour() {
    let Some(faketime) = faketime() else { return };
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 2_000, ..ExchangeOptions::default() });
    let test = Test::new(&exchange.url)
        .set("archive", json!({ "schedule": "* * * * * *" }))
        .env("LD_PRELOAD", faketime.to_str().unwrap())
        .env("FAKETIME", "@2026-03-01 10:59:57")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1");
    let recorder = test.start();
    let status = recorder.wait_until(|status| archive_counter(status, "sealed_hours") == 1);
    assert_eq!(archive_counter(&status, "failures"), 0);
    assert!(status["archive"]["ratio"].as_f64().unwrap() > 1.0);
    assert!(status["archive"]["next_run"].as_str().unwrap().starts_with("2026-03-01T11:00:"));
    let after = status["messages"].as_u64().unwrap();
    recorder.wait_for_messages(after + 1_000);
    let status = recorder.status();
    assert_eq!((status["dropped"].as_u64(), &status["stall"]), (Some(0), &Value::Null));
    recorder.stop();
    let sent = exchange.stop();
    let ten = "1772359200";
    let sealed = test.output().join(format!("{TOPIC}_{ten}.jsonl.zst"));
    assert!(sealed.exists());
    if let Some(mut zstd) = tool("zstd") {
        assert!(zstd.args(["-q", "-t"]).arg(&sealed).status().unwrap().success());
    }
    let (recorded, _) = split_answers(&cat(&test));
    let lines = recorded.iter().filter(|byte| **byte == b'\n').count() as u64;
    // The close may have cut a write of the exchange short.
    assert!(lines > 20_000 && lines <= sent && sent < lines + 512, "{lines} of {sent}");
    assert!(recorded == Market::new(TOPIC).lines(0..lines));
    let verified = run(&["verify", "-config", test.config().to_str().unwrap()]);
    assert!(verified.status.success());
    assert!(test.log().contains("sealed "));
}

#[test]
fn old_hours_are_sealed_at_start_and_removed_by_size() {
    let exchange =
        RunningExchange::start(ExchangeOptions { count: Some(10), ..ExchangeOptions::default() });
    let test = test_with_old_hours(&exchange, json!({ "retention": { "max_total_size": "1MiB" } }));
    let lines = Market::new(TOPIC).lines(0..20_000);
    for hour in 1..=3 {
        write_old_hour(&test, hour, &lines);
    }
    let recorder = test.start();
    let status = recorder.wait_until(|status| archive_counter(status, "runs") == 1);
    assert_eq!(
        (archive_counter(&status, "sealed_hours"), archive_counter(&status, "failures")),
        (3, 0)
    );
    assert!(archive_counter(&status, "removed_hours") >= 1, "{status:#}");
    assert_eq!(status["archive"]["running"], false);
    recorder.stop();
    let log = test.log();
    assert!(log.contains("removed ") && log.contains("for `max_total_size`"), "{log}");
}

#[test]
fn an_hour_that_cannot_be_sealed_is_retried_and_does_not_stop_the_others() {
    let exchange =
        RunningExchange::start(ExchangeOptions { count: Some(10), ..ExchangeOptions::default() });
    let test = test_with_old_hours(&exchange, json!({ "schedule": "* * * * * *" }));
    let bad = write_old_hour(&test, 1, "1\n");
    // A directory in the place of the temporary file makes sealing fail.
    fs::create_dir(bad.with_extension("jsonl.zst.tmp")).unwrap();
    write_old_hour(&test, 2, "2\n");
    let recorder = test.start();
    let status = recorder.wait_until(|status| archive_counter(status, "failures") >= 2);
    assert_eq!(archive_counter(&status, "sealed_hours"), 1);
    let failure = status["archive"]["last_failure"].as_str().unwrap();
    assert!(failure.contains("_3600.jsonl"), "{failure}");
    fs::remove_dir(bad.with_extension("jsonl.zst.tmp")).unwrap();
    recorder.wait_until(|status| archive_counter(status, "sealed_hours") == 2);
    recorder.stop();
}

#[test]
fn a_stop_interrupts_a_long_archive_run() {
    let exchange =
        RunningExchange::start(ExchangeOptions { count: Some(10), ..ExchangeOptions::default() });
    let test = test_with_old_hours(&exchange, json!({ "compression": { "level": 9 } }));
    let lines = Market::new(TOPIC).lines(0..400_000);
    let path = write_old_hour(&test, 1, &lines);
    let recorder = test.start();
    let tmp = path.with_extension("jsonl.zst.tmp");
    recorder.wait_until(|_| fs::metadata(&tmp).is_ok_and(|tmp| tmp.len() > 0));
    recorder.stop();
    assert!(!tmp.exists());
    assert!(fs::read(&path).unwrap() == lines);
    assert!(test.log().contains("archive run stopped"));
}

#[test]
fn the_archive_thread_runs_at_the_lowest_priority() {
    let exchange =
        RunningExchange::start(ExchangeOptions { count: Some(10), ..ExchangeOptions::default() });
    let test = test_with_old_hours(&exchange, json!({}));
    let recorder = test.start();
    recorder.wait_until(|status| archive_counter(status, "runs") == 1);
    let tasks = fs::read_dir(format!("/proc/{}/task", recorder.pid())).unwrap();
    let mut found = false;
    for task in tasks.map(|task| task.unwrap().path()) {
        let name = fs::read_to_string(task.join("comm")).unwrap();
        // The nice value is the seventeenth field after the name in brackets.
        let stat = fs::read_to_string(task.join("stat")).unwrap();
        let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().to_owned();
        if name.trim() == "sidecar" {
            found = true;
            assert_eq!(nice, "19");
            if let Some(mut ionice) = tool("ionice") {
                let class = ionice.arg("-p").arg(task.file_name().unwrap()).output().unwrap();
                assert_eq!(String::from_utf8_lossy(&class.stdout).trim(), "idle");
            }
        } else {
            assert_eq!(nice, "0", "{name}");
        }
    }
    assert!(found);
    recorder.stop();
}

#[test]
fn without_the_archive_section_no_hour_is_sealed() {
    let exchange =
        RunningExchange::start(ExchangeOptions { count: Some(10), ..ExchangeOptions::default() });
    let test = Test::new(&exchange.url);
    fs::create_dir(test.output()).unwrap();
    let path = write_old_hour(&test, 1, "1\n");
    let recorder = test.start();
    recorder.wait_for_messages(11);
    assert_eq!(recorder.status()["archive"], Value::Null);
    recorder.stop();
    assert!(Path::new(&path).exists());
}

#[test]
fn archive_commands_work_beside_a_running_recorder() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 5_000, ..ExchangeOptions::default() });
    let test = Test::new(&exchange.url);
    fs::create_dir(test.output()).unwrap();
    write_old_hour(&test, 1, Market::new(TOPIC).lines(0..10));
    let recorder = test.start();
    recorder.wait_for_messages(1_000);
    let config = test.config();
    let config = config.to_str().unwrap();
    let sealed = run(&["archive", "-config", config]);
    assert!(sealed.status.success());
    let listed = String::from_utf8(run(&["ls", "-config", config]).stdout).unwrap();
    assert!(listed.contains("sealed") && listed.contains("open"), "{listed}");
    let lines = cat(&test);
    assert!(lines.len() > 100_000 && lines.ends_with(b"\n"));
    recorder.stop();
}
