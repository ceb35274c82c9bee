//! The answer to the WebSocket handshake: what servers and the proxies before them send.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::harness::{Peer, Server, TOPIC, Test, frame};

const MESSAGE: &str = r#"{"topic":"publicTrade.BTCUSDT","data":[1]}"#;

/// Returns the right value of `Sec-WebSocket-Accept`.
fn accept_key(peer: &Peer) -> String {
    let response = String::from_utf8(peer.handshake_response()).unwrap();
    response.trim_end().rsplit_once(": ").unwrap().1.to_owned()
}

/// Starts a server that gives each connection this answer, in which `KEY` stands for the right
/// `Sec-WebSocket-Accept`, and sends a message after it. The server notes the requests.
fn start_server(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |number, peer| {
        peer.read_request();
        peer.send_note(peer.request.clone());
        let answer = answer(number);
        let accepts = answer.contains("KEY");
        let mut bytes = answer.replace("KEY", &accept_key(peer)).into_bytes();
        if accepts {
            bytes.extend_from_slice(&frame(0x81, MESSAGE.as_bytes()));
        }
        peer.send(&bytes);
        peer.answer_until_end();
    })
}

/// Asserts that a server with this answer is recorded with the first connect. Returns the request.
fn assert_recorded(keys: Value, answer: &str) -> String {
    let response = answer.to_owned();
    let server = start_server(move |_| response.clone());
    let test = Test::with_source(&server.url(), keys);
    let recorder = test.start();
    let status =
        recorder.wait_until(|status| status["messages"] == 1 || !status["last_error"].is_null());
    assert_eq!(status["messages"], 1, "{answer}\n{:#}", status["last_error"]);
    recorder.stop();
    assert_eq!(test.recorded(), format!("{MESSAGE}\n").as_bytes());
    server.next_note()
}

/// Returns the log line of the disconnect if a server gives this answer.
fn refusal(keys: Value, answer: &str) -> String {
    let response = answer.to_owned();
    let server = start_server(move |_| response.clone());
    let recorder = Test::with_source(&server.url(), keys).start();
    recorder.wait_for(&["disconnected"])
}

const ACCEPT: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n";

#[test]
fn an_answer_is_taken_in_any_form_that_http_allows() {
    let many: String = (0..300).map(|n| format!("X-Header-{n}: {n}\r\n")).collect();
    for headers in [
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: KEY\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive\r\nConnection: upgrade\r\nSec-WebSocket-Accept: KEY\r\n",
        "UPGRADE: WebSocket, foo\r\nCONNECTION:Upgrade\r\nSEC-WEBSOCKET-ACCEPT:  KEY  \r\n",
        "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: KEY\n",
        "Upgrade: websocket\r\nConnection: keep-alive,\r\n Upgrade\r\nSec-WebSocket-Accept:\r\n KEY\r\n",
        &(many + ACCEPT),
        " \t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n",
        " Upgrade: websocket\r\n\rConnection: Upgrade\r\r\nSec-WebSocket-Accept: KEY\r\r\n\r",
        "Upgrade: websocket\0\r\nConnection:\x1bUpgrade\r\nServer: a\rb\r\nSec-WebSocket-Accept: KEY\x7f\r\n",
        "junk\r\n more\r\nUpgrade: websocket\r\n: x\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n \r\n",
    ] {
        assert_recorded(json!({}), &format!("HTTP/1.1 101 Switching Protocols\r\n{headers}\r\n"));
    }
    for status_line in [
        "HTTP/1.1 101",
        "HTTP/1.1 101 ",
        "HTTP/1.0 101 Switching Protocols",
        "HTTP/1.2 101 Switching Protocols",
        "HTTP/2.0 101 Switching Protocols",
        "http/1.1 101 Switching Protocols",
        "HTTP/1.1  101\tSwitching Protocols",
        "HTTP/1.1\t101 Switching Protocols",
        "HTTP/1.1 101 Switching\0Protocols",
        "HTTP/1.1 101 Switching\x07Protocols",
        "HTTP/1.1 101 Switching\rProtocols",
        "HTTP/1.1 101 Switching Protocols\r",
        "HTTP/1.1 101 Zmi\u{e9}na",
        "HTTP/1.1 101Switching Protocols",
        "\r\n \r\nHTTP/1.1 101 Switching Protocols",
        "\u{feff}HTTP/1.1 101 Switching Protocols",
    ] {
        assert_recorded(json!({}), &format!("{status_line}\r\n{ACCEPT}\r\n"));
    }
}

