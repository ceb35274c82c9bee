//! The protocols of the venues, played by scripted servers.

mod special_protocols;

use serde_json::{Value, json};

use crate::harness::{Peer, Recorder, Server, Test};

/// Returns a recorder of these topics with the profile, into files by topic.
pub fn test_with_profile(profile: &str, topics: &[&str], url: &str, keys: Value) -> Test {
    let mut source = json!({ "profile": profile, "topics": topics });
    source.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let test = Test::with_source(url, source);
    let sink = json!([{ "type": "jsonl", "output_dir": test.output(), "partition": "topic" }]);
    test.without("output_dir").set("sinks", sink)
}

/// Returns the client's next text as JSON, and skips frames of other kinds.
pub fn read_json(peer: &mut Peer) -> Value {
    loop {
        match peer.read_frame() {
            Some((1, text)) => {
                return serde_json::from_slice(&text)
                    .unwrap_or_else(|_| json!(String::from_utf8(text).unwrap()));
            }
            Some(_) => {}
            None => panic!("the client is gone"),
        }
    }
}

pub fn send_json(peer: &mut Peer, message: &Value) {
    peer.send_text(&message.to_string());
}

/// Waits until these numbers of topics are confirmed and refused.
fn wait_for_topics(recorder: &Recorder, confirmed: u64, refused: u64) -> Value {
    recorder.wait_until(|status| {
        status["topics"]["confirmed"] == confirmed && status["topics"]["refused"] == refused
    })
}

/// Returns the stems of the files with lines.
fn stems(test: &Test) -> Vec<String> {
    let stem = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.rsplit_once('_').unwrap().0.to_owned()
    };
    test.files().into_iter().map(stem).collect()
}

#[test]
fn bybit_refuses_a_batch_whole_and_the_bad_topic_is_found_and_left() {
    let topics: Vec<String> = (0..12).map(|n| format!("publicTrade.C{n}")).collect();
    let mut names: Vec<&str> = topics.iter().map(String::as_str).collect();
    names[7] = "publicTrade.BAD";
    let server = Server::start(|_, peer| {
        peer.accept();
        loop {
            let request = read_json(peer);
            let args = request["args"].as_array().unwrap().clone();
            assert!(args.len() <= 10);
            let bad = args.iter().any(|topic| topic == "publicTrade.BAD");
            let words = if bad { "error:handler not found,topic:publicTrade.BAD" } else { "" };
            send_json(
                peer,
                &json!({"success": !bad, "ret_msg": words, "conn_id": "1", "req_id": request["req_id"], "op": "subscribe"}),
            );
            if !bad {
                for topic in args {
                    send_json(peer, &json!({"topic": topic, "type": "snapshot", "data": []}));
                }
            }
        }
    });
    let test = test_with_profile("bybit", &names, &server.url(), json!({}));
    let recorder = test.start();
    let status = wait_for_topics(&recorder, 11, 1);
    recorder.wait_until(|status| status["messages"].as_u64() >= Some(17));
    assert!(
        status["topics"]["refusals"]["publicTrade.BAD"]
            .as_str()
            .unwrap()
            .contains("handler not found")
    );
    assert_eq!(status["connected"], true);
    recorder.stop();
    assert_eq!(stems(&test).len(), 12, "11 topics and the answers");
    assert!(test.log().contains("the server refuses this topic"));
    let gaps = test.query("gaps");
    let refused: Vec<_> = gaps.iter().filter(|gap| gap["cause"] == "refused").collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["stem"], "publicTrade.BAD");
    let entries = test.journal().into_iter().filter(|event| event["event"] == "topic_down").count();
    assert_eq!(entries, 1, "the journal of what has no topic names it");
}

