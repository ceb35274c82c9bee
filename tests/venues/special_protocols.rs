//! Venues with special protocols: gzip, an endpoint over HTTP, or one topic per request.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{read_json, send_json, stems, test_with_profile, wait_for_topics};
use crate::harness::Server;

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
            let asked = read_json(peer);
            let answer = json!({"id": asked["id"].to_string(), "status": "ok", "subbed": asked["sub"], "ts": 1});
            peer.send_frame(0x82, &gzip(answer));
            peer.send_frame(0x82, &gzip(json!({"ch": asked["sub"], "ts": 1, "tick": {}})));
        }
        for ping in [1_700_000_000_001_u64, 1_700_000_000_002] {
            peer.send_frame(0x82, &gzip(json!({ "ping": ping })));
            let request = read_json(peer).to_string();
            peer.send_note(request);
        }
        peer.answer_until_end();
    });
    let topics = ["market.btcusdt.trade.detail", "market.ethusdt.trade.detail"];
    let test = test_with_profile("htx", &topics, &server.url(), json!({}));
    let recorder = test.start();
    wait_for_topics(&recorder, 2, 0);
    assert_eq!(server.next_note(), r#"{"pong":1700000000001}"#);
    assert_eq!(server.next_note(), r#"{"pong":1700000000002}"#);
    recorder.stop();
    assert_eq!(stems(&test).len(), 3);
}

#[test]
fn kucoin_gives_its_endpoint_over_http_and_sends_a_welcome() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let path = peer.request.lines().next().unwrap().to_owned();
        assert!(path.contains("?token=t0ken&connectId="), "{path}");
        send_json(peer, &json!({"id": "x", "type": "welcome"}));
        let asked = read_json(peer);
        assert_eq!(asked["topic"], "/market/match:BTC-USDT");
        send_json(peer, &json!({"id": asked["id"].to_string(), "type": "ack"}));
        let bad = read_json(peer);
        send_json(
            peer,
            &json!({"id": bad["id"].to_string(), "type": "error", "code": 404, "data": "topic not found"}),
        );
        send_json(peer, &json!({"type": "message", "topic": "/market/match:BTC-USDT", "data": {}}));
        peer.answer_until_end();
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
            let user_agent = format!("user-agent: streamer/{}\r\n", env!("CARGO_PKG_VERSION"));
            let head = String::from_utf8_lossy(&head).to_lowercase();
            assert!(head.contains(&user_agent), "{head}");
            let body = json!({"code": "200000", "data": {"token": "t0ken",
                "instanceServers": [{"endpoint": endpoint, "pingInterval": 18000}]}});
            let body = body.to_string();
            let length = body.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        }
    });
    // The profile is the built-in one with another HTTP endpoint.
    let shown = crate::harness::run(&["profiles", "kucoin", "--json"]).stdout;
    let mut profile: Value = serde_json::from_slice(&shown).unwrap();
    profile["bootstrap"]["post"] = json!(post);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kucoin.json"), profile.to_string()).unwrap();
    let topics = ["/market/match:BTC-USDT", "/market/match:BAD-USDT"];
    let keys = json!({ "profile_dir": dir.path() });
    let test = test_with_profile("kucoin", &topics, "wss://elsewhere.invalid", keys);
    let recorder = test.start();
    let status = wait_for_topics(&recorder, 1, 1);
    assert_eq!(status["topics"]["refusals"]["/market/match:BAD-USDT"], "topic not found");
    recorder.stop();
    assert!(!test.log().contains("t0ken"));
}