#[test]
fn interim_responses_before_the_answer_are_skipped() {
    let switch = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}\r\n");
    for interim in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Whatever\r\nA: b\r\n\r\n",
    ] {
        assert_recorded(json!({}), &format!("{interim}{switch}"));
        let line = refusal(
            json!({}),
            &format!("{interim}HTTP/1.1 403 Go Away\r\nContent-Length: 0\r\n\r\n"),
        );
        assert!(line.contains("cause=\"http\"") && line.contains("403 Go Away"), "{line}");
    }
}

#[test]
fn the_request_has_a_path_a_host_and_a_user_agent_once() {
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}\r\n");
    for (suffix, target) in
        [("?token=x", "/?token=x"), ("", "/"), ("/?a=b?c", "/?a=b?c"), ("/a/b?", "/a/b?")]
    {
        let accepted = answer.clone();
        let server = start_server(move |_| accepted.clone());
        let test = Test::with_source(&(server.url() + suffix), json!({}));
        let recorder = test.start();
        let request = server.next_note();
        assert!(request.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{suffix}: {request}");
        let agent = format!("\r\nUser-Agent: streamer/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(request.contains(&agent), "{request}");
        recorder.wait_for_messages(1);
    }
    let headers = json!({ "host": "h.example", "USER-AGENT": "mine", "Origin": "https://o" });
    let request = assert_recorded(json!({ "headers": headers }), &answer).to_lowercase();
    for header in ["host: h.example", "user-agent: mine", "origin: https://o"] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
    for name in ["host", "user-agent", "origin", "upgrade", "connection", "sec-websocket-key"] {
        assert_eq!(request.matches(&format!("\r\n{name}: ")).count(), 1, "{name} in {request}");
    }
}

#[test]
fn a_header_that_is_configured_twice_in_different_case_is_an_error() {
    let headers = json!({ "X-Key": "a", "x-key": "b" });
    let test = Test::with_source("ws://localhost", json!({ "headers": headers }));
    let printed = String::from_utf8(test.run_refused().stderr).unwrap();
    assert!(printed.contains("headers: `x-key` occurs twice"), "{printed}");
    let headers = json!({ "Transfer-Encoding": "chunked" });
    let test = Test::with_source("ws://localhost", json!({ "headers": headers }));
    let printed = String::from_utf8(test.run_refused().stderr).unwrap();
    assert!(printed.contains("`Transfer-Encoding` is set by the handshake itself"), "{printed}");
}

#[test]
fn a_subprotocol_that_is_not_answered_is_logged_once_and_costs_nothing() {
    let headers = json!({ "headers": { "Sec-WebSocket-Protocol": "v1.feed, v2.feed" } });
    for chosen in ["", "Sec-WebSocket-Protocol: v2.feed\r\n", "sec-websocket-protocol:\r\n"] {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}{chosen}\r\n");
        let request = assert_recorded(headers.clone(), &answer);
        assert!(request.contains("\r\nSec-WebSocket-Protocol: v1.feed, v2.feed\r\n"), "{request}");
    }
    let server = Server::start(|number, peer| {
        peer.accept();
        peer.send_text(MESSAGE);
        if number < 2 {
            peer.end_stream();
        } else {
            peer.answer_until_end();
        }
    });
    let test = Test::with_source(&server.url(), headers);
    let recorder = test.start();
    recorder.wait_for_messages(3);
    recorder.stop();
    assert_eq!(test.log().matches("chose none of the subprotocols").count(), 1, "{}", test.log());
}

