//! Connections that are replaced before they end, and two connections that are kept at once.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Server, Test, WAIT_LIMIT, frame};
use crate::venues::{read_json, send_json, test_with_profile};

const TOPIC: &str = "btcusdt@trade";

/// A venue that sends the same messages to every subscriber.
struct Venue {
    server: Server,
    subscribers: Arc<Mutex<Vec<TcpStream>>>,
    sent: u64,
}

impl Venue {
    fn start() -> Self {
        let subscribers = Arc::<Mutex<Vec<TcpStream>>>::default();
        let list = Arc::clone(&subscribers);
        let server = Server::start(move |number, peer| {
            peer.accept();
            let request = read_json(peer);
            send_json(peer, &json!({ "result": null, "id": request["id"] }));
            list.lock().unwrap().push(peer.stream.try_clone().unwrap());
            peer.send_note(format!("subscribed {number}"));
            peer.answer_until_end();
            // The system refuses what the client sends after the end of the connection.
            drop(peer.stream.shutdown(Shutdown::Both));
        });
        Self { server, subscribers, sent: 0 }
    }

    fn test(&self, keys: Value) -> Test {
        test_with_profile("binance", &[TOPIC], &self.server.url(), keys)
    }

    fn send(&self, message: &Value) {
        let frame = frame(0x81, message.to_string().as_bytes());
        self.subscribers.lock().unwrap().retain_mut(|stream| stream.write_all(&frame).is_ok());
    }

    /// Sends the next `count` trades.
    fn send_trades(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            self.send(&json!({ "stream": TOPIC, "data": { "n": self.sent } }));
        }
    }

    /// Cuts off the `count` oldest connections.
    fn cut_oldest(&self, count: usize) {
        for stream in self.subscribers.lock().unwrap().drain(..count) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Asserts that every trade that was sent is in the archive exactly once.
    fn assert_all_recorded(&self, test: &Test) {
        let text = String::from_utf8(test.recorded()).unwrap();
        let mut numbers: Vec<u64> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).unwrap()["data"]["n"].as_u64())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=self.sent).collect::<Vec<_>>());
    }
}

#[test]
fn a_connection_whose_end_is_announced_is_replaced_without_a_gap() {
    let mut venue = Venue::start();
    let test = venue.test(json!({}));
    let recorder = test.start();
    assert_eq!(venue.server.next_note(), "subscribed 0");
    venue.send_trades(10);
    venue.send(&json!({ "e": "serverShutdown" }));
    let begun = std::time::Instant::now();
    while recorder.status()["replaced"] == 0 {
        assert!(begun.elapsed() < WAIT_LIMIT, "{}", test.log());
        venue.send_trades(1);
    }
    venue.send_trades(10);
    let sent = venue.sent;
    recorder.wait_until(|status| {
        let count = |key: &str| status[key].as_u64().unwrap();
        count("messages") == sent + 3 && count("connects") == 2 && count("duplicates") > 0
    });
    recorder.stop();
    venue.assert_all_recorded(&test);
    assert_eq!(test.gaps(), ["not_running stopped exact"]);
    // Both stems have two: that of the topic and that of the answers.
    let ups = test.journal().iter().filter(|entry| entry["event"] == "up").count();
    assert_eq!(ups, 4, "{:?}", test.journal());
}

#[test]
fn of_two_connections_one_may_drop_and_nothing_is_lost() {
    let mut venue = Venue::start();
    let test = venue.test(json!({ "connections": 2 }));
    let recorder = test.start();
    let both = [venue.server.next_note(), venue.server.next_note()];
    assert!(both.iter().all(|note| note.starts_with("subscribed")));
    recorder.wait_until(|status| status["connections"] == 2 && status["topics"]["confirmed"] == 1);
    venue.send_trades(100);
    recorder.wait_until(|status| status["duplicates"].as_u64() >= Some(100));
    venue.cut_oldest(1);
    venue.send_trades(100);
    recorder.wait_until(|status| status["connected"] == true && status["disconnects"]["eof"] == 1);
    venue.send_trades(100);
    assert_eq!(venue.server.next_note(), "subscribed 2");
    recorder.wait_until(|status| status["connections"] == 2);
    venue.send_trades(100);
    let status = recorder.wait_until(|status| status["duplicates"].as_u64() >= Some(200));
    assert_eq!(status["connections_wanted"], 2);
    venue.cut_oldest(2);
    for _ in 0..2 {
        assert!(venue.server.next_note().starts_with("subscribed"));
    }
    venue.send_trades(100);
    recorder.wait_until(|status| status["duplicates"].as_u64() >= Some(300));
    recorder.stop();
    venue.assert_all_recorded(&test);
    // Both stems have one: that of the topic and that of the answers.
    let down = "down eof exact";
    assert_eq!(test.gaps(), [down, down, "not_running stopped exact"]);
}

#[test]
fn invalid_ages_and_numbers_of_connections_are_refused() {
    for (key, value, words) in [
        ("max_connection_age", json!("1s"), "it must be at least 5s, or 0 for never"),
        ("connections", json!(3), "it must be 1 or 2"),
    ] {
        let test = Test::with_source("ws://127.0.0.1:1", json!({ key: value }));
        let printed = String::from_utf8(test.run_refused().stderr).unwrap();
        assert!(printed.contains(key) && printed.contains(words), "{printed}");
    }
}
