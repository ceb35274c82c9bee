//! A gap ends when messages arrive again, and not earlier.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::{Value, json};
use streamer::time::{Clock, SystemClock, UnixNanos};

use crate::harness::{Peer, Server, Test};
use crate::venues::{read_json, send_json, test_with_profile};

fn confirm(peer: &mut Peer, request: &Value) {
    let id = &request["req_id"];
    send_json(peer, &json!({"success": true, "ret_msg": "", "op": "subscribe", "req_id": id}));
}

/// Returns the times of the events of this name in the journals of the stem.
fn times(test: &Test, stem: &str, event: &str) -> Vec<u64> {
    let entries = test.journal_of(stem).into_iter().filter(|entry| entry["event"] == event);
    entries.map(|entry| entry["t"].as_u64().unwrap()).collect()
}

#[test]
fn each_topic_is_down_until_the_server_confirms_it_or_sends_it() {
    let (go, gone_on) = channel::<()>();
    let gone_on = Mutex::new(gone_on);
    let server = Server::start(move |number, peer| {
        peer.accept();
        for (place, topic) in ["a", "b", "c"].iter().enumerate() {
            let request = read_json(peer);
            assert_eq!(request["args"], json!([topic]));
            if number == 1 && place > 0 {
                gone_on.lock().unwrap().recv().unwrap();
                peer.send_note(SystemClock.now().nanos().to_string());
            }
            if (number, place) == (1, 2) {
                // The data of the last topic is its only confirmation.
                send_json(peer, &json!({"topic": topic, "data": 1}));
            } else {
                confirm(peer, &request);
            }
        }
        if number == 0 {
            send_json(peer, &json!({"topic": "a", "data": 0}));
            return peer.end_stream();
        }
        peer.answer_until_end();
    });
    let keys = json!({ "topics_per_request": 1, "request_interval": "1ms" });
    let test = test_with_profile("bybit", &["a", "b", "c"], &server.url(), keys);
    let recorder = test.start();
    let after = |messages: u64| {
        recorder.wait_until(|status| status["messages"] == messages);
        go.send(()).unwrap();
        server.next_note().parse::<u64>().unwrap()
    };
    // Three answers and a message come before the end of the connection, and one answer after it.
    let b = after(5);
    let c = after(6);
    recorder.wait_until(|status| status["messages"] == 7);
    recorder.stop();
    let [up_a, up_b, up_c, up_all] = ["a", "b", "c", "control"].map(|stem| {
        let ups = times(&test, stem, "up");
        assert_eq!(ups.len(), 2, "{stem}: {ups:?}");
        ups[1]
    });
    assert!(up_a < b, "it came while the others did not");
    assert!(b <= up_b && up_b < c, "{b} {up_b} {c}");
    assert!(c <= up_c && up_c <= up_all, "{c} {up_c} {up_all}");
    let gaps = test.query("gaps");
    let down = gaps.iter().filter(|gap| gap["cause"] == "eof").collect::<Vec<_>>();
    assert_eq!(down.len(), 4);
    assert!(down.iter().all(|gap| gap["certainty"] == "exact"), "{down:?}");
}

/// Starts a server that refuses the topic `bad` on every connection, and ends the first two.
fn start_refusing_server() -> Server {
    Server::start(|number, peer| {
        peer.accept();
        for _ in 0..2 {
            let request = read_json(peer);
            if request["args"] == json!(["a"]) {
                confirm(peer, &request);
                send_json(peer, &json!({"topic": "a", "data": number}));
            } else {
                let id = &request["req_id"];
                let refusal = json!({"success": false, "ret_msg": "no such topic", "op": "subscribe", "req_id": id});
                send_json(peer, &refusal);
            }
        }
        if number < 2 {
            peer.end_stream();
        } else {
            peer.answer_until_end();
        }
    })
}