#[test]
fn binance_acknowledges_by_number_and_pings_by_frames() {
    let server = Server::start(|number, peer| {
        peer.accept();
        let request = read_json(peer);
        assert_eq!(request["method"], "SUBSCRIBE");
        assert_eq!(request["params"], json!(["btcusdt@trade", "ethusdt@trade"]));
        send_json(peer, &json!({"result": null, "id": request["id"]}));
        peer.send_frame(0x89, b"1700000000");
        let (opcode, payload) = peer.read_frame().unwrap();
        peer.send_note(format!("{number} {opcode} {}", String::from_utf8(payload).unwrap()));
        send_json(
            peer,
            &json!({"stream": "btcusdt@trade", "data": {"e": "trade", "s": "BTCUSDT"}}),
        );
        send_json(peer, &json!({"e": "serverShutdown", "E": 1}));
        if number == 0 {
            // The venue ends a connection after a day.
            peer.send_frame(0x88, &1001_u16.to_be_bytes());
        }
        peer.answer_until_end();
    });
    for (profile, topic) in [("binance", "btcusdt@trade"), ("binance-usdm", "btcusdt@trade")] {
        let test = test_with_profile(profile, &[topic, "ethusdt@trade"], &server.url(), json!({}));
        let recorder = test.start();
        for _ in 0..2 {
            assert!(server.next_note().ends_with("10 1700000000"));
            if profile == "binance-usdm" {
                break;
            }
        }
        wait_for_topics(&recorder, 2, 0);
        recorder.wait_for(&["announces the end", "serverShutdown"]);
        recorder.stop();
        assert!(stems(&test).contains(&"btcusdt@trade".to_owned()));
    }
}

#[test]
fn okx_answers_each_topic_and_pings_in_plain_text() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let request = read_json(peer);
        let args = request["args"].as_array().unwrap().clone();
        assert_eq!(args[0], json!({"channel": "trades", "instId": "BTC-USDT"}));
        for arg in args {
            if arg["instId"] == "NO-SUCH" {
                let words = "Wrong URL or channel:trades,instId:NO-SUCH doesn't exist";
                send_json(
                    peer,
                    &json!({"event": "error", "code": "60018", "msg": words, "arg": arg}),
                );
            } else {
                send_json(peer, &json!({"event": "subscribe", "arg": arg, "connId": "a"}));
                send_json(peer, &json!({"arg": arg, "data": [{"px": "1"}]}));
            }
        }
        let ping = read_json(peer);
        peer.send_note(ping.as_str().unwrap());
        peer.send_text("pong");
        peer.answer_until_end();
    });
    let keys = json!({ "ping": { "message": "ping", "interval": "200ms" } });
    let topics = ["trades:BTC-USDT", "trades:NO-SUCH", "trades:ETH-USDT"];
    let test = test_with_profile("okx", &topics, &server.url(), keys);
    let recorder = test.start();
    let status = wait_for_topics(&recorder, 2, 1);
    assert!(
        status["topics"]["refusals"]["trades:NO-SUCH"].as_str().unwrap().contains("doesn't exist")
    );
    assert_eq!(server.next_note(), "ping");
    recorder.stop();
    // An answer that names its topic is in the file of the topic.
    let found = ["control", "trades%3ABTC-USDT", "trades%3AETH-USDT", "trades%3ANO-SUCH"];
    assert_eq!(stems(&test), found);
}

#[test]
fn coinbase_gets_one_channel_per_request() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let first = read_json(peer);
        let second = read_json(peer);
        peer.send_note(first.to_string());
        peer.send_note(second.to_string());
        for _ in 0..2 {
            send_json(
                peer,
                &json!({"type": "subscriptions", "channels": [{"name": "matches", "product_ids": ["BTC-USD"]}]}),
            );
        }
        send_json(peer, &json!({"type": "match", "product_id": "BTC-USD", "price": "1"}));
        peer.answer_until_end();
    });
    let topics = ["matches:BTC-USD", "ticker:BTC-USD", "matches:ETH-USD"];
    let test = test_with_profile("coinbase", &topics, &server.url(), json!({}));
    let recorder = test.start();
    assert_eq!(
        server.next_note(),
        r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches"]}"#
    );
    assert_eq!(
        server.next_note(),
        r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker"]}"#
    );
    wait_for_topics(&recorder, 3, 0);
    recorder.wait_until(|status| status["messages"].as_u64() >= Some(3));
    recorder.stop();
    assert_eq!(stems(&test), ["control", "match%3ABTC-USD"]);
}

