//! URLs in other spellings than the normal one.

use serde_json::{Value, json};

use crate::harness::{Server, TOPIC, Test, binary};

/// Starts a server that notes the first line and the host of each request.
fn start_noting_server() -> Server {
    Server::start(|_, peer| {
        peer.read_request();
        let line = peer.request.lines().next().unwrap();
        let host = peer.header("Host").unwrap();
        peer.send_note(format!("{line} Host: {host}"));
        let answer = peer.handshake_response();
        peer.send(&answer);
        peer.send_text("{}");
        peer.answer_until_end();
    })
}

#[test]
fn a_url_is_requested_in_its_normal_form() {
    let server = start_noting_server();
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    for (url, request) in [
        ("ws://LocalHost:PORT?token=x", "GET /?token=x HTTP/1.1 Host: localhost:PORT"),
        (" WS://localhost:PORT ", "GET / HTTP/1.1 Host: localhost:PORT"),
        ("ws://localhost.:PORT/a", "GET /a HTTP/1.1 Host: localhost.:PORT"),
        (
            "Ws://127.0.0.1:PORT/\u{fc}/%c3%bc?q={\u{fc}|a b}",
            "GET /%C3%BC/%c3%bc?q=%7B%C3%BC%7Ca%20b%7D HTTP/1.1 Host: 127.0.0.1:PORT",
        ),
        ("ws://127.0.0.1:PORT/a/../b/.", "GET /b/ HTTP/1.1 Host: 127.0.0.1:PORT"),
    ] {
        let test = Test::with_source(&url.replace("PORT", &port), json!({}));
        let recorder = test.start();
        assert_eq!(server.next_note(), request.replace("PORT", &port), "{url}");
        recorder.wait_for_messages(1);
        recorder.stop();
    }
}

#[test]
fn the_profile_of_a_host_is_found_in_any_spelling() {
    let profile = |url: &str| {
        let test = Test::with_source(url, json!({ "topics": [TOPIC] }));
        let output = binary().args(["check", "--json", "-config"]).arg(test.config()).output();
        let resolved: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        resolved["source"]["profile"].as_str().unwrap().to_owned()
    };
    for url in [
        "wss://stream.bybit.com/v5/public/linear",
        "wss://STREAM.Bybit.com/v5/public/linear",
        "WSS://stream.bybit.com./v5/public/linear",
        " wss://stream.bybit.com:443/v5/public/linear",
        "wss://stream%2Ebybit.com/v5/public/linear",
    ] {
        assert_eq!(profile(url), "bybit", "{url}");
    }
    assert_eq!(profile("wss://stream.bybit.com.example/v5"), "generic");
}

#[test]
fn a_url_that_cannot_be_meant_is_refused_with_a_hint() {
    for (url, words) in [
        ("https://h.invalid/", "write `wss://` instead of `https://`"),
        ("wss://h.invalid:99999/", "the port is not a number from 1 to 65535"),
        ("wss://h.invalid:abc/", "the port is not a number from 1 to 65535"),
        ("wss://h.invalid/?token=canary#x", "write `%23`"),
        ("wss://me:canary/x@h.invalid/", "the port is not a number"),
        ("wss://b\u{fc}cher.invalid/", "`xn--`"),
        ("wss:///v5", "the host is missing"),
        ("wss://h.invalid/a\nb", "a line break"),
    ] {
        let refused = Test::with_source(url, json!({})).run_refused();
        let printed = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{url}: {printed}");
        assert!(printed.contains(words) && printed.contains("source.url"), "{url}: {printed}");
        assert!(!printed.contains("canary"), "{printed}");
    }
}
