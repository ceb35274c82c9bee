//! The request over HTTP that returns the URL of the feed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::harness::{Peer, Server, TOPIC, Test};

/// Returns a test whose profile asks this URL for that of the feed.
fn test_with_bootstrap(post: &str, keys: &Value) -> Test {
    let profile = json!({
        "about": "mine",
        "url": "wss://unused.invalid",
        "bootstrap": { "post": post, "url": "{/url}" },
        "subscribe": { "op": "subscribe", "args": "{topics}" },
    });
    let test = Test::new("ws://unused.invalid");
    let dir = test.path("profiles");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("mine.json"), profile.to_string()).unwrap();
    let mut source = json!({
        "type": "websocket", "profile": "mine", "profile_dir": dir, "topics": [TOPIC],
    });
    source.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    test.without("topic").without("ws_url").set("source", source)
}

fn first_line(peer: &mut Peer) -> String {
    peer.read_request();
    peer.request.lines().next().unwrap().to_owned()
}

#[test]
fn the_answer_may_be_redirected_compressed_and_of_any_form() {
    let server = Server::start(|number, peer| match number {
        0 => {
            let line = first_line(peer);
            peer.send_note(line);
            let location = "/moved?x=1#fragment";
            let head = format!("HTTP/1.1 307 Moved\r\nLocation: {location}\r\n\r\n");
            peer.send(head.as_bytes());
        }
        1 => {
            let line = first_line(peer);
            peer.send_note(line);
            peer.send(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\nmuch to do");
            peer.end_stream();
        }
        2 => {
            first_line(peer);
            let host = peer.header("Host").unwrap().to_owned();
            let head = format!("HTTP/1.1 303 See\r\nLocation: //{host}/see\r\n\r\n");
            peer.send(head.as_bytes());
        }
        3 => {
            let line = first_line(peer);
            peer.send_note(line);
            assert!(peer.header("Accept-Encoding").unwrap().contains("gzip"));
            let url = json!({ "url": format!("ws://{}/feed", peer.header("Host").unwrap()) });
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(url.to_string().as_bytes()).unwrap();
            let body = gzip.finish().unwrap();
            let many = "X-Any: value\r\n".repeat(6_000);
            let head = format!(
                "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n{many}X-Folded: a\r\n b\r\nX-Odd: c\r\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
                body.len()
            );
            peer.send(&[head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat());
            peer.wait_for_end();
        }
        _ => {
            peer.accept_subscription();
            peer.send_text("{}");
            peer.answer_until_end();
        }
    });
    let post = server.url().replace("ws:", "http:") + "/boot";
    let test = test_with_bootstrap(&post, &json!({}));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
    assert_eq!(server.next_note(), "POST /boot HTTP/1.1");
    assert_eq!(server.next_note(), "POST /moved?x=1 HTTP/1.1");
    assert_eq!(server.next_note(), "GET /see HTTP/1.1");
    let log = test.log();
    assert!(log.contains("/moved answered 503 Busy: much to do"), "{log}");
}

#[test]
fn a_redirect_that_is_not_followed_says_where_and_why() {
    let server = Server::start(|number, peer| {
        peer.read_request();
        let location = match number {
            0 => "ftp://elsewhere.invalid/x?token=token-in-location",
            _ => "/again",
        };
        let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        peer.send(head.as_bytes());
        peer.end_stream();
    });
    let post = server.url().replace("ws:", "http:") + "/boot";
    let test = test_with_bootstrap(&post, &json!({}));
    let recorder = test.start();
    recorder.wait_for(&["302 Found, redirected to ftp://elsewhere.invalid/x; it is not followed"]);
    recorder.wait_for(&["it is not followed: 5 redirects came before it"]);
    recorder.stop();
    assert!(!test.log().contains("token-in-location"));
}

#[test]
fn the_request_goes_through_the_proxy_whose_words_are_kept() {
    let proxy = Server::start(|number, peer| {
        assert!(first_line(peer).starts_with("CONNECT "));
        match number {
            0 => {
                peer.send(b"HTTP/1.1 407 Auth\r\nContent-Length: 11\r\n\r\nwho are you");
                peer.wait_for_end();
            }
            1 => {
                peer.send(b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 201 Created\r\n\r\n");
                assert_eq!(first_line(peer), "POST /boot HTTP/1.1");
                let body = json!({ "url": "ws://feed.invalid/x" }).to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                peer.send((head + &body).as_bytes());
                peer.wait_for_end();
            }
            _ => {
                peer.send(b"HTTP/1.1 200 OK\r\n\r\n");
                peer.accept_subscription();
                peer.send_text("{}");
                peer.answer_until_end();
            }
        }
    });
    let keys = json!({ "proxy": proxy.url().replace("ws:", "http:") });
    let test = test_with_bootstrap("http://boot.invalid/boot", &keys);
    let recorder = test.start();
    recorder.wait_for(&["407", "who are you"]);
    recorder.wait_for_messages(1);
    recorder.stop();
}

#[test]
fn the_certificate_in_the_file_is_trusted() {
    let feed = Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = json!({ "url": feed.url() }).to_string();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, tcp.unwrap());
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend_from_slice(&byte);
            }
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .unwrap();
        }
    });
    let post = format!("https://localhost:{port}/boot");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), own.cert.pem()).unwrap();
    let test = test_with_bootstrap(&post, &json!({ "tls": { "ca_file": file.path() } }));
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
}