#[test]
fn a_subprotocol_that_was_not_asked_for_is_refused_with_what_to_do() {
    let chosen = "Sec-WebSocket-Protocol: v3\r\n";
    let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}{chosen}\r\n");
    for keys in [json!({}), json!({ "headers": { "Sec-WebSocket-Protocol": "v1, v2" } })] {
        let line = refusal(keys, &answer);
        assert!(
            line.contains("cause=\"handshake\"") && line.contains("subprotocol `v3`"),
            "{line}"
        );
    }
}

#[test]
fn an_answer_that_lacks_what_the_rfc_demands_is_refused_in_words() {
    for (headers, words) in [
        ("Connection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n", "without `Upgrade: websocket`"),
        ("Upgrade: websocket\r\nSec-WebSocket-Accept: KEY\r\n", "without `Connection: Upgrade`"),
        ("Upgrade: websocket\r\nConnection: Upgrade\r\n", "without `Sec-WebSocket-Accept`"),
        (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n",
            "does not match the key",
        ),
        (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\nSec-WebSocket-Accept: AAAA\r\n",
            "does not match the key",
        ),
    ] {
        let line =
            refusal(json!({}), &format!("HTTP/1.1 101 Switching Protocols\r\n{headers}\r\n"));
        assert!(line.contains("cause=\"handshake\"") && line.contains(words), "{line}");
    }
}

/// The end of a connection on which a server refuses the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterRefusal {
    Close,
    Keep,
    Reset,
}

/// Plays a refusal, which is sent in the parts that `|` separates, and returns the log line of the
/// disconnect.
fn play_refusal(parts: &'static str, after: AfterRefusal) -> String {
    let server = Server::start(move |_, peer| {
        peer.read_request();
        for part in parts.split('|') {
            peer.send(part.as_bytes());
            peer.wait_until_read();
        }
        match after {
            AfterRefusal::Keep => {}
            AfterRefusal::Close => peer.end_stream(),
            AfterRefusal::Reset => peer.reset(),
        }
        peer.wait_for_end();
    });
    let keys = json!({ "connect_timeout": "1s" });
    let recorder = Test::with_source(&server.url(), keys).start();
    recorder.wait_for(&["disconnected"])
}

#[test]
fn a_refusal_is_reported_with_its_status_its_words_and_its_pause() {
    use AfterRefusal::{Close, Keep};
    for (parts, after) in [
        ("HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 8\r\n\r\n|too many", Keep),
        ("HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 8\r\n|\r\nt|oo| many", Keep),
        (
            "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntoo \r\n|4;x=y\r\nma|ny\r\n0\r\n\r\n",
            Keep,
        ),
        ("HTTP/1.0 429 Slow Down\r\nRetry-After: 7\r\n\r\n|too many", Close),
        ("HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\n\r\n|too many", Keep),
        ("HTTP/1.1 429 Slow Down\nretry-after:7\n\ntoo many", Close),
        ("HTTP/1.1 100 Continue\r\n\r\n|HTTP/1.1 429 Slow Down\nretry-after:7\n\n|too many", Close),
    ] {
        let line = play_refusal(parts, after);
        assert!(line.contains("detail=\"429 Slow Down: too many\""), "{parts}: {line}");
        assert!(line.contains("cause=\"http\"") && line.contains("retry_in=7s"), "{line}");
    }
}

#[test]
fn what_has_come_of_a_refusal_is_told_although_it_breaks_off() {
    use AfterRefusal::{Close, Keep, Reset};
    let whole = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nRetry-Af";
    for (parts, after, words) in [
        (whole, Close, "the server closed the connection within its answer"),
        (whole, Keep, "the WebSocket handshake took more than 1s"),
        (whole, Reset, "Connection reset by peer"),
        ("HTTP/1.2 503 Bu\0sy\r\n|Retry-After: 7\n", Close, "within its answer"),
    ] {
        let line = play_refusal(parts, after);
        assert!(line.contains("detail=\"503 Bu") && line.contains("cut short: "), "{line}");
        assert!(line.contains(words) && line.contains("cause=\"http\""), "{line}");
        assert!(line.contains("retry_in=7s"), "{line}");
    }
    let line = play_refusal("HTTP/1.1 503", Close);
    assert!(line.contains("503 Service Unavailable (cut short: "), "{line}");
    for parts in ["HTTP/1.1 101 Switching Protocols\r\nUpgrade: websock", "HTTP/1.1 100\r\n"] {
        let line = play_refusal(parts, Close);
        assert!(line.contains("cause=\"eof\"") && line.contains("within its answer"), "{line}");
    }
}

