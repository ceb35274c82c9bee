//! A full disk, which is a small file system of its own.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{RunningExchange, SmallDisk, TOPIC, Test, split_answers};

/// Fills the file system and returns the path of the file that does.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let file = fs::File::create(&path).unwrap();
    while (&file).write_all(&[7; 4096]).is_ok() {}
    path
}

/// Records onto a disk that is full for a while. Returns a copy of the archive and the last status.
fn record_through_full_disk(overflow: &str, exchange: &RunningExchange) -> Option<(Test, Value)> {
    let test = Test::new(&exchange.url).set("overflow", overflow.into());
    fs::create_dir(test.output()).unwrap();
    let disk = SmallDisk::mount(&test.output(), "16m")?;
    let recorder = test.start();
    recorder.wait_for_messages(1_000);
    let filler = fill(&test.output());
    let status = recorder.wait_until(|status| {
        let dropped = status["dropped"].as_u64().unwrap() > 0;
        status["stall"] != Value::Null && (overflow == "block" || dropped)
    });
    let words = status["stall"]["error"].as_str().unwrap();
    assert!(words.contains("No space left on device") && words.contains(TOPIC), "{words}");
    fs::remove_file(filler).unwrap();
    recorder.wait_until(|status| status["stall"] == Value::Null);
    let messages = recorder.status()["messages"].as_u64().unwrap();
    let status =
        recorder.wait_until(|status| status["messages"].as_u64().unwrap() > messages + 500);
    recorder.stop();
    let kept = test.path("kept");
    fs::create_dir(&kept).unwrap();
    for entry in fs::read_dir(test.output()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, kept.join(path.file_name().unwrap())).unwrap();
    }
    drop(disk);
    Some((test.set("output_dir", kept.to_str().into()), status))
}

fn recorded_trades(test: &Test) -> Vec<u8> {
    split_answers(&crate::harness::run(&["cat", "-config", test.config().to_str().unwrap()]).stdout)
        .0
}

#[test]
fn a_full_disk_holds_the_server_back_and_loses_nothing() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 2_000, ..ExchangeOptions::default() });
    let Some((test, status)) = record_through_full_disk("block", &exchange) else { return };
    exchange.stop();
    assert_eq!((&status["dropped"], &status["connects"]), (&json!(0), &json!(1)));
    let recorded = recorded_trades(&test);
    let lines = recorded.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(recorded == Market::new(TOPIC).lines(0..lines), "nothing is torn, or comes twice");
    let gaps = test.query("gaps");
    let [stalled, _] = gaps.as_slice() else { panic!("{gaps:#?}") };
    assert_eq!((&stalled["kind"], &stalled["cause"]), (&json!("stalled"), &json!("disk")));
    assert!(stalled["detail"].as_str().unwrap().contains("No space left"), "{stalled}");
    assert!(stalled["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn with_drop_newest_what_does_not_fit_is_counted_in_the_journal() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 20_000, ..ExchangeOptions::default() });
    let Some((test, status)) = record_through_full_disk("drop_newest", &exchange) else { return };
    let sent = exchange.stop();
    let gaps = test.query("gaps");
    let of_kind = |kind: &str| gaps.iter().filter(|gap| gap["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of_kind("stalled").len(), 1, "{gaps:#?}");
    let dropped: u64 = of_kind("dropped").iter().map(|gap| gap["messages"].as_u64().unwrap()).sum();
    assert!(dropped >= status["dropped"].as_u64().unwrap() && dropped > 0, "{gaps:#?}");
    assert!(of_kind("dropped").iter().all(|gap| gap["cause"] == "overflow"));
    // The close may have cut a write of the exchange short.
    let lines = recorded_trades(&test).iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(
        lines + dropped <= sent && sent < lines + dropped + 512,
        "{lines} + {dropped} of {sent}"
    );
}

#[test]
fn retention_is_asked_for_before_the_disk_is_full() {
    let exchange =
        RunningExchange::start(ExchangeOptions { rate: 100, ..ExchangeOptions::default() });
    let retention = json!({ "min_free_disk": "6MiB" });
    // The job runs on New Year's Day, and at start.
    let archive = json!({ "schedule": "0 0 0 1 1 *", "retention": retention });
    let test = Test::new(&exchange.url).set("archive", archive);
    fs::create_dir(test.output()).unwrap();
    let Some(_disk) = SmallDisk::mount(&test.output(), "16m") else { return };
    for hour in 1..=3 {
        // Random bytes do not compress.
        let noise: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(b'0'..=b'z')).collect();
        let line = [noise.as_slice(), b"\n"].concat();
        fs::write(test.output().join(format!("{TOPIC}_{}.jsonl", hour * 3600)), line).unwrap();
    }
    let recorder = test.start();
    recorder.wait_until(|status| status["archive"]["runs"] == 1);
    assert_eq!(recorder.status()["archive"]["removed_hours"], 0);
    fs::write(test.output().join("others"), vec![7; 9 << 20]).unwrap();
    let status = recorder.wait_until(|status| status["archive"]["removed_hours"] != 0);
    assert_eq!((&status["stall"], &status["sink_errors"]), (&Value::Null, &json!(0)));
    recorder.stop();
    assert!(test.log().contains("an early run") && test.log().contains("for `min_free_disk`"));
}
