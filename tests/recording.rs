//! The main job: what the exchange sends is in the files.

use std::thread::JoinHandle;

use streamer::exchange::{Exchange, Market, Options};
use tokio_util::sync::CancellationToken;

use crate::harness::{TOPIC, Test};

/// The exchange on a thread of its own.
pub struct Running {
    pub url: String,
    stop: CancellationToken,
    thread: JoinHandle<u64>,
}

impl Running {
    pub fn start(options: Options) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let exchange = Exchange::bind("127.0.0.1:0", options).await.unwrap();
                tell.send(exchange.url().unwrap()).unwrap();
                exchange.serve(&stopped).await
            })
        });
        Self { url: told.recv().unwrap(), stop, thread }
    }

    /// Ends it; gives the number of trades that it sent.
    pub fn stop(self) -> u64 {
        self.stop.cancel();
        self.thread.join().unwrap()
    }
}

/// The recorded lines without the exchange's answers, and how many of these there were.
pub fn trades(recorded: &[u8]) -> (Vec<u8>, usize) {
    let mut answers = 0;
    let mut trades = Vec::with_capacity(recorded.len());
    for line in recorded.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"{\"success\":") {
            answers += 1;
        } else {
            trades.extend_from_slice(line);
        }
    }
    (trades, answers)
}

#[test]
fn the_bytes_in_the_files_are_those_that_were_sent_across_three_reconnects() {
    let exchange = Running::start(Options {
        rate: 20_000,
        count: Some(20_000),
        drop_at: vec![4_000, 9_000, 15_000],
        ..Options::default()
    });
    let test = Test::new(&exchange.url);
    let recorder = test.start();
    recorder.wait_for_messages(20_004);
    let status = recorder.status();
    recorder.stop();
    assert_eq!(exchange.stop(), 20_000);
    assert_eq!(status["connects"], 4);
    assert_eq!(status["disconnects"]["eof"], 3);
    let (trades, answers) = trades(&test.recorded());
    assert_eq!(answers, 4, "each connection subscribes again");
    assert!(trades == Market::new(TOPIC).lines(0..20_000));
}

#[test]
fn of_two_connections_that_are_cut_at_the_same_numbers_each_line_is_written_once() {
    let exchange = Running::start(Options {
        rate: 20_000,
        count: Some(40_000),
        drop_at: vec![8_000, 24_000],
        ..Options::default()
    });
    let source = serde_json::json!({ "topics": [TOPIC], "connections": 2 });
    let test = Test::with_source(&exchange.url, source);
    let recorder = test.start();
    // Whoever is cut off second has brought all that the first had not.
    let status = recorder.wait_until(|status| status["disconnects"]["eof"].as_u64() >= Some(3));
    assert!(status["duplicates"].as_u64() > Some(1_000), "{status}");
    recorder.stop();
    exchange.stop();
    let (trades, _) = trades(&test.recorded());
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
    let exchange = Running::start(Options::default());
    let test = Test::new(&exchange.url);
    let recorder = test.start();
    recorder.wait_for_messages(200_000);
    recorder.stop();
    let sent = exchange.stop();
    let (trades, _) = trades(&test.recorded());
    let lines = trades.iter().filter(|byte| **byte == b'\n').count() as u64;
    // The exchange may have been in the middle of a write that the close cut short.
    assert!(trades == Market::new(TOPIC).lines(0..lines));
    assert!(lines >= 200_000 && lines <= sent + 512, "{lines} of {sent}");
    let log = test.log();
    assert!(log.contains("stopped") && log.contains("hour closed"), "{log}");
}

#[test]
fn a_small_buffer_holds_the_server_back_and_loses_nothing() {
    let exchange = Running::start(Options { count: Some(100_000), ..Options::default() });
    let test = Test::new(&exchange.url).set("buffer_size", 10.into());
    let recorder = test.start();
    recorder.wait_for_messages(100_001);
    recorder.stop();
    exchange.stop();
    let (trades, _) = trades(&test.recorded());
    assert!(trades == Market::new(TOPIC).lines(0..100_000));
}

#[test]
fn a_quiet_recorder_is_small() {
    let exchange = Running::start(Options { count: Some(10), ..Options::default() });
    let test = Test::new(&exchange.url);
    let recorder = test.start();
    recorder.wait_for_messages(11);
    // A debug build; the release build is measured by the benchmark.
    assert!(recorder.memory_kib("VmHWM") < 32 << 10);
    recorder.stop();
}