#[test]
fn a_server_that_refuses_before_it_reads_the_request_is_quoted() {
    let server = Server::start(|_, peer| {
        peer.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nlate");
        // What the client has sent and nobody read makes this a reset.
        drop(peer.stream.shutdown(std::net::Shutdown::Both));
    });
    let recorder = Test::with_source(&server.url(), json!({})).start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("503 Busy") && line.contains("retry_in=7s"), "{line}");
}

#[test]
fn the_words_of_a_refusal_are_cut_and_never_awaited_for_long() {
    let server = Server::start(|number, peer| {
        peer.read_request();
        peer.send_note(number.to_string());
        peer.send(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n");
        // An endless body: the recorder does not read it to the end.
        while peer.stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let recorder = Test::with_source(&server.url(), json!({})).start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains(&format!("503 Busy: {}", "x".repeat(300))), "{line}");
    assert!(!line.contains(&"x".repeat(1_000)), "{line}");
    let silent = Server::start(|number, peer| {
        peer.read_request();
        peer.send_note(number.to_string());
        peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\n");
        peer.wait_for_end();
    });
    let recorder = Test::with_source(&silent.url(), json!({ "connect_timeout": "1h" })).start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("detail=\"503 Busy\""), "{line}");
}

#[test]
fn an_endless_head_is_refused_at_a_limit_of_size() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\n");
        while peer.stream.write_all(b"X-Header: value\r\n").is_ok() {}
    });
    let recorder = Test::with_source(&server.url(), json!({})).start();
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("cause=\"handshake\"") && line.contains("head of more than"), "{line}");
}

#[test]
fn a_server_that_speaks_another_protocol_is_quoted() {
    for (answer, words) in [
        ("220 smtp.example.org ESMTP\r\n", "220 smtp.example.org ESMTP"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2"),
        ("\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}F", "`wss://`"),
        ("HTTP/2 200\r\n\r\n", "HTTP/2 200"),
        ("HTTP/1.1 OK\r\n\r\n", "has no status, which is a number of three digits: HTTP/1.1 OK"),
        ("\0\0\u{6}\u{4}\0\0\0\0\0\0\u{3}\0\0\0d", "is HTTP/2"),
    ] {
        let line = refusal(json!({}), answer);
        assert!(line.contains("cause=\"handshake\"") && line.contains(words), "{line}");
    }
}

/// Answers the offer of compression with these extensions, and a request without an offer as it
/// should be. Returns the requests of two connects, the log and the status.
fn fall_back(extensions: &'static str) -> (String, String, String, Value) {
    let server = start_server(move |number| {
        let extensions = if number == 0 { extensions } else { "" };
        let header = format!("Sec-WebSocket-Extensions: {extensions}\r\n");
        format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}{header}\r\n")
    });
    let test = Test::with_source(&server.url(), json!({ "topics": [TOPIC] }));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    let status = recorder.status();
    recorder.stop();
    assert_eq!(test.recorded(), format!("{MESSAGE}\n").as_bytes());
    (server.next_note(), server.next_note(), test.log(), status)
}

