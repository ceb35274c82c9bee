//! The server does wrong: what came before is recorded, the cause counted, the connection made
//! again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Peer, Server, Test};

const DATA: &str = r#"{"topic":"publicTrade.BTCUSDT","data":[1]}"#;

/// On the first connection the fault; on the second all is well. Gives the status at the end, the
/// log line of the disconnect and what was recorded.
fn after_fault(
    keys: Value,
    fault: impl Fn(&mut Peer) + Send + Sync + 'static,
) -> (Value, String, String) {
    let server = Server::start(move |number, peer| {
        if number == 0 {
            fault(peer);
            return;
        }
        peer.subscribed();
        peer.text(r#"{"topic":"publicTrade.BTCUSDT","data":[2]}"#);
        peer.keep_open();
    });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected"]);
    recorder.wait_for(&["connected"]);
    let status = recorder.wait_until(|status| {
        status["connects"] != 0 && status["connected"] == true && status["messages"] != 0
    });
    recorder.stop();
    // The journal says the same as the status.
    let causes = status["disconnects"].as_object().unwrap();
    // A link on which nothing is heard may have been dead all that time.
    let certainty = |cause: &str| if cause == "idle" { "at_most" } else { "exact" };
    let gaps: Vec<_> =
        causes.keys().map(|cause| format!("down {cause} {}", certainty(cause))).collect();
    assert_eq!(test.gaps(), gaps, "{:#?}", test.journal());
    (status, line, String::from_utf8(test.recorded()).unwrap())
}

/// A fault in the stream after one message of data, counted under `cause`.
fn stream_fault(cause: &str, words: &str, bytes: &'static [u8]) {
    let (status, line, recorded) = after_fault(json!({ "max_message_size": "1kB" }), |peer| {
        peer.subscribed();
        peer.text(DATA);
        peer.send(bytes);
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"][cause], 1, "{status:#}");
    assert!(line.contains(&format!("cause=\"{cause}\"")) && line.contains(words), "{line}");
    assert!(recorded.starts_with(&format!("{DATA}\n")), "recorded up to the fault: {recorded}");
    assert_eq!(status["last_error"]["cause"], cause);
}

#[test]
fn reserved_bits() {
    stream_fault("protocol", "reserved bits", b"\xC1\x01x");
}

#[test]
fn a_reserved_opcode() {
    stream_fault("protocol", "reserved opcode", b"\x83\x01x");
    stream_fault("protocol", "reserved opcode", b"\x8B\x01x");
}

#[test]
fn a_masked_frame() {
    stream_fault("protocol", "masked", b"\x81\x81\0\0\0\0x");
}

#[test]
fn fragments_out_of_order() {
    stream_fault("protocol", "without a message", b"\x80\x01x");
    stream_fault("protocol", "unfinished", b"\x01\x01x\x81\x01x");
}

#[test]
fn control_frames_that_are_none() {
    stream_fault("protocol", "fragmented control", b"\x09\x01x");
    stream_fault("protocol", "at most 125", b"\x89\x7E\x00\x7E");
    stream_fault("protocol", "half a code", b"\x88\x01\x03");
}

#[test]
fn text_that_is_not_utf8() {
    stream_fault("utf8", "not UTF-8", b"\x81\x02\xC3\x28");
    stream_fault("utf8", "not UTF-8", b"\x01\x01\xFF");
}

#[test]
fn a_message_beyond_the_limit() {
    stream_fault("too_large", "`max_message_size` is 1000", b"\x81\x7E\x03\xE9");
    stream_fault("too_large", "`max_message_size`", b"\x81\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
}

#[test]
fn a_close_with_code_and_reason() {
    stream_fault("closed", "code 1001: going away", b"\x88\x0C\x03\xE9going away");
}

#[test]
fn a_close_without_code() {
    stream_fault("closed", "without a code", b"\x88\x00");
}

#[test]
fn a_close_is_answered_with_its_code() {
    let server = Server::start(|_, peer| {
        peer.subscribed();
        peer.frame(0x88, &1012_u16.to_be_bytes());
        let answer = peer.read_frame();
        peer.note(format!("{answer:?}"));
    });
    let test = Test::new(&server.url());
    let _recorder = test.start();
    assert_eq!(server.note(), format!("{:?}", Some((8_u8, vec![3, 244]))));
}

#[test]
fn an_end_without_a_close() {
    let (status, _, recorded) = after_fault(json!({}), |peer| {
        peer.subscribed();
        peer.text(DATA);
        // Half a message is no message.
        peer.send(b"\x81\x05ha");
        peer.drop_gently();
    });
    assert_eq!(status["disconnects"]["eof"], 1);
    assert_eq!(recorded, format!("{DATA}\n{{\"topic\":\"publicTrade.BTCUSDT\",\"data\":[2]}}\n"));
}

#[test]
fn a_reset() {
    let (status, line, _) = after_fault(json!({}), |peer| {
        peer.subscribed();
        peer.reset();
    });
    assert_eq!(status["disconnects"]["io"], 1, "{line}");
}

#[test]
fn silence_in_spite_of_a_ping() {
    let (status, line, _) = after_fault(json!({ "idle_timeout": "300ms", "ping": null }), |peer| {
        peer.subscribed();
        peer.text(DATA);
        assert_eq!(peer.read_frame(), Some((9, Vec::new())), "a ping of our own comes first");
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["idle"], 1);
    assert!(line.contains("no frame for 300ms"), "{line}");
}

#[test]
fn a_handshake_that_hangs() {
    let (status, line, _) = after_fault(json!({ "connect_timeout": "300ms" }), |peer| {
        peer.read_request();
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["connect_timeout"], 1);
    assert!(line.contains("WebSocket handshake took more than 300ms"), "{line}");
}

#[test]
fn a_handshake_refused_by_http_with_a_pause() {
    let begun = Instant::now();
    let (status, line, _) = after_fault(json!({}), |peer| {
        peer.read_request();
        peer.send(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 9\r\n\r\nslow down");
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["http"], 1);
    assert!(line.contains("429 Too Many Requests: slow down"), "{line}");
    assert!(line.contains("retry_in=2s"), "{line}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "the pause is kept");
}

#[test]
fn other_answers_than_101() {
    for answer in ["503 Service Unavailable", "404 Not Found", "301 Moved Permanently"] {
        let (status, line, _) = after_fault(json!({}), move |peer| {
            peer.read_request();
            let text = format!(
                "HTTP/1.1 {answer}\r\nLocation: wss://elsewhere\r\nContent-Length: 0\r\n\r\n"
            );
            peer.send(text.as_bytes());
            peer.wait_for_end();
        });
        assert_eq!(status["disconnects"]["http"], 1);
        assert!(line.contains(answer) && line.contains("wss://elsewhere"), "{line}");
    }
}

#[test]
fn a_wrong_accept_key() {
    let (status, line, _) = after_fault(json!({}), |peer| {
        peer.read_request();
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n");
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["handshake"], 1, "{line}");
}

#[test]
fn a_server_that_hangs_up_on_the_handshake_or_speaks_something_else() {
    let (status, _, _) = after_fault(json!({}), |peer| {
        peer.read_request();
        peer.drop_gently();
    });
    assert_eq!(status["disconnects"]["eof"], 1, "{status:#}");
    let (status, _, _) = after_fault(json!({}), |peer| {
        peer.read_request();
        peer.send(b"220 smtp.example.org ESMTP\r\n\r\n");
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["handshake"], 1, "{status:#}");
}

#[test]
fn nobody_listens() {
    let server = Server::start(|_, _| {});
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    drop(server);
    let test = Test::new(&format!("ws://{free}"));
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("cause=\"connect\"") && line.contains(&free.to_string()), "{line}");
    recorder.wait_for(&["disconnected"]);
    recorder.stop();
    assert_eq!(test.gaps(), ["down connect exact"]);
}

#[test]
fn a_host_that_does_not_exist() {
    let test = Test::new("ws://no-such-host.invalid:1");
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("cause=\"dns\"") && line.contains("no-such-host.invalid"), "{line}");
    recorder.stop();
    assert_eq!(test.gaps(), ["down dns exact"]);
}

#[test]
fn a_refused_subscription_is_an_error_with_the_servers_words() {
    let refusal = r#"{"success":false,"ret_msg":"error:handler not found","op":"subscribe"}"#;
    let (status, line, recorded) = after_fault(json!({}), move |peer| {
        peer.subscribed();
        peer.text(refusal);
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["refused"], 1);
    assert!(line.contains("ERROR") && line.contains("error:handler not found"), "{line}");
    let words = status["last_error"]["detail"].as_str().unwrap();
    assert!(words.contains("error:handler not found"), "{words}");
    assert!(recorded.starts_with(refusal), "also the refusal is what the server sent");
}

#[test]
fn a_server_that_accepts_and_drops_is_not_hammered() {
    let server = Server::start(|number, peer| {
        peer.subscribed();
        peer.note(number.to_string());
        peer.drop_gently();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    let begun = Instant::now();
    while server.note() != "3" {}
    // 0.5 s, then at least 0.5 s, then at least 1 s: a connect alone does not reset the back-off.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    recorder.stop();
    let gaps = test.gaps();
    // It was never subscribed to: that is one gap.
    assert_eq!(gaps, ["down eof exact"]);
}

#[test]
fn silence_with_pings_answered_is_no_gap() {
    let server = Server::start(|_, peer| {
        peer.subscribed();
        for _ in 0..4 {
            let (opcode, payload) = peer.read_frame().unwrap();
            assert_eq!(opcode, 9);
            peer.frame(0x8A, &payload);
        }
        peer.note("answered");
        peer.keep_open();
    });
    let keys = json!({ "idle_timeout": "300ms", "ping": null });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    // Each ping comes after 150 ms of silence.
    server.note();
    assert_eq!(recorder.status()["connects"], 1);
    recorder.stop();
    assert_eq!(test.gaps(), Vec::<String>::new());
    assert_eq!(test.files(), Vec::<std::path::PathBuf>::new());
    let hours = test.ask("ls");
    assert!(hours.iter().all(|hour| hour["state"] == "empty"), "listened, and nothing came");
}

#[test]
fn a_refusal_after_data_does_not_hammer_either() {
    let server = Server::start(|number, peer| {
        peer.subscribed();
        peer.note(number.to_string());
        peer.text(r#"{"topic":"another","data":[1]}"#);
        peer.text(r#"{"success":false,"ret_msg":"no","op":"subscribe"}"#);
        peer.wait_for_end();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    let begun = Instant::now();
    while server.note() != "3" {}
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    recorder.stop();
}

#[test]
fn data_that_looks_like_an_answer_is_data() {
    let server = Server::start(|_, peer| {
        peer.subscribed();
        peer.text(r#"{"op":"utx","x":{"hash":"00"}}"#);
        peer.text(r#"{"success":true,"op":"subscribe"}"#);
        peer.text(r#"{"success":false,"ret_msg":"x","op":"subscribe"}"#);
        peer.keep_open();
    });
    let test = Test::with_source(&server.url(), json!({ "control": "skip" }));
    let recorder = test.start();
    recorder.wait_until(|status| status["control_skipped"] == 2);
    assert_eq!(recorder.status()["connects"], 1, "nothing was asked for that could be refused");
    recorder.stop();
    assert_eq!(test.recorded(), b"{\"op\":\"utx\",\"x\":{\"hash\":\"00\"}}\n");
}

#[test]
fn a_flood_that_goes_on_after_the_close_does_not_hold_up_the_stop() {
    let server = Server::start(|_, peer| {
        peer.subscribed();
        let flood = crate::harness::frame(0x81, DATA.as_bytes()).repeat(1_000);
        while std::io::Write::write_all(&mut peer.stream, &flood).is_ok() {}
    });
    let test = Test::new(&server.url()).set("shutdown_timeout", "10s".into());
    let recorder = test.start();
    recorder.wait_for_messages(10_000);
    let begun = Instant::now();
    recorder.stop();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(test.log().contains("hour closed"));
}

#[test]
fn secrets_that_the_server_repeats_are_masked() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.send(
            b"HTTP/1.1 403 Forbidden\r\nLocation: http://h/s3cret?q=1\r\n\r\nbad token s3cret",
        );
        peer.wait_for_end();
    });
    let keys = json!({ "headers": { "Authorization": "${STREAMER_TEST_TOKEN}" } });
    let test = Test::with_source(&server.url(), keys).env("STREAMER_TEST_TOKEN", "s3cret");
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("bad token ***") && !line.contains("s3cret"), "{line}");
    assert!(!line.contains("q=1"), "{line}");
    recorder.stop();
}
