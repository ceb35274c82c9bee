//! The messages that the recorder sends to the server.

use serde_json::json;

use crate::harness::{SUBSCRIPTION, Server, Test};

#[test]
fn the_short_form_subscribes_after_each_connect_and_pings() {
    let server = Server::start(|number, peer| {
        let text = peer.accept_subscription();
        peer.send_note(text);
        if number < 2 {
            peer.send_text(r#"{"topic":"t"}"#);
            peer.end_stream();
        } else {
            peer.answer_until_end();
        }
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    for _ in 0..3 {
        assert_eq!(server.next_note(), SUBSCRIPTION);
    }
    recorder.stop();
}

#[test]
fn the_application_ping_is_sent_at_its_interval() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        for _ in 0..3 {
            let text = peer.read_text();
            peer.send_note(text);
        }
        peer.answer_until_end();
    });
    let keys = json!({ "ping": { "message": { "op": "ping", "n": 1 }, "interval": "100ms" } });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    for _ in 0..3 {
        assert_eq!(server.next_note(), r#"{"op":"ping","n":1}"#);
    }
    recorder.stop();
}

#[test]
fn the_servers_ping_is_answered_with_its_payload() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_frame(0x89, b"payload 17");
        let (opcode, payload) = peer.read_frame().unwrap();
        peer.send_note(format!("{opcode} {}", String::from_utf8(payload).unwrap()));
        peer.answer_until_end();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    assert_eq!(server.next_note(), "10 payload 17");
    recorder.stop();
}

#[test]
fn a_quiet_link_whose_pings_are_answered_is_not_cut() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        for _ in 0..6 {
            let (opcode, payload) = peer.read_frame().unwrap();
            assert_eq!(opcode, 9);
            peer.send_frame(0x8A, &payload);
        }
        peer.send_note("six pings, more than twice the idle time-out");
        peer.answer_until_end();
    });
    let keys = json!({ "idle_timeout": "200ms", "ping": null });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    server.next_note();
    let status = recorder.status();
    recorder.stop();
    assert_eq!(status["connects"], 1);
    assert_eq!(status["disconnects"], json!({}));
}

#[test]
fn headers_are_sent_with_the_handshake_and_secrets_stay_out_of_log_and_check() {
    let server = Server::start(|_, peer| {
        peer.accept();
        peer.send_note(format!("{:?}", peer.header("X-Api-Key")));
        peer.send_note(format!("{:?}", peer.header("User-Agent")));
        peer.read_text();
        peer.answer_until_end();
    });
    let keys = json!({ "headers": { "X-Api-Key": "${STREAMER_TEST_KEY}", "User-Agent": "mine" } });
    let test = Test::with_source(&(server.url() + "/${STREAMER_TEST_KEY}"), keys)
        .env("STREAMER_TEST_KEY", "s3cret-value");
    let recorder = test.start();
    assert_eq!(server.next_note(), format!("{:?}", Some("s3cret-value")));
    assert_eq!(server.next_note(), format!("{:?}", Some("mine")));
    recorder.stop();
    assert!(!test.log().contains("s3cret"), "{}", test.log());
    let check = crate::harness::binary()
        .args(["check", "--json", "-config"])
        .arg(test.config())
        .env("STREAMER_TEST_KEY", "s3cret-value")
        .output()
        .unwrap();
    let resolved = String::from_utf8(check.stdout).unwrap();
    assert!(
        resolved.contains("${STREAMER_TEST_KEY}") && !resolved.contains("s3cret"),
        "{resolved}"
    );
}

#[test]
fn a_list_of_messages_is_sent_in_order_and_no_topics_subscribe_to_nothing() {
    let server = Server::start(|_, peer| {
        peer.accept();
        for _ in 0..2 {
            let text = peer.read_text();
            peer.send_note(text);
        }
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let keys = json!({ "subscribe": [{ "login": 1 }, "raw text"], "topics": ["t"] });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    assert_eq!(server.next_note(), r#"{"login":1}"#);
    assert_eq!(server.next_note(), "raw text");
    recorder.stop();

    let server = Server::start(|_, peer| {
        peer.accept();
        let first = peer.read_frame().map(|(opcode, _)| opcode);
        peer.send_note(format!("{first:?}"));
    });
    let sinks = json!([{ "type": "jsonl", "stem": "all" }]);
    let keys = json!({ "topics": [], "idle_timeout": "200ms" });
    let mut test = Test::with_source(&server.url(), keys);
    let sinks = {
        let mut sinks = sinks;
        sinks[0]["output_dir"] = json!(test.output());
        sinks
    };
    test = test.without("output_dir").set("sinks", sinks);
    let recorder = test.start();
    assert_eq!(
        server.next_note(),
        format!("{:?}", Some(9_u8)),
        "the first frame is a WebSocket ping"
    );
    recorder.stop();
}

#[test]
fn a_stop_closes_by_handshake_and_records_what_arrives_before_the_close() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text(r#"{"topic":"t","n":1}"#);
        peer.send_note("ready");
        let (opcode, code) = peer.read_frame().unwrap();
        assert_eq!((opcode, code), (8, 1000_u16.to_be_bytes().to_vec()));
        peer.send_text(r#"{"topic":"t","n":2}"#);
        peer.send_frame(0x88, &1000_u16.to_be_bytes());
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    server.next_note();
    recorder.stop();
    assert_eq!(test.recorded(), b"{\"topic\":\"t\",\"n\":1}\n{\"topic\":\"t\",\"n\":2}\n");
}
