//! Connecting through proxies of other projects, and through a scripted one.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Server, TOPIC, Test, tool};

/// A running proxy, which is killed when this is dropped.
struct Proxy {
    child: Child,
    port: u16,
}

impl Proxy {
    /// Starts the program with the arguments for a free port.
    fn start(program: Command, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        // The port was free a moment ago. The recorder retries until the proxy listens.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut program = program;
        let program = program.args(arguments(port)).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: program.spawn().unwrap(), port }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start_greeting_server() -> Server {
    Server::start(|_, peer| {
        peer.accept();
        peer.send_text("by way of a proxy");
        peer.answer_until_end();
    })
}

/// Records through the proxy with the right password. Returns the error for a wrong password.
fn record_through(scheme: &str, proxy: &Proxy) -> String {
    let server = start_greeting_server();
    let test = |password: &str| {
        let url = format!("{scheme}://someone:{password}@127.0.0.1:{}", proxy.port);
        Test::with_source(&server.url(), json!({ "topics": [TOPIC], "proxy": url }))
    };
    let right = test("${PROXY_PASSWORD}").env("PROXY_PASSWORD", "s3cret");
    let recorder = right.start();
    recorder.wait_for_messages(1);
    recorder.stop();
    assert_eq!(right.recorded(), b"by way of a proxy\n");
    assert!(!right.log().contains("s3cret"), "{}", right.log());
    let wrong = test("guess");
    let recorder = wrong.start();
    let status = recorder.wait_until(|status| !status["last_error"].is_null());
    assert_eq!(status["connects"], 0);
    status["last_error"].to_string()
}

#[test]
fn the_recorder_connects_through_tinyproxy() {
    let Some(program) = tool("tinyproxy") else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tinyproxy.conf");
    let path = config.to_str().unwrap().to_owned();
    let proxy = Proxy::start(program, |port| {
        let keys = "Listen 127.0.0.1\nTimeout 60\nBasicAuth someone s3cret\n";
        std::fs::write(&config, format!("Port {port}\n{keys}")).unwrap();
        vec!["-d".to_owned(), "-c".to_owned(), path.clone()]
    });
    let error = record_through("http", &proxy);
    assert!(error.contains("made no connection: 40"), "{error}");
    assert!(!error.contains("guess"), "{error}");
}

#[test]
fn the_recorder_connects_through_microsocks() {
    let Some(program) = tool("microsocks") else { return };
    let proxy = Proxy::start(program, |port| {
        let port = port.to_string();
        let arguments = ["-i", "127.0.0.1", "-p", &port, "-u", "someone", "-P", "s3cret"];
        arguments.map(str::to_owned).to_vec()
    });
    let error = record_through("socks5", &proxy);
    assert!(error.contains("made no connection"), "{error}");
}

#[test]
fn a_proxy_of_the_environment_is_used_and_resolves_the_host_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::start(|_, peer| {
        // The head of the CONNECT request comes first, then the tunnel.
        peer.read_request();
        peer.send_note(peer.request.lines().next().unwrap());
        peer.send(b"HTTP/1.1 200 OK\r\nProxy-Agent: a test\r\n\r\n");
        peer.accept();
        peer.send_text("through");
        peer.answer_until_end();
    });
    drop(listener);
    let url = server.url().replace("ws://", "http://");
    let test = Test::with_source("ws://recorder.invalid:4321/x", json!({})).env("http_proxy", &url);
    let recorder = test.start();
    assert_eq!(server.next_note(), "CONNECT recorder.invalid:4321 HTTP/1.1");
    recorder.wait_for_messages(1);
    recorder.stop();
    // Loopback addresses do not use the proxy.
    let direct = start_greeting_server();
    let refused = format!("http://127.0.0.1:{port}");
    let test = Test::with_source(&direct.url(), json!({})).env("http_proxy", &refused);
    let recorder = test.start();
    recorder.wait_for_messages(1);
}

#[test]
fn a_proxy_that_breaks_the_protocol_or_hangs_up_is_named_in_the_error() {
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 503 Busy\r\n\r\n", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                drop(stream.read(&mut [0; 1024]));
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        let keys = json!({ "proxy": format!("http://{address}") });
        let test = Test::with_source("ws://recorder.invalid", keys);
        let recorder = test.start();
        let status = recorder.wait_until(|status| !status["last_error"].is_null());
        let error = status["last_error"].to_string();
        assert!(error.contains(&format!("the proxy {address} made no connection")), "{error}");
        assert!(
            answer.is_empty() || error.contains(answer.trim_end()) || error.contains("503 Busy")
        );
    }
}