#[test]
fn kraken_answers_each_symbol() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let request = read_json(peer);
        assert_eq!(
            request["params"],
            json!({"channel": "trade", "symbol": ["BTC/USD", "BAD/USD", "ETH/USD"]})
        );
        send_json(peer, &json!({"channel": "status", "data": [{"system": "online"}]}));
        for symbol in ["BTC/USD", "ETH/USD"] {
            send_json(
                peer,
                &json!({"method": "subscribe", "req_id": request["req_id"], "success": true,
                "result": {"channel": "trade", "symbol": symbol}}),
            );
        }
        // A refusal names only the symbol.
        send_json(
            peer,
            &json!({"method": "subscribe", "req_id": request["req_id"], "success": false,
            "error": "Currency pair not supported BAD/USD", "symbol": "BAD/USD"}),
        );
        let again = read_json(peer);
        assert_eq!(again["params"]["symbol"], json!(["BAD/USD"]));
        send_json(
            peer,
            &json!({"method": "subscribe", "req_id": again["req_id"], "success": false,
            "error": "Currency pair not supported BAD/USD", "symbol": "BAD/USD"}),
        );
        send_json(
            peer,
            &json!({"channel": "trade", "type": "update", "data": [{"symbol": "BTC/USD"}]}),
        );
        send_json(peer, &json!({"channel": "heartbeat"}));
        peer.answer_until_end();
    });
    let topics = ["trade:BTC/USD", "trade:BAD/USD", "trade:ETH/USD"];
    let test = test_with_profile("kraken", &topics, &server.url(), json!({ "control": "skip" }));
    let recorder = test.start();
    let status = wait_for_topics(&recorder, 2, 1);
    assert_eq!(
        status["topics"]["refusals"]["trade:BAD/USD"],
        "Currency pair not supported BAD/USD"
    );
    recorder.wait_until(|status| status["control_skipped"].as_u64() >= Some(6));
    recorder.stop();
    assert_eq!(stems(&test), ["trade%3ABTC%2FUSD"]);
}

#[test]
fn bitget_answers_each_topic() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let request = read_json(peer);
        let arg = json!({"instType": "SPOT", "channel": "trade", "instId": "BTCUSDT"});
        assert_eq!(request["args"], json!([arg]));
        send_json(peer, &json!({"event": "subscribe", "arg": arg}));
        send_json(peer, &json!({"action": "update", "arg": arg, "data": [{}], "ts": 1}));
        peer.answer_until_end();
    });
    let test = test_with_profile("bitget", &["SPOT:trade:BTCUSDT"], &server.url(), json!({}));
    let recorder = test.start();
    wait_for_topics(&recorder, 1, 0);
    recorder.wait_for_messages(2);
    recorder.stop();
    assert_eq!(stems(&test), ["SPOT%3Atrade%3ABTCUSDT"]);
}

#[test]
fn topics_in_the_wrong_case_are_warned_about_at_the_start() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.answer_until_end();
    });
    let keys = json!({ "profile": "binance", "topics": ["BTCUSDT@trade", "ethusdt@trade"] });
    let test = Test::with_source(&format!("{}/stream", server.url()), keys);
    let recorder = test.start();
    recorder.stop();
    let log = test.log();
    let warning = "the venue writes the topic `BTCUSDT@trade` as `btcusdt@trade`: ";
    assert!(log.contains(warning) && !log.contains("ETHUSDT"), "{log}");
    let check = crate::harness::run(&["check", "-config", test.config().to_str().unwrap()]);
    let words = String::from_utf8(check.stderr).unwrap();
    assert!(check.status.success() && words.contains(warning), "{words}");
}