#[test]
fn deribit_lists_the_accepted_topics_and_sends_test_requests() {
    let server = Server::start(|_, peer| {
        peer.accept();
        assert_eq!(read_json(peer)["method"], "public/set_heartbeat");
        send_json(peer, &json!({"jsonrpc": "2.0", "id": 0, "result": "ok"}));
        let asked = read_json(peer);
        assert_eq!(asked["params"]["channels"].as_array().unwrap().len(), 2);
        send_json(
            peer,
            &json!({"jsonrpc": "2.0", "id": asked["id"], "result": ["trades.BTC-PERPETUAL.100ms"]}),
        );
        send_json(
            peer,
            &json!({"jsonrpc": "2.0", "method": "subscription",
            "params": {"channel": "trades.BTC-PERPETUAL.100ms", "data": []}}),
        );
        send_json(
            peer,
            &json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "heartbeat"}}),
        );
        send_json(
            peer,
            &json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": "test_request"}}),
        );
        let request = read_json(peer)["method"].to_string();
        peer.send_note(request);
        peer.answer_until_end();
    });
    let topics = ["trades.BTC-PERPETUAL.100ms", "trades.NO-SUCH.100ms"];
    let test = test_with_profile("deribit", &topics, &server.url(), json!({}));
    let recorder = test.start();
    let status = wait_for_topics(&recorder, 1, 1);
    assert_eq!(status["topics"]["refusals"]["trades.NO-SUCH.100ms"], "not among what was accepted");
    assert_eq!(server.next_note(), r#""public/test""#);
    recorder.wait_for(&["refuses this topic", "NO-SUCH"]);
    recorder.stop();
}

#[test]
fn a_deribit_connection_without_accepted_topics_is_closed() {
    let server = Server::start(|_, peer| {
        peer.accept();
        read_json(peer);
        let asked = read_json(peer);
        send_json(peer, &json!({"jsonrpc": "2.0", "id": asked["id"], "result": []}));
        peer.wait_for_end();
        peer.send_note("given up");
    });
    let test = test_with_profile("deribit", &["trades.NO-SUCH.100ms"], &server.url(), json!({}));
    let recorder = test.start();
    assert_eq!(server.next_note(), "given up");
    recorder.wait_for(&["disconnected", "refused", "not among what was accepted"]);
    recorder.stop();
}

#[test]
fn hyperliquid_gets_one_topic_per_request() {
    let server = Server::start(|_, peer| {
        peer.accept();
        for _ in 0..2 {
            let asked = read_json(peer);
            send_json(peer, &json!({"channel": "subscriptionResponse", "data": asked}));
            let coin = asked["subscription"]["coin"].clone();
            match asked["subscription"]["type"].as_str().unwrap() {
                "trades" => {
                    send_json(peer, &json!({"channel": "trades", "data": [{"coin": coin}]}))
                }
                _ => send_json(peer, &json!({"channel": "l2Book", "data": {"coin": coin}})),
            }
        }
        peer.answer_until_end();
    });
    let test =
        test_with_profile("hyperliquid", &["trades:BTC", "l2Book:ETH"], &server.url(), json!({}));
    let recorder = test.start();
    wait_for_topics(&recorder, 2, 0);
    recorder.wait_for_messages(4);
    recorder.stop();
    assert_eq!(stems(&test), ["control", "l2Book%3AETH", "trades%3ABTC"]);
}

#[test]
fn gate_gets_the_time_in_every_request() {
    let server = Server::start(|_, peer| {
        peer.accept();
        let asked = read_json(peer);
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(asked["time"].as_u64().unwrap().abs_diff(now) < 30, "{asked}");
        assert_eq!(asked["payload"], json!(["BTC_USDT", "BAD_USDT"]));
        let words = "unknown currency pair BAD_USDT";
        send_json(
            peer,
            &json!({"time": now, "id": asked["id"], "channel": "spot.trades", "event": "subscribe",
                "error": {"code": 2, "message": words}, "result": null}),
        );
        for _ in 0..2 {
            let asked = read_json(peer);
            let good = asked["payload"] == json!(["BTC_USDT"]);
            let error = if good { Value::Null } else { json!({"code": 2, "message": words}) };
            let mut answer = json!({"time": now, "id": asked["id"], "channel": "spot.trades", "event": "subscribe",
                "result": {"status": "success"}});
            if !good {
                answer["error"] = error;
            }
            send_json(peer, &answer);
        }
        send_json(
            peer,
            &json!({"channel": "spot.trades", "event": "update", "result": {"currency_pair": "BTC_USDT"}}),
        );
        peer.answer_until_end();
    });
    let topics = ["spot.trades:BTC_USDT", "spot.trades:BAD_USDT"];
    let test = test_with_profile("gate", &topics, &server.url(), json!({}));
    let recorder = test.start();
    let status = wait_for_topics(&recorder, 1, 1);
    assert_eq!(
        status["topics"]["refusals"]["spot.trades:BAD_USDT"],
        "unknown currency pair BAD_USDT"
    );
    recorder.stop();
}
