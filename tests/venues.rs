//! Each venue's manners, played by a server, and what the recorder does.

mod peculiar;

use serde_json::{Value, json};

use crate::harness::{Peer, Recorder, Server, Test};

/// A recording of these topics with the profile, into files by topic.
pub fn test(profile: &str, topics: &[&str], url: &str, keys: Value) -> Test {
    let mut source = json!({ "profile": profile, "topics": topics });
    source.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let test = Test::with_source(url, source);
    let sink = json!([{ "type": "jsonl", "output_dir": test.output(), "partition": "topic" }]);
    test.without("output_dir").set("sinks", sink)
}

/// The next text of the client as JSON; frames of other kinds are passed over.
pub fn request(peer: &mut Peer) -> Value {
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

pub fn say(peer: &mut Peer, message: &Value) {
    peer.text(&message.to_string());
}

/// Waits until so many topics are confirmed and refused.
fn settled(recorder: &Recorder, confirmed: u64, refused: u64) -> Value {
    recorder.wait_until(|status| {
        status["topics"]["confirmed"] == confirmed && status["topics"]["refused"] == refused
    })
}

/// The stems of the files with lines.
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
            let asked = request(peer);
            let args = asked["args"].as_array().unwrap().clone();
            assert!(args.len() <= 10);
            let bad = args.iter().any(|topic| topic == "publicTrade.BAD");
            let words = if bad { "error:handler not found,topic:publicTrade.BAD" } else { "" };
            say(
                peer,
                &json!({"success": !bad, "ret_msg": words, "conn_id": "1", "req_id": asked["req_id"], "op": "subscribe"}),
            );
            if !bad {
                for topic in args {
                    say(peer, &json!({"topic": topic, "type": "snapshot", "data": []}));
                }
            }
        }
    });
    let test = test("bybit", &names, &server.url(), json!({}));
    let recorder = test.start();
    let status = settled(&recorder, 11, 1);
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
    let gaps = test.ask("gaps");
    let refused: Vec<_> = gaps.iter().filter(|gap| gap["cause"] == "refused").collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["stem"], "publicTrade.BAD");
    let told = test.journal().into_iter().filter(|event| event["event"] == "topic_down").count();
    assert_eq!(told, 1, "the journal of what has no topic names it");
}

#[test]
fn binance_acknowledges_by_number_and_pings_by_frames() {
    let server = Server::start(|number, peer| {
        peer.accept();
        let asked = request(peer);
        assert_eq!(asked["method"], "SUBSCRIBE");
        assert_eq!(asked["params"], json!(["btcusdt@trade", "ethusdt@trade"]));
        say(peer, &json!({"result": null, "id": asked["id"]}));
        peer.frame(0x89, b"1700000000");
        let (opcode, payload) = peer.read_frame().unwrap();
        peer.note(format!("{number} {opcode} {}", String::from_utf8(payload).unwrap()));
        say(peer, &json!({"stream": "btcusdt@trade", "data": {"e": "trade", "s": "BTCUSDT"}}));
        say(peer, &json!({"e": "serverShutdown", "E": 1}));
        if number == 0 {
            // The end that comes after a day.
            peer.frame(0x88, &1001_u16.to_be_bytes());
        }
        peer.keep_open();
    });
    for (profile, topic) in [("binance", "btcusdt@trade"), ("binance-usdm", "btcusdt@trade")] {
        let test = test(profile, &[topic, "ethusdt@trade"], &server.url(), json!({}));
        let recorder = test.start();
        for _ in 0..2 {
            assert!(server.note().ends_with("10 1700000000"));
            if profile == "binance-usdm" {
                break;
            }
        }
        settled(&recorder, 2, 0);
        recorder.wait_for(&["announces the end", "serverShutdown"]);
        recorder.stop();
        assert!(stems(&test).contains(&"btcusdt@trade".to_owned()));
    }
}