#[test]
fn a_topic_that_is_refused_each_time_is_down_all_the_time() {
    let server = start_refusing_server();
    let keys = json!({ "topics_per_request": 1, "request_interval": "1ms" });
    let test = test_with_profile("bybit", &["a", "bad"], &server.url(), keys);
    let recorder = test.start();
    recorder.wait_until(|status| {
        status["connects"] == 3 && status["topics"]["refused"] == 1 && status["messages"] == 9
    });
    recorder.stop();
    assert_eq!(times(&test, "bad", "up"), Vec::<u64>::new());
    assert_eq!(times(&test, "a", "up").len(), 3);
    let gaps = test.query("gaps");
    let of = |stem: &str, cause: &str| {
        gaps.iter().filter(|gap| gap["stem"] == stem && gap["cause"] == cause).count()
    };
    assert_eq!([of("bad", "refused"), of("bad", "eof"), of("a", "eof")], [1, 0, 2], "{gaps:#?}");
}

#[test]
fn in_a_file_of_several_topics_one_that_is_refused_is_a_gap_of_its_own() {
    let server = start_refusing_server();
    let keys = json!({ "topics_per_request": 1, "request_interval": "1ms" });
    let test = test_with_profile("bybit", &["a", "bad"], &server.url(), keys);
    let sink = json!({ "type": "jsonl", "output_dir": test.output(), "stem": "all" });
    let test = test.set("sinks", json!([sink]));
    for run in 0..2 {
        let recorder = test.start();
        let messages = if run == 0 { 9 } else { 3 };
        recorder.wait_until(|status| {
            status["topics"]["refused"] == 1 && status["messages"] == messages
        });
        let goes_on = |gap: &Value| gap["cause"] == "refused" && gap["to"].is_null();
        assert_eq!(test.query("gaps").iter().filter(|gap| goes_on(gap)).count(), 1);
        recorder.stop();
    }
    let gaps = test.query("gaps");
    let refused: Vec<_> = gaps.iter().filter(|gap| gap["cause"] == "refused").collect();
    assert_eq!(refused.len(), 2, "one in each run: {gaps:#?}");
    assert_eq!(refused[0]["detail"], "topic bad: no such topic");
    let stopped = gaps.iter().find(|gap| gap["cause"] == "stopped").unwrap();
    assert_eq!(refused[0]["to"], stopped["from"]);
}