#[test]
fn a_slip_in_the_agreement_on_compression_costs_one_connect_and_no_message() {
    for extensions in [
        "permessage-deflate, permessage-deflate",
        "x-webkit-deflate-frame",
        "permessage-deflate; color=blue",
        "permessage-bzip2",
    ] {
        let (first, second, log, status) = fall_back(extensions);
        assert!(first.contains("\r\nSec-WebSocket-Extensions: permessage-deflate;"), "{first}");
        assert!(!second.contains("Sec-WebSocket-Extensions"), "{second}");
        assert_eq!(log.matches("the server's compression is faulty").count(), 1, "{log}");
        assert!(log.contains(extensions), "{log}");
        // The second connect follows the first at once, as a part of it.
        assert_eq!((&status["connects"], &status["last_error"]), (&json!(1), &Value::Null));
    }
}

#[test]
fn an_extension_that_was_not_offered_is_never_recorded() {
    for (keys, extension, words) in [
        (json!({ "deflate": "off" }), "permessage-deflate", "compression, which was not offered"),
        (json!({ "deflate": "off" }), "x-checksum", "extensions `x-checksum`: it was not offered"),
        (json!({ "deflate": "off" }), "permessage-deflate, x", "at most one was offered"),
        // Nothing is offered after the first connect.
        (json!({}), "x-checksum", "extensions `x-checksum`: it was not offered"),
    ] {
        let header = format!("Sec-WebSocket-Extensions: {extension}\r\n");
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}{header}\r\n");
        let server = start_server(move |_| answer.clone());
        let test = Test::with_source(&server.url(), keys);
        let recorder = test.start();
        let line = recorder.wait_for(&["disconnected"]);
        assert!(line.contains("cause=\"handshake\"") && line.contains(words), "{line}");
        assert_eq!(recorder.status()["messages"], 0);
        recorder.stop();
        assert!(test.recorded().is_empty());
    }
    assert_recorded(
        json!({ "deflate": "off" }),
        &format!("HTTP/1.1 101 Yes\r\n{ACCEPT}Sec-WebSocket-Extensions: ,\r\n\r\n"),
    );
}

#[test]
fn an_agreement_on_compression_that_changes_nothing_for_the_decoder_is_taken() {
    for extensions in [
        "Permessage-Deflate",
        "permessage-deflate; client_max_window_bits=15",
        "permessage-deflate; client_max_window_bits=9; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=\"15\"",
        "permessage-deflate; SERVER_NO_CONTEXT_TAKEOVER; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=99",
    ] {
        let header = format!("Sec-WebSocket-Extensions: {extensions}\r\n");
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{ACCEPT}{header}\r\n");
        assert_recorded(json!({}), &answer);
    }
}

#[test]
fn a_server_whose_messages_cannot_be_inflated_is_asked_for_them_without_compression() {
    // Compressed although it was not agreed on, with a broken block, and broken off.
    for (extensions, payload) in [
        ("", &b"\x02\x00"[..]),
        ("Sec-WebSocket-Extensions: permessage-deflate\r\n", b"\xFF\xFF\xFF"),
        ("Sec-WebSocket-Extensions: permessage-deflate\r\n", b"\xF2\x48\xCD\xC9\xC9"),
    ] {
        let server = Server::start(move |number, peer| {
            peer.read_request();
            peer.send_note(peer.request.clone());
            let head = String::from_utf8(peer.handshake_response()).unwrap();
            let offered = peer.header("Sec-WebSocket-Extensions").is_some();
            let extensions = if offered { extensions } else { "" };
            peer.send(head.trim_end().as_bytes());
            peer.send(format!("\r\n{extensions}\r\n").as_bytes());
            peer.send_text(&format!("before {number}"));
            if offered {
                peer.send_frame(0xC1, payload);
            }
            peer.answer_until_end();
        });
        let test = Test::with_source(&server.url(), json!({}));
        let recorder = test.start();
        recorder.wait_for_messages(2);
        let status = recorder.status();
        assert_eq!(status["disconnects"], json!({ "protocol": 1 }));
        recorder.stop();
        assert_eq!(String::from_utf8(test.recorded()).unwrap(), "before 0\nbefore 1\n");
        assert!(server.next_note().contains("permessage-deflate"));
        assert!(!server.next_note().contains("permessage-deflate"));
        let log = test.log();
        assert_eq!(log.matches("the server's compression is faulty").count(), 1, "{log}");
    }
}
