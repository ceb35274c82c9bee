//! Delays between attempts to connect.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Recorder, Server, Test};

const DATA: &str = r#"{"topic":"publicTrade.BTCUSDT","data":[1]}"#;

/// Waits for the next line about a failed attempt, and returns the delay in it.
fn next_delay(recorder: &Recorder, cause: &str) -> Duration {
    let line = recorder.wait_for(&["disconnected", &format!("cause=\"{cause}\"")]);
    let (_, delay) = line.split_once("retry_in=").expect("the line has the delay");
    let (number, factor) = delay
        .split_once("ms")
        .map_or_else(|| (delay.split('s').next().unwrap(), 1.0), |(number, _)| (number, 0.001));
    Duration::from_secs_f64(number.parse::<f64>().expect(&line) * factor)
}

#[test]
fn a_server_that_comes_back_is_found_within_the_longest_delay() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let keys = json!({ "reconnect": { "first": "100ms", "max": "200ms" } });
    let test = Test::with_source(&format!("ws://{address}"), keys);
    let recorder = test.start();
    let delays: Vec<_> = (0..8).map(|_| next_delay(&recorder, "connect")).collect();
    assert_eq!(delays[0], Duration::from_millis(100));
    let range = Duration::from_millis(100)..=Duration::from_millis(200);
    assert!(delays.iter().all(|delay| range.contains(delay)), "{delays:?}");

    let server = Server::start_on(TcpListener::bind(address).unwrap(), |_, peer| {
        peer.accept_subscription();
        peer.send_note("back");
        peer.send_text(DATA);
        peer.answer_until_end();
    });
    assert_eq!(server.next_note(), "back");
    recorder.wait_until(|status| status["messages"] == 1);
    recorder.stop();
    assert_eq!(test.recorded(), format!("{DATA}\n").into_bytes());
}

#[test]
fn a_server_that_refuses_is_asked_less_and_less_often() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.send(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n");
    });
    let keys = json!({ "reconnect": { "first": "100ms", "max": "150ms" } });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    let delays: Vec<_> = (0..4).map(|_| next_delay(&recorder, "http")).collect();
    recorder.stop();
    // The fourth is drawn from 400 ms to 800 ms.
    assert!(delays[3] >= Duration::from_millis(400), "{delays:?}");
}
