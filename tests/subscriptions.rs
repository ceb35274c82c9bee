//! Many topics over several connections, and the reaction to silence.

use std::io::Write as _;
use std::sync::mpsc::channel;

use serde_json::json;

use crate::harness::Server;
use crate::venues::{read_json, send_json, test_with_profile};

#[test]
fn heartbeats_are_no_data_and_silence_leads_to_resubscribing_then_reconnecting() {
    let server = Server::start(|number, peer| {
        peer.accept();
        assert_eq!(read_json(peer), json!({"type": "subscribe", "channel": "heartbeats"}));
        let asked = read_json(peer);
        assert_eq!(
            asked,
            json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channel": "market_trades"})
        );
        for _ in 0..2 {
            send_json(peer, &json!({"channel": "subscriptions", "events": [{}]}));
        }
        send_json(
            peer,
            &json!({"channel": "market_trades", "events": [{"trades": [{"product_id": "BTC-USD"}]}]}),
        );
        if number > 0 {
            peer.send_note("connected again");
            return peer.answer_until_end();
        }
        let (stop, stopped) = channel::<()>();
        let mut heart = peer.stream.try_clone().unwrap();
        let beating = std::thread::spawn(move || {
            let beat = crate::harness::frame(0x81, br#"{"channel":"heartbeats","events":[{}]}"#);
            let pause = std::time::Duration::from_millis(50);
            while stopped
                .recv_timeout(pause)
                .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                drop(heart.write_all(&beat));
            }
        });
        let request = read_json(peer).to_string();
        peer.send_note(request);
        peer.wait_for_end();
        drop(stop);
        beating.join().unwrap();
    });
    let keys = json!({ "silence_timeout": "700ms" });
    let test =
        test_with_profile("coinbase-advanced", &["market_trades:BTC-USD"], &server.url(), keys);
    let recorder = test.start();
    assert!(server.next_note().contains("market_trades"), "asked for again");
    assert_eq!(server.next_note(), "connected again");
    recorder.wait_for(&["disconnected", "silent", "also not after subscribing again"]);
    recorder.stop();
    assert!(test.gaps().iter().any(|gap| gap == "down silent at_most"), "{:?}", test.gaps());
}

#[test]
fn a_silent_topic_is_subscribed_to_again() {
    let server = Server::start(|number, peer| {
        peer.accept();
        let asked = read_json(peer);
        assert_eq!(asked["args"], json!(["a", "b"]));
        send_json(peer, &json!({"success": true, "ret_msg": "", "op": "subscribe"}));
        send_json(peer, &json!({"topic": "b", "data": 0}));
        let mut feed = peer.stream.try_clone().unwrap();
        std::thread::spawn(move || {
            let data = crate::harness::frame(0x81, br#"{"topic":"a","data":1}"#);
            let (_keep, tick) = channel::<()>();
            let pause = std::time::Duration::from_millis(50);
            while tick.recv_timeout(pause).is_err() && feed.write_all(&data).is_ok() {}
        });
        if number == 0 {
            let request = read_json(peer)["args"].to_string();
            peer.send_note(request);
            // The topic stays silent.
            peer.wait_for_end();
        } else {
            peer.send_note("connected again");
            peer.answer_until_end();
        }
    });
    let keys = json!({ "topic_silence": "600ms", "ping": null });
    let test = test_with_profile("generic", &["a", "b"], &server.url(), keys);
    let recorder = test.start();
    assert_eq!(server.next_note(), r#"["b"]"#);
    assert_eq!(server.next_note(), "connected again");
    recorder.wait_for(&["disconnected", "silent", "no data of the topic b"]);
    recorder.stop();
}

#[test]
fn in_silence_fixed_messages_are_sent_again_and_without_any_the_connection_is_closed() {
    let server = Server::start(|number, peer| {
        if number == 0 {
            for _ in 0..2 {
                let request = if peer.request.is_empty() {
                    peer.accept_subscription()
                } else {
                    peer.read_text()
                };
                peer.send_note(request);
            }
        } else {
            peer.accept();
        }
        peer.wait_for_end();
        peer.send_note("given up");
    });
    for (subscribe, words) in [
        (json!(["listen"]), "also not after subscribing again"),
        (json!([]), "no data on the connection for"),
    ] {
        let keys = json!({ "silence_timeout": "300ms", "ping": null, "subscribe": subscribe });
        let test = test_with_profile("generic", &[], &server.url(), keys);
        let recorder = test.start();
        if subscribe != json!([]) {
            assert_eq!(
                (server.next_note(), server.next_note()),
                ("listen".to_owned(), "listen".to_owned())
            );
        }
        assert_eq!(server.next_note(), "given up");
        recorder.wait_for(&["disconnected", "silent", words]);
        recorder.stop();
    }
}

#[test]
fn topics_are_shared_out_over_connections_and_a_gap_is_of_those_that_were_cut() {
    let server = Server::start(|number, peer| {
        peer.accept();
        let asked = read_json(peer);
        send_json(
            peer,
            &json!({"success": true, "ret_msg": "", "op": "subscribe", "req_id": asked["req_id"]}),
        );
        for topic in asked["args"].as_array().unwrap() {
            send_json(peer, &json!({"topic": topic, "data": number}));
        }
        peer.send_note(asked["args"].to_string());
        if number == 1 {
            peer.end_stream();
        } else {
            peer.answer_until_end();
        }
    });
    let keys = json!({ "topics_per_connection": 2, "connect_interval": "100ms" });
    let test = test_with_profile("bybit", &["a", "b", "c", "d", "e"], &server.url(), keys);
    let recorder = test.start();
    let mut asked: Vec<String> = (0..4).map(|_| server.next_note()).collect();
    assert_eq!(asked.remove(3), r#"["c","d"]"#, "the one that was cut");
    asked.sort();
    assert_eq!(asked, [r#"["a","b"]"#, r#"["c","d"]"#, r#"["e"]"#]);
    let status = recorder.wait_until(|status| status["connections"] == 3);
    assert_eq!((&status["topics"]["confirmed"], &status["connected"]), (&json!(5), &json!(true)));
    recorder.wait_until(|status| status["messages"].as_u64() == Some(11));
    recorder.stop();
    let gaps = test.query("gaps");
    let down =
        |stem: &str| gaps.iter().filter(|gap| gap["stem"] == stem && gap["cause"] == "eof").count();
    assert_eq!(["a", "b", "c", "d", "e", "control"].map(down), [0, 0, 1, 1, 0, 1]);
    let cut = gaps.iter().find(|gap| gap["stem"] == "control" && gap["cause"] == "eof").unwrap();
    assert!(cut["detail"].as_str().unwrap().starts_with("connection 2 of 3: "), "{cut}");
}
