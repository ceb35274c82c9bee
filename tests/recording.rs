//! Every message that the exchange sends is in the files.

use streamer::exchange::{ExchangeOptions, Market};

use crate::harness::{RunningExchange, TOPIC, Test, split_answers};

#[test]
fn the_bytes_in_the_files_are_those_that_were_sent_across_three_reconnects() {
    let exchange = RunningExchange::start(ExchangeOptions {
        rate: 20_000,
        count: Some(20_000),
        drop_at: vec![4_000, 9_000, 15_000],
        ..ExchangeOptions::default()
    });
    let test = Test::new(&exchange.url);
    let recorder = test.start();
    recorder.wait_for_messages(20_004);
    let status = recorder.status();
    recorder.stop();
    assert_eq!(exchange.stop(), 20_000);
    assert_eq!(status["connects"], 4);
    assert_eq!(status["disconnects"]["eof"], 3);
    let (trades, answers) = split_answers(&test.recorded());
    assert_eq!(answers, 4, "each connection subscribes again");
    assert!(trades == Market::new(TOPIC).lines(0..20_000));
}

#[test]
fn of_two_connections_that_are_cut_at_the_same_numbers_each_line_is_written_once() {
    let exchange = RunningExchange::start(ExchangeOptions {
        rate: 20_000,
        count: Some(40_000),
        drop_at: vec![8_000, 24_000],
        ..ExchangeOptions::default()
    });
    let source = serde_json::json!({ "topics": [TOPIC], "connections": 2 });
    let test = Test::with_source(&exchange.url, source);
    let recorder = test.start();
    // The connection that is cut off second has received all that the first one missed.
    let status = recorder.wait_until(|status| status["disconnects"]["eof"].as_u64() >= Some(3));
    assert!(status["duplicates"].as_u64() > Some(1_000), "{status}");
    recorder.stop();
    exchange.stop();
    let (trades, _) = split_answers(&test.recorded());
    let sorted = |lines: &[u8]| {
        let mut sorted: Vec<Vec<u8>> =
            lines.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        sorted.sort_unstable();
        sorted
    };
    let recorded = sorted(&trades);
    let all = recorded.len() as u64;
    assert!(all >= 24_000, "{all}");
    assert!(recorded == sorted(&Market::new(TOPIC).lines(0..all)), "each of them, and once");
}

#[test]
fn a_stop_under_full_load_loses_nothing_that_was_sent() {
    let exchange = RunningExchange::start(ExchangeOptions::default());
    let test = Test::new(&exchange.url);
    let recorder = test.start();
    recorder.wait_for_messages(200_000);
    recorder.stop();
    let sent = exchange.stop();
    let (trades, _) = split_answers(&test.recorded());
    let lines = trades.iter().filter(|byte| **byte == b'\n').count() as u64;
    // The close may have cut a write of the exchange short.
    assert!(trades == Market::new(TOPIC).lines(0..lines));
    assert!(lines >= 200_000 && lines <= sent + 512, "{lines} of {sent}");
    let log = test.log();
    assert!(log.contains("stopped") && log.contains("hour closed"), "{log}");
}

#[test]
fn a_small_buffer_holds_the_server_back_and_loses_nothing() {
    let exchange = RunningExchange::start(ExchangeOptions {
        count: Some(100_000),
        ..ExchangeOptions::default()
    });
    let test = Test::new(&exchange.url).set("buffer_size", 10.into());
    let recorder = test.start();
    recorder.wait_for_messages(100_001);
    recorder.stop();
    exchange.stop();
    let (trades, _) = split_answers(&test.recorded());
    assert!(trades == Market::new(TOPIC).lines(0..100_000));
}

#[test]
fn an_idle_recorder_uses_little_memory() {
    let exchange =
        RunningExchange::start(ExchangeOptions { count: Some(10), ..ExchangeOptions::default() });
    let test = Test::new(&exchange.url);
    let recorder = test.start();
    recorder.wait_for_messages(11);
    // This is a debug build; the benchmark measures the release build.
    assert!(recorder.memory_kib("VmHWM") < 32 << 10);
    recorder.stop();
}