#[test]
fn okx_answers_each_topic_and_pings_in_plain_text() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let asked = request(peer);
        let args = asked["args"].as_array().unwrap().clone();
        assert_eq!(args[0], json!({"channel": "trades", "instId": "BTC-USDT"}));
        for arg in args {
            if arg["instId"] == "NO-SUCH" {
                let words = "Wrong URL or channel:trades,instId:NO-SUCH doesn't exist";
                say(peer, &json!({"event": "error", "code": "60018", "msg": words, "arg": arg}));
            } else {
                say(peer, &json!({"event": "subscribe", "arg": arg, "connId": "a"}));
                say(peer, &json!({"arg": arg, "data": [{"px": "1"}]}));
            }
        }
        let ping = request(peer);
        peer.note(ping.as_str().unwrap());
        peer.text("pong");
        peer.keep_open();
    });
    let keys = json!({ "ping": { "message": "ping", "interval": "200ms" } });
    let topics = ["trades:BTC-USDT", "trades:NO-SUCH", "trades:ETH-USDT"];
    let test = test("okx", &topics, &server.url(), keys);
    let recorder = test.start();
    let status = settled(&recorder, 2, 1);
    assert!(
        status["topics"]["refusals"]["trades:NO-SUCH"].as_str().unwrap().contains("doesn't exist")
    );
    assert_eq!(server.note(), "ping");
    recorder.stop();
    // An answer that names its topic is filed with it.
    let found = ["control", "trades%3ABTC-USDT", "trades%3AETH-USDT", "trades%3ANO-SUCH"];
    assert_eq!(stems(&test), found);
}

#[test]
fn coinbase_is_asked_for_a_channel_at_a_time() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let (first, second) = (request(peer), request(peer));
        peer.note(first.to_string());
        peer.note(second.to_string());
        for _ in 0..2 {
            say(
                peer,
                &json!({"type": "subscriptions", "channels": [{"name": "matches", "product_ids": ["BTC-USD"]}]}),
            );
        }
        say(peer, &json!({"type": "match", "product_id": "BTC-USD", "price": "1"}));
        peer.keep_open();
    });
    let topics = ["matches:BTC-USD", "ticker:BTC-USD", "matches:ETH-USD"];
    let test = test("coinbase", &topics, &server.url(), json!({}));
    let recorder = test.start();
    assert_eq!(
        server.note(),
        r#"{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["matches"]}"#
    );
    assert_eq!(
        server.note(),
        r#"{"type":"subscribe","product_ids":["BTC-USD"],"channels":["ticker"]}"#
    );
    settled(&recorder, 3, 0);
    recorder.wait_until(|status| status["messages"].as_u64() >= Some(3));
    recorder.stop();
    assert_eq!(stems(&test), ["control", "match%3ABTC-USD"]);
}

#[test]
fn kraken_answers_each_symbol() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let asked = request(peer);
        assert_eq!(
            asked["params"],
            json!({"channel": "trade", "symbol": ["BTC/USD", "BAD/USD", "ETH/USD"]})
        );
        say(peer, &json!({"channel": "status", "data": [{"system": "online"}]}));
        for symbol in ["BTC/USD", "ETH/USD"] {
            say(
                peer,
                &json!({"method": "subscribe", "req_id": asked["req_id"], "success": true,
                "result": {"channel": "trade", "symbol": symbol}}),
            );
        }
        // A refusal names the symbol alone.
        say(
            peer,
            &json!({"method": "subscribe", "req_id": asked["req_id"], "success": false,
            "error": "Currency pair not supported BAD/USD", "symbol": "BAD/USD"}),
        );
        let again = request(peer);
        assert_eq!(again["params"]["symbol"], json!(["BAD/USD"]));
        say(
            peer,
            &json!({"method": "subscribe", "req_id": again["req_id"], "success": false,
            "error": "Currency pair not supported BAD/USD", "symbol": "BAD/USD"}),
        );
        say(peer, &json!({"channel": "trade", "type": "update", "data": [{"symbol": "BTC/USD"}]}));
        say(peer, &json!({"channel": "heartbeat"}));
        peer.keep_open();
    });
    let topics = ["trade:BTC/USD", "trade:BAD/USD", "trade:ETH/USD"];
    let test = test("kraken", &topics, &server.url(), json!({ "control": "skip" }));
    let recorder = test.start();
    let status = settled(&recorder, 2, 1);
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
        let asked = request(peer);
        let arg = json!({"instType": "SPOT", "channel": "trade", "instId": "BTCUSDT"});
        assert_eq!(asked["args"], json!([arg]));
        say(peer, &json!({"event": "subscribe", "arg": arg}));
        say(peer, &json!({"action": "update", "arg": arg, "data": [{}], "ts": 1}));
        peer.keep_open();
    });
    let test = test("bitget", &["SPOT:trade:BTCUSDT"], &server.url(), json!({}));
    let recorder = test.start();
    settled(&recorder, 1, 0);
    recorder.wait_for_messages(2);
    recorder.stop();
    assert_eq!(stems(&test), ["SPOT%3Atrade%3ABTCUSDT"]);
}
