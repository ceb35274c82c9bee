//! Each venue's manners, played by a server, and what the recorder does.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

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
    let told = test.journal().into_iter().filter(|event| event["event"] == "refused").count();
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

#[test]
fn htx_speaks_gzip_and_its_pings_are_answered() {
    let gzip = |value: Value| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(value.to_string().as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let server = Server::start(move |_, peer| {
        peer.accept();
        for _ in 0..2 {
            let asked = request(peer);
            let answer = json!({"id": asked["id"].to_string(), "status": "ok", "subbed": asked["sub"], "ts": 1});
            peer.frame(0x82, &gzip(answer));
            peer.frame(0x82, &gzip(json!({"ch": asked["sub"], "ts": 1, "tick": {}})));
        }
        for ping in [1_700_000_000_001_u64, 1_700_000_000_002] {
            peer.frame(0x82, &gzip(json!({ "ping": ping })));
            let said = request(peer).to_string();
            peer.note(said);
        }
        peer.keep_open();
    });
    let topics = ["market.btcusdt.trade.detail", "market.ethusdt.trade.detail"];
    let test = test("htx", &topics, &server.url(), json!({}));
    let recorder = test.start();
    settled(&recorder, 2, 0);
    assert_eq!(server.note(), r#"{"pong":1700000000001}"#);
    assert_eq!(server.note(), r#"{"pong":1700000000002}"#);
    recorder.stop();
    assert_eq!(stems(&test).len(), 3);
}

#[test]
fn kucoin_says_over_http_where_to_connect_and_greets() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let path = peer.request.lines().next().unwrap().to_owned();
        assert!(path.contains("?token=t0ken&connectId="), "{path}");
        say(peer, &json!({"id": "x", "type": "welcome"}));
        let asked = request(peer);
        assert_eq!(asked["topic"], "/market/match:BTC-USDT");
        say(peer, &json!({"id": asked["id"].to_string(), "type": "ack"}));
        let bad = request(peer);
        say(
            peer,
            &json!({"id": bad["id"].to_string(), "type": "error", "code": 404, "data": "topic not found"}),
        );
        say(peer, &json!({"type": "message", "topic": "/market/match:BTC-USDT", "data": {}}));
        peer.keep_open();
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let post = format!("http://{}/api/v1/bullet-public", listener.local_addr().unwrap());
    let endpoint = format!("{}/endpoint", server.url());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend_from_slice(&byte);
            }
            assert!(head.starts_with(b"POST /api/v1/bullet-public"));
            let body = json!({"code": "200000", "data": {"token": "t0ken",
                "instanceServers": [{"endpoint": endpoint, "pingInterval": 18000}]}});
            let body = body.to_string();
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    // The built-in profile, but for where it asks.
    let shown = crate::harness::run(&["profiles", "kucoin", "--json"]).stdout;
    let mut profile: Value = serde_json::from_slice(&shown).unwrap();
    profile["bootstrap"]["post"] = json!(post);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kucoin.json"), profile.to_string()).unwrap();
    let topics = ["/market/match:BTC-USDT", "/market/match:BAD-USDT"];
    let keys = json!({ "profile_dir": dir.path() });
    let test = test("kucoin", &topics, "wss://elsewhere.invalid", keys);
    let recorder = test.start();
    let status = settled(&recorder, 1, 1);
    assert_eq!(status["topics"]["refusals"]["/market/match:BAD-USDT"], "topic not found");
    recorder.stop();
    assert!(!test.log().contains("t0ken"));
}

#[test]
fn deribit_says_what_it_accepted_and_asks_whether_one_is_there() {
    let server = Server::start(|_, peer| {
        peer.accept();
        assert_eq!(request(peer)["method"], "public/set_heartbeat");
        say(peer, &json!({"jsonrpc": "2.0", "id": 0, "result": "ok"}));
        let asked = request(peer);
        assert_eq!(asked["params"]["channels"].as_array().unwrap().len(), 2);
        say(
            peer,
            &json!({"jsonrpc": "2.0", "id": asked["id"], "result": ["trades.BTC-PERPETUAL.100ms"]}),
        );
        say(
            peer,
            &json!({"jsonrpc": "2.0", "method": "subscription",
            "params": {"channel": "trades.BTC-PERPETUAL.100ms", "data": []}}),
        );
        say(
            peer,
            &json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "heartbeat"}}),
        );
        say(
            peer,
            &json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}),
        );
        let said = request(peer)["method"].to_string();
        peer.note(said);
        peer.keep_open();
    });
    let topics = ["trades.BTC-PERPETUAL.100ms", "trades.NO-SUCH.100ms"];
    let test = test("deribit", &topics, &server.url(), json!({}));
    let recorder = test.start();
    let status = settled(&recorder, 1, 1);
    assert_eq!(status["topics"]["refusals"]["trades.NO-SUCH.100ms"], "not among what was accepted");
    assert_eq!(server.note(), r#""public/test""#);
    recorder.stop();
}

#[test]
fn hyperliquid_is_asked_for_one_topic_at_a_time() {
    let server = Server::start(|_, peer| {
        peer.accept();
        for _ in 0..2 {
            let asked = request(peer);
            say(peer, &json!({"channel": "subscriptionResponse", "data": asked}));
            let coin = asked["subscription"]["coin"].clone();
            match asked["subscription"]["type"].as_str().unwrap() {
                "trades" => say(peer, &json!({"channel": "trades", "data": [{"coin": coin}]})),
                _ => say(peer, &json!({"channel": "l2Book", "data": {"coin": coin}})),
            }
        }
        peer.keep_open();
    });
    let test = test("hyperliquid", &["trades:BTC", "l2Book:ETH"], &server.url(), json!({}));
    let recorder = test.start();
    settled(&recorder, 2, 0);
    recorder.wait_for_messages(4);
    recorder.stop();
    assert_eq!(stems(&test), ["control", "l2Book%3AETH", "trades%3ABTC"]);
}

#[test]
fn gate_wants_the_time_in_every_request() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let asked = request(peer);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(asked["time"].as_u64().unwrap().abs_diff(now) < 30, "{asked}");
        assert_eq!(asked["payload"], json!(["BTC_USDT", "BAD_USDT"]));
        let words = "unknown currency pair BAD_USDT";
        say(
            peer,
            &json!({"time": now, "id": asked["id"], "channel": "spot.trades", "event": "subscribe",
                "error": {"code": 2, "message": words}, "result": null}),
        );
        for _ in 0..2 {
            let asked = request(peer);
            let good = asked["payload"] == json!(["BTC_USDT"]);
            let error = if good { Value::Null } else { json!({"code": 2, "message": words}) };
            let mut answer = json!({"time": now, "id": asked["id"], "channel": "spot.trades", "event": "subscribe",
                "result": {"status": "success"}});
            if !good {
                answer["error"] = error;
            }
            say(peer, &answer);
        }
        say(
            peer,
            &json!({"channel": "spot.trades", "event": "update", "result": {"currency_pair": "BTC_USDT"}}),
        );
        peer.keep_open();
    });
    let topics = ["spot.trades:BTC_USDT", "spot.trades:BAD_USDT"];
    let test = test("gate", &topics, &server.url(), json!({}));
    let recorder = test.start();
    let status = settled(&recorder, 1, 1);
    assert_eq!(
        status["topics"]["refusals"]["spot.trades:BAD_USDT"],
        "unknown currency pair BAD_USDT"
    );
    recorder.stop();
}