#[test]
fn what_a_server_has_forgotten_and_is_asked_for_again_is_a_gap_since_it_was_last_heard() {
    for alone in [false, true] {
        let server = Server::start(|_, peer| {
            peer.accept();
            let request = read_json(peer);
            confirm(peer, &request);
            send_json(peer, &json!({"topic": "b", "data": 0}));
            let mut feed = peer.stream.try_clone().unwrap();
            let flows = request["args"].as_array().unwrap().len() > 1;
            std::thread::spawn(move || {
                let data = crate::harness::frame(0x81, br#"{"topic":"a","data":1}"#);
                let (_keep, tick) = channel::<()>();
                let pause = std::time::Duration::from_millis(50);
                while flows && tick.recv_timeout(pause).is_err() && feed.write_all(&data).is_ok() {}
            });
            // The server sends the topic again after the second subscription.
            assert_eq!(read_json(peer)["args"], json!(["b"]));
            peer.send_note(SystemClock.now().nanos().to_string());
            send_json(peer, &json!({"topic": "b", "data": 2}));
            peer.answer_until_end();
        });
        let topics: &[&str] = if alone { &["b"] } else { &["a", "b"] };
        let keys = json!({ "topic_silence": "600ms", "ping": null });
        let mut test = test_with_profile("generic", topics, &server.url(), keys);
        if alone {
            let sink = json!({ "type": "jsonl", "output_dir": test.output() });
            test = test.set("sinks", json!([sink]));
        }
        let recorder = test.start();
        let reminded: u64 = server.next_note().parse().unwrap();
        recorder.wait_until(|_| times(&test, "b", "up").len() == 2);
        let back = times(&test, "b", "up");
        recorder.stop();
        let down = test.journal_of("b").into_iter().find(|event| event["event"] == "down").unwrap();
        assert_eq!(down["cause"], "silent");
        let since = down["since"].as_u64().unwrap();
        assert!(reminded - since >= 500_000_000, "{since} {reminded} {back:?}");
        assert!(back[1] >= reminded, "it came when it was request for again");
        let gaps = test.query("gaps");
        let silent: Vec<_> = gaps.iter().filter(|gap| gap["cause"] == "silent").collect();
        assert_eq!(silent.len(), 1, "{gaps:#?}");
        assert_eq!((&silent[0]["stem"], &silent[0]["certainty"]), (&json!("b"), &json!("at_most")));
    }
}

#[test]
fn a_connection_that_was_lost_while_the_recorder_was_held_up_is_a_gap_since_it_was() {
    for held_up_for in [250, 3_000].map(Duration::from_millis) {
        lose_while_held_up(held_up_for);
    }
}

/// Lets the server end a connection at the beginning of a time for which the recorder is stopped.
fn lose_while_held_up(held_up_for: Duration) {
    let (cut, to_cut) = channel::<()>();
    let to_cut = Mutex::new(to_cut);
    let server = Server::start(move |number, peer| {
        peer.accept();
        let request = read_json(peer);
        confirm(peer, &request);
        send_json(peer, &json!({"topic": "a", "data": number}));
        if number == 0 {
            to_cut.lock().unwrap().recv().unwrap();
            peer.send_note(SystemClock.now().nanos().to_string());
            return peer.end_stream();
        }
        peer.answer_until_end();
    });
    let test = test_with_profile("bybit", &["a"], &server.url(), json!({}));
    let recorder = test.start();
    recorder.wait_until(|status| status["messages"] == 2);
    recorder.signal("STOP");
    cut.send(()).unwrap();
    let lost: u64 = server.next_note().parse().unwrap();
    let (_keep, nothing) = channel::<()>();
    nothing.recv_timeout(held_up_for).unwrap_err();
    recorder.signal("CONT");
    recorder.wait_until(|status| status["messages"] == 4);
    recorder.stop();
    let down = test.journal_of("a").into_iter().find(|event| event["event"] == "down").unwrap();
    assert!(down["since"].as_u64().unwrap() <= lost, "{down} {lost}");
    assert!(test.gaps().iter().any(|gap| gap == "down eof at_most"), "{:?}", test.gaps());
}

#[test]
fn a_stop_is_a_gap_since_the_first_connection_was_closed() {
    // The topics of two connections, and one topic over two of them.
    for (topics, keys) in [
        (&["a", "b"] as &[_], json!({ "topics_per_connection": 1 })),
        (&["a"], json!({ "connections": 2 })),
    ] {
        let server = Server::start(|number, peer| {
            peer.accept();
            let request = read_json(peer);
            confirm(peer, &request);
            send_json(peer, &json!({"topic": request["args"][0], "data": number}));
            peer.send_note(format!("{} {}", number, request["args"][0].as_str().unwrap()));
            while let Some((opcode, payload)) = peer.read_frame() {
                // The second server hangs.
                if opcode == 8 && number == 0 {
                    peer.send_frame(0x88, &payload);
                    peer.send_note(SystemClock.now().nanos().to_string());
                    return peer.end_stream();
                }
            }
        });
        let test = test_with_profile("bybit", topics, &server.url(), keys);
        let recorder = test.start();
        let mut notes = [server.next_note(), server.next_note()];
        notes.sort();
        let healthy = notes[0].split_once(' ').unwrap().1.to_owned();
        recorder.wait_until(|status| status["messages"].as_u64().unwrap() >= 3);
        recorder.stop();
        let closed = UnixNanos::new(server.next_note().parse().unwrap());
        let closed = closed.saturating_add(std::time::Duration::from_millis(50)).to_string();
        let gaps = test.query("gaps");
        let covers = |gap: &Value| {
            gap["stem"] == healthy.as_str() && gap["from"].as_str().unwrap() <= closed.as_str()
        };
        assert!(gaps.iter().any(covers), "{healthy} {closed}: {gaps:#?}");
    }
}
