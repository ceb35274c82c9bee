//! Faults of the server: earlier messages are recorded, the cause is counted, and the recorder
//! reconnects.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Peer, Server, Test};

const DATA: &str = r#"{"topic":"publicTrade.BTCUSDT","data":[1]}"#;

/// Plays the fault on the first connection, and sends a message on the second. Returns the last
/// status, the log line of the disconnect, and the recorded text.
fn record_fault(
    keys: Value,
    fault: impl Fn(&mut Peer) + Send + Sync + 'static,
) -> (Value, String, String) {
    let server = Server::start(move |number, peer| {
        if number == 0 {
            fault(peer);
            return;
        }
        peer.accept_subscription();
        peer.send_text(r#"{"topic":"publicTrade.BTCUSDT","data":[2]}"#);
        peer.answer_until_end();
    });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected"]);
    recorder.wait_for(&["connected"]);
    let status = recorder.wait_until(|status| {
        status["connects"] != 0 && status["connected"] == true && status["messages"] != 0
    });
    recorder.stop();
    // The journal has the same causes as the status.
    let causes = status["disconnects"].as_object().unwrap();
    // A silent connection may have been dead all the time.
    let certainty = |cause: &str| if cause == "idle" { "at_most" } else { "exact" };
    let gaps: Vec<_> =
        causes.keys().map(|cause| format!("down {cause} {}", certainty(cause))).collect();
    assert_eq!(test.gaps(), gaps, "{:#?}", test.journal());
    (status, line, String::from_utf8(test.recorded()).unwrap())
}

/// Asserts that these bytes after one message are a disconnect that is counted under `cause`.
fn assert_stream_fault(cause: &str, words: &str, bytes: &'static [u8]) {
    let (status, line, recorded) = record_fault(json!({ "max_message_size": "1kB" }), |peer| {
        peer.accept_subscription();
        peer.send_text(DATA);
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
    assert_stream_fault("protocol", "reserved bits", b"\xC1\x01x");
}

#[test]
fn a_reserved_opcode() {
    assert_stream_fault("protocol", "reserved opcode", b"\x83\x01x");
    assert_stream_fault("protocol", "reserved opcode", b"\x8B\x01x");
}

#[test]
fn a_masked_frame() {
    assert_stream_fault("protocol", "masked", b"\x81\x81\0\0\0\0x");
}

#[test]
fn fragments_out_of_order() {
    assert_stream_fault("protocol", "without a message", b"\x80\x01x");
    assert_stream_fault("protocol", "unfinished", b"\x01\x01x\x81\x01x");
}

#[test]
fn control_frames_that_break_the_protocol() {
    assert_stream_fault("protocol", "fragmented control", b"\x09\x01x");
    assert_stream_fault("protocol", "at most 125", b"\x89\x7E\x00\x7E");
    assert_stream_fault("protocol", "half a code", b"\x88\x01\x03");
}

#[test]
fn text_that_is_not_utf8() {
    assert_stream_fault("utf8", "not UTF-8", b"\x81\x02\xC3\x28");
    assert_stream_fault("utf8", "not UTF-8", b"\x01\x01\xFF");
}

#[test]
fn a_message_beyond_the_limit() {
    assert_stream_fault("too_large", "`max_message_size` is 1000", b"\x81\x7E\x03\xE9");
    assert_stream_fault(
        "too_large",
        "`max_message_size`",
        b"\x81\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    );
}

#[test]
fn a_close_with_code_and_reason() {
    assert_stream_fault("closed", "code 1001: going away", b"\x88\x0C\x03\xE9going away");
}

#[test]
fn a_close_without_code() {
    assert_stream_fault("closed", "without a code", b"\x88\x00");
}

#[test]
fn a_close_is_answered_with_its_code() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_frame(0x88, &1012_u16.to_be_bytes());
        let answer = peer.read_frame();
        peer.send_note(format!("{answer:?}"));
    });
    let test = Test::new(&server.url());
    let _recorder = test.start();
    assert_eq!(server.next_note(), format!("{:?}", Some((8_u8, vec![3, 244]))));
}

#[test]
fn an_end_without_a_close() {
    let (status, _, recorded) = record_fault(json!({}), |peer| {
        peer.accept_subscription();
        peer.send_text(DATA);
        // The recorder drops half a message.
        peer.send(b"\x81\x05ha");
        peer.end_stream();
    });
    assert_eq!(status["disconnects"]["eof"], 1);
    assert_eq!(recorded, format!("{DATA}\n{{\"topic\":\"publicTrade.BTCUSDT\",\"data\":[2]}}\n"));
}

#[test]
fn a_reset() {
    let (status, line, _) = record_fault(json!({}), |peer| {
        peer.accept_subscription();
        peer.reset();
    });
    assert_eq!(status["disconnects"]["io"], 1, "{line}");
}

/// The system reports a reset once, be it to a read or to a write.
#[test]
fn a_reset_that_a_write_finds_first() {
    let (stopped, is_stopped) = channel::<()>();
    let is_stopped = Mutex::new(is_stopped);
    let server = Server::start(move |number, peer| {
        peer.accept_subscription();
        peer.send_text(DATA);
        if number == 0 {
            is_stopped.lock().unwrap().recv().unwrap();
            // The recorder reads the ping, and the pong finds the reset.
            peer.send_frame(0x89, b"");
            peer.reset();
            peer.send_note("reset");
        } else {
            peer.answer_until_end();
        }
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.signal("STOP");
    let stat = format!("/proc/{}/stat", recorder.pid());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::yield_now();
    }
    stopped.send(()).unwrap();
    assert_eq!(server.next_note(), "reset");
    recorder.signal("CONT");
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("cause=\"io\"") && line.contains("reset"), "{line}");
    recorder.wait_for_messages(2);
}

#[test]
fn silence_in_spite_of_a_ping() {
    let (status, line, _) =
        record_fault(json!({ "idle_timeout": "300ms", "ping": null }), |peer| {
            peer.accept_subscription();
            peer.send_text(DATA);
            assert_eq!(peer.read_frame(), Some((9, Vec::new())), "a ping of our own comes first");
            peer.wait_for_end();
        });
    assert_eq!(status["disconnects"]["idle"], 1);
    assert!(line.contains("no frame for 300ms"), "{line}");
}

#[test]
fn a_handshake_that_hangs() {
    let (status, line, _) = record_fault(json!({ "connect_timeout": "300ms" }), |peer| {
        peer.read_request();
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["connect_timeout"], 1);
    assert!(line.contains("WebSocket handshake took more than 300ms"), "{line}");
}

#[test]
fn a_handshake_refused_with_retry_after() {
    let begun = Instant::now();
    let (status, line, _) = record_fault(json!({}), |peer| {
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
fn handshake_responses_other_than_101() {
    for answer in ["503 Service Unavailable", "404 Not Found", "301 Moved Permanently"] {
        let (status, line, _) = record_fault(json!({}), move |peer| {
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
    let (status, line, _) = record_fault(json!({}), |peer| {
        peer.read_request();
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n");
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["handshake"], 1, "{line}");
}

#[test]
fn a_server_that_hangs_up_during_the_handshake_or_does_not_speak_http() {
    let (status, _, _) = record_fault(json!({}), |peer| {
        peer.read_request();
        peer.end_stream();
    });
    assert_eq!(status["disconnects"]["eof"], 1, "{status:#}");
    let (status, _, _) = record_fault(json!({}), |peer| {
        peer.read_request();
        peer.send(b"220 smtp.example.org ESMTP\r\n\r\n");
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["handshake"], 1, "{status:#}");
}

#[test]
fn a_refused_tcp_connection() {
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
    let (status, line, recorded) = record_fault(json!({}), move |peer| {
        peer.accept_subscription();
        peer.send_text(refusal);
        peer.wait_for_end();
    });
    assert_eq!(status["disconnects"]["refused"], 1);
    assert!(line.contains("ERROR") && line.contains("error:handler not found"), "{line}");
    let words = status["last_error"]["detail"].as_str().unwrap();
    assert!(words.contains("error:handler not found"), "{words}");
    assert!(recorded.starts_with(refusal), "also the refusal is what the server sent");
}

#[test]
fn reconnects_back_off_when_a_server_accepts_and_drops() {
    let server = Server::start(|number, peer| {
        peer.accept_subscription();
        peer.send_note(number.to_string());
        peer.end_stream();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    let begun = Instant::now();
    while server.next_note() != "3" {}
    // The pauses are 0.5 s, at least 0.5 s, and at least 1 s: a connect does not reset the back-off.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    recorder.stop();
    let gaps = test.gaps();
    // The topic was never subscribed to, which is one gap.
    assert_eq!(gaps, ["down eof exact"]);
}

#[test]
fn silence_with_pings_answered_is_no_gap() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        for _ in 0..4 {
            let (opcode, payload) = peer.read_frame().unwrap();
            assert_eq!(opcode, 9);
            peer.send_frame(0x8A, &payload);
        }
        peer.send_note("answered");
        peer.answer_until_end();
    });
    let keys = json!({ "idle_timeout": "300ms", "ping": null });
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    // The recorder sends a ping after each 150 ms of silence.
    server.next_note();
    assert_eq!(recorder.status()["connects"], 1);
    recorder.stop();
    assert_eq!(test.gaps(), Vec::<String>::new());
    assert_eq!(test.files(), Vec::<std::path::PathBuf>::new());
    let hours = test.query("ls");
    assert!(hours.iter().all(|hour| hour["state"] == "empty"), "listened, and nothing came");
}

#[test]
fn reconnects_back_off_when_a_subscription_is_refused_after_data() {
    let server = Server::start(|number, peer| {
        peer.accept_subscription();
        peer.send_note(number.to_string());
        peer.send_text(r#"{"topic":"another","data":[1]}"#);
        peer.send_text(r#"{"success":false,"ret_msg":"no","op":"subscribe"}"#);
        peer.wait_for_end();
    });
    let test = Test::new(&server.url());
    let recorder = test.start();
    let begun = Instant::now();
    while server.next_note() != "3" {}
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    recorder.stop();
}

#[test]
fn data_that_looks_like_an_answer_is_data() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text(r#"{"op":"utx","x":{"hash":"00"}}"#);
        peer.send_text(r#"{"success":true,"op":"subscribe"}"#);
        peer.send_text(r#"{"success":false,"ret_msg":"x","op":"subscribe"}"#);
        peer.answer_until_end();
    });
    let test = Test::with_source(&server.url(), json!({ "control": "skip" }));
    let recorder = test.start();
    recorder.wait_until(|status| status["control_skipped"] == 2);
    assert_eq!(recorder.status()["connects"], 1, "nothing was request for that could be refused");
    recorder.stop();
    assert_eq!(test.recorded(), b"{\"op\":\"utx\",\"x\":{\"hash\":\"00\"}}\n");
}

#[test]
fn a_server_that_keeps_sending_after_the_close_does_not_delay_the_stop() {
    let server = Server::start(|_, peer| {
        peer.accept_subscription();
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
