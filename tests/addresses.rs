//! Hosts with several addresses, in a file `hosts` of the test's own.

use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use serde_json::json;

use crate::harness::{Server, Test};

/// Makes an address swallow packets: its queue of connections is full and nobody accepts them.
fn swallow(address: SocketAddr) -> Option<(rustix::fd::OwnedFd, Vec<TcpStream>)> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let listener = socket(family, SocketType::STREAM, None).ok()?;
    bind(&listener, &address).ok()?;
    listen(&listener, 0).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
    }
    Some((listener, queued))
}

fn start_server() -> Server {
    Server::start(|_, peer| {
        peer.accept_subscription();
        peer.send_text("{}");
        // Every connection ends, so that the recorder connects again.
        peer.end_stream();
    })
}

#[test]
fn an_address_that_swallows_packets_does_not_take_a_share_of_every_connect() {
    let server = start_server();
    let port: u16 = server.url().rsplit(':').next().unwrap().parse().unwrap();
    // The resolver sorts addresses of IPv6 first.
    let Some(_hole) = swallow(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) else { return };
    let url = format!("ws://several.test:{port}");
    // A share of this would be more than the test waits.
    let test = Test::with_source(&url, json!({ "connect_timeout": "5m" }));
    let Some(test) = test.with_hosts("::1 several.test\n127.0.0.1 several.test\n") else { return };
    let recorder = test.start();
    recorder.wait_until(|status| status["connects"].as_u64().unwrap() >= 3);
    recorder.stop();
}

#[test]
fn an_address_of_a_proxy_that_swallows_packets_does_not_take_a_share_either() {
    let server = Server::start(|_, peer| {
        peer.read_request();
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n");
        peer.accept_subscription();
        peer.send_text("{}");
        peer.answer_until_end();
    });
    let port: u16 = server.url().rsplit(':').next().unwrap().parse().unwrap();
    let Some(_hole) = swallow(SocketAddr::from((Ipv6Addr::LOCALHOST, port))) else { return };
    let proxy = format!("http://several.test:{port}");
    let keys = json!({ "connect_timeout": "5m", "proxy": proxy });
    let test = Test::with_source("ws://feed.invalid", keys);
    let Some(test) = test.with_hosts("::1 several.test\n127.0.0.1 several.test\n") else { return };
    let recorder = test.start();
    recorder.wait_for_messages(1);
    recorder.stop();
}

#[test]
fn an_address_that_accepts_and_never_answers_is_tried_last_the_next_time() {
    let server = start_server();
    let port: u16 = server.url().rsplit(':').next().unwrap().parse().unwrap();
    let silent = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port));
    let Ok(_silent) = silent else { return };
    let url = format!("ws://several.test:{port}");
    let test = Test::with_source(&url, json!({ "connect_timeout": "1s" }));
    let Some(test) = test.with_hosts("::1 several.test\n127.0.0.1 several.test\n") else { return };
    let recorder = test.start();
    recorder.wait_for(&["disconnected", "connect_timeout"]);
    recorder.wait_until(|status| status["connects"].as_u64().unwrap() >= 2);
    recorder.stop();
    assert_eq!(test.log().matches("connect_timeout").count(), 1, "{}", test.log());
}

/// Answers every question for an address with 127.0.0.1, as a name server does (RFC 1035).
fn serve_names(socket: &UdpSocket) {
    const TYPE_A: [u8; 2] = [0, 1];
    let mut question = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut question) {
        let question = &question[..length];
        // The question ends with its type and its class. There may be an additional record after it.
        let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
        let is_address = question[name_end..name_end + 2] == TYPE_A;
        let mut answer = question[..2].to_vec();
        answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_address), 0, 0, 0, 0]);
        answer.extend(&question[12..name_end + 4]);
        if is_address {
            answer.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
        }
        // The recorder may be gone.
        drop(socket.send_to(&answer, client));
    }
}

#[test]
fn a_dead_first_name_server_keeps_no_connect_from_succeeding() {
    // Nobody reads what the first one gets.
    let Ok(_dead) = UdpSocket::bind("127.0.0.91:53") else { return };
    let Ok(alive) = UdpSocket::bind("127.0.0.92:53") else { return };
    std::thread::spawn(move || serve_names(&alive));
    let server = start_server();
    let url = server.url().replace("127.0.0.1", "feed.test");
    // The resolver turns to the second name server after five seconds.
    let test = Test::with_source(&url, json!({ "connect_timeout": "2s" }));
    let Some(test) = test.with_name_servers(&["127.0.0.91", "127.0.0.92"]) else { return };
    let recorder = test.start();
    recorder.wait_for(&["disconnected", "the name look-up of feed.test took more than 2s"]);
    recorder.wait_until(|status| status["connects"].as_u64().unwrap() >= 2);
    recorder.stop();
}

#[test]
fn every_address_is_named_in_the_error() {
    let test = Test::with_source("ws://several.test:1", json!({}));
    let Some(test) = test.with_hosts("127.0.0.2 several.test\n127.0.0.1 several.test\n") else {
        return;
    };
    let recorder = test.start();
    let line = recorder.wait_for(&["disconnected", "cause=\"connect\""]);
    for address in ["127.0.0.1", "127.0.0.2"] {
        assert!(line.contains(&format!("{address}:1: Connection refused")), "{line}");
    }
    recorder.stop();
}