#[test]
fn interim_responses_of_a_proxy_are_skipped_and_its_headers_are_no_body() {
    for answer in [
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Connection established\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 299 Fine\nTransfer-Encoding: chunked\n\n",
    ] {
        let server = Server::start(move |_, peer| {
            peer.read_request();
            peer.send_note(peer.header("User-Agent").unwrap_or("none").to_owned());
            peer.send(answer.as_bytes());
            peer.accept();
            peer.send_note(peer.header("User-Agent").unwrap_or("none").to_owned());
            peer.send_text("through");
            peer.answer_until_end();
        });
        let keys = json!({ "proxy": server.url().replace("ws://", "http://") });
        let test = Test::with_source("ws://recorder.invalid", keys);
        let recorder = test.start();
        let user_agent = format!("streamer/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!([server.next_note(), server.next_note()], [user_agent.clone(), user_agent]);
        recorder.wait_for_messages(1);
        assert_eq!(recorder.status()["disconnects"], json!({}), "{answer}");
        recorder.stop();
        assert_eq!(test.recorded(), b"through\n");
    }
}

#[test]
fn a_refusal_of_a_proxy_is_reported_with_its_words_and_its_pause() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.send_note(peer.header("User-Agent").unwrap_or("none").to_owned());
        peer.send(b"HTTP/1.0 503 Busy\r\nRetry-After: 9\r\n\r\n");
        peer.send(b"the quota is used up");
        peer.end_stream();
    });
    let proxy = server.url().replace("ws://", "http://");
    let keys = json!({ "proxy": proxy, "headers": { "user-agent": "mine" } });
    let recorder = Test::with_source("ws://recorder.invalid", keys).start();
    assert_eq!(server.next_note(), "mine");
    let line = recorder.wait_for(&["disconnected"]);
    assert!(line.contains("made no connection: 503 Busy: the quota is used up"), "{line}");
    assert!(line.contains("cause=\"connect\"") && line.contains("retry_in=9s"), "{line}");
}

#[test]
fn an_invalid_proxy_is_refused_at_the_start() {
    let test = Test::with_source("ws://a.invalid", json!({ "proxy": "https://a:1" }));
    let printed = String::from_utf8(test.run_refused().stderr).unwrap();
    assert!(
        printed.contains("`proxy` is not a proxy") && printed.contains("socks5://"),
        "{printed}"
    );
    let test = Test::with_source("wss://a.invalid", json!({})).env("HTTPS_PROXY", "quic://a");
    let printed = String::from_utf8(test.run_refused().stderr).unwrap();
    assert!(printed.contains("the environment variable `HTTPS_PROXY`"), "{printed}");
}

#[test]
fn a_password_that_would_become_a_host_is_refused_and_not_repeated() {
    for proxy in [
        "http://me:canary#1@proxy.invalid:3128",
        "http://me:12?canary@proxy.invalid:3128",
        "socks5://me:1/canary@proxy.invalid",
        "http://canary#:x@proxy.invalid",
        "http://me:can%ary@proxy.invalid",
        "http://me:can@ary@proxy.invalid",
    ] {
        let configured = Test::with_source("ws://a.invalid", json!({ "proxy": "${PROXY}" }));
        let configured = configured.env("PROXY", proxy);
        let from_env = Test::with_source("ws://a.invalid", json!({})).env("http_proxy", proxy);
        for (test, origin) in [(configured, "source.proxy"), (from_env, "`http_proxy`")] {
            let refused = test.run_refused();
            let printed = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(2), "{proxy}: {printed}");
            assert!(printed.contains(origin) && printed.contains("`%23` for `#`"), "{printed}");
            for piece in ["canary", "can%", "can@", "ary@"] {
                assert!(!printed.contains(piece), "{printed}");
            }
        }
    }
    for (proxy, words) in [
        ("http://proxy.invalid:99999", "the port is not a number from 1 to 65535"),
        ("socks5://proxy.invalid:abc", "the port is not a number from 1 to 65535"),
        ("http://proxy.invalid:", "nothing follows the `:`"),
    ] {
        for test in [
            Test::with_source("ws://a.invalid", json!({ "proxy": proxy })),
            Test::with_source("ws://a.invalid", json!({})).env("http_proxy", proxy),
        ] {
            let printed = String::from_utf8(test.run_refused().stderr).unwrap();
            assert!(printed.contains(words), "{proxy}: {printed}");
        }
    }
}
