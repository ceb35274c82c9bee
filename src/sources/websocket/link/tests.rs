//! Links on real sockets; the other end does what is told at once.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::task::Poll;

use serde_json::json;
use tokio::io::BufReader;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

use super::*;
use crate::sources::websocket::Encoding;
use crate::sources::websocket::conversation::{Conversation, Subscribe};
use crate::sources::websocket::frames::Limits;
use crate::sources::websocket::rules::Rules;
use crate::sources::websocket::watch::Manners;

const PATIENCE: Duration = Duration::from_secs(30);
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

fn manners(topics: Vec<String>) -> Manners {
    let subscribe = Subscribe::Template(json!({ "ask": "{topic}" }));
    Manners {
        conversation: Conversation::new(topics, "{topic}", json!("{topic}"), subscribe).unwrap(),
        rules: Rules::of(&[]).unwrap(),
        opening: Vec::new(),
        welcome: None,
        topics_per_request: 1,
        request_interval: Duration::ZERO,
        topic_pointer: None,
        skip: false,
        silence_timeout: None,
        topic_silence: None,
        secrets: crate::secrets::Secrets::new(Vec::new()),
        shard: 0,
    }
}

/// A link and the server's end of it.
async fn connect(manners: Manners, liveness: Liveness) -> (Link, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    server.set_nodelay(true).unwrap();
    let stats = Arc::<Stats>::default();
    let watch = Watch::new(&Arc::new(manners), Arc::clone(&stats));
    let frames = Unframer::new(Limits { message: 1 << 20, batch: 1_000 }, Encoding::default());
    let stream = Box::new(BufReader::new(client));
    (Link::new(stream, Vec::new(), frames, watch, liveness, stats), server)
}

fn nothing_kept_alive() -> Liveness {
    Liveness { ping: None, idle: None }
}

fn say(server: &mut TcpStream, first: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).unwrap();
    server.write_all(&[&[first, length], payload].concat()).unwrap();
}

/// The kind of the client's next frame and its payload, which is short. `None` at the end.
fn heard(server: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 6];
    server.read_exact(&mut head).ok()?;
    let mut payload = vec![0; usize::from(head[1] & 0x7F)];
    server.read_exact(&mut payload).unwrap();
    for (byte, mask) in payload.iter_mut().zip(head[2..].iter().cycle()) {
        *byte ^= mask;
    }
    Some((head[0], payload))
}

/// Reads to the end of the link.
async fn read_all(link: &mut Link) -> (Vec<String>, Disconnect) {
    let mut lines = Vec::new();
    loop {
        let mut batch = Batch::new();
        match link.read(&mut batch).await {
            Ok(()) => lines
                .extend(batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap())),
            Err(over) => return (lines, over),
        }
    }
}

/// Lets the link do what it can do now; `Some` when it is over.
async fn step(link: &mut Link) -> Option<Disconnect> {
    // What has come in the meantime is known to the runtime after this.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    let mut batch = Batch::new();
    let mut read = Box::pin(link.read(&mut batch));
    match poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await {
        Poll::Ready(read) => read.err(),
        Poll::Pending => None,
    }
}

fn reset(server: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO)).unwrap();
    drop(server);
}

#[tokio::test]
async fn what_came_before_a_reset_is_read_though_the_ping_cannot_be_answered() {
    let (mut link, mut server) = connect(manners(Vec::new()), nothing_kept_alive()).await;
    say(&mut server, PING, b"?");
    for message in ["one", "two", "three"] {
        say(&mut server, TEXT, message.as_bytes());
        say(&mut server, PING, b"?");
    }
    say(&mut server, CLOSE, &[&1_012_u16.to_be_bytes()[..], b"restart"].concat());
    reset(server);
    let (lines, over) = read_all(&mut link).await;
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(over.cause, Cause::Closed, "{over:?}");
    assert!(over.detail.contains("1012: restart"), "{over:?}");
}

#[tokio::test]
async fn what_the_system_has_of_a_connection_on_which_nothing_can_be_sent_is_read() {
    let (mut link, mut server) = connect(manners(Vec::new()), nothing_kept_alive()).await;
    say(&mut server, TEXT, b"one");
    let mut batch = Batch::new();
    link.read(&mut batch).await.unwrap();
    // After a read of less than there was room for the runtime asks the system again only when it has
    // told of more.
    say(&mut server, TEXT, b"two");
    reset(server);
    link.queue(Frame::ping(Vec::new()));
    let (lines, over) = read_all(&mut link).await;
    assert_eq!(lines, ["two"], "{over:?}");
}

#[tokio::test]
async fn what_a_server_says_instead_of_taking_the_subscription_is_read() {
    for message in [Some("no more connections"), None] {
        let topics = manners(vec!["a".to_owned()]);
        let (mut link, mut server) = connect(topics, nothing_kept_alive()).await;
        if let Some(message) = message {
            say(&mut server, TEXT, message.as_bytes());
        }
        say(&mut server, CLOSE, &1_008_u16.to_be_bytes());
        reset(server);
        let begun = link.begin().await;
        if let Some(message) = message {
            begun.unwrap();
            let (lines, over) = read_all(&mut link).await;
            assert_eq!((lines, over.cause), (vec![message.to_owned()], Cause::Closed));
        } else {
            let over = begun.unwrap_err();
            assert!(over.detail.contains("1008"), "{over:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_our_own_is_not_the_servers_silence() {
    let idle = Some(Duration::from_secs(10));
    let silence = Some(Duration::from_secs(4));
    let manners = Manners { silence_timeout: silence, ..manners(vec!["a".to_owned()]) };
    let (mut link, mut server) = connect(manners, Liveness { ping: None, idle }).await;
    link.begin().await.unwrap();
    let ask = (TEXT, br#"{"ask":"a"}"#.to_vec());
    assert_eq!(heard(&mut server), Some(ask.clone()));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(step(&mut link).await.map(|over| over.detail), None);
    assert_eq!(heard(&mut server), Some((PING, Vec::new())));
    assert_eq!(heard(&mut server), Some(ask), "it is silent, and asked again");
    // The answers are there before the time is up, but nobody looks.
    say(&mut server, PONG, b"");
    say(&mut server, TEXT, b"data");
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..3 {
        assert_eq!(step(&mut link).await.map(|over| over.detail), None);
    }
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(step(&mut link).await.map(|over| over.detail), None, "asked again at first");
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(step(&mut link).await.unwrap().cause, Cause::Silent);
}

#[tokio::test]
async fn requests_beyond_what_the_server_takes_at_once_wait_for_it() {
    const TOPICS: usize = 30_000;
    let topics = (0..TOPICS).map(|topic| format!("a-topic-with-a-long-name-{topic:08}")).collect();
    let welcome =
        Some(Rules::welcome(&serde_json::from_value(json!({ "/type": "welcome" })).unwrap()));
    let welcome = welcome.transpose().unwrap();
    let (mut link, mut server) =
        connect(Manners { welcome, ..manners(topics) }, nothing_kept_alive()).await;
    link.begin().await.unwrap();
    let reader = std::thread::spawn(move || {
        say(&mut server, TEXT, br#"{"type":"welcome"}"#);
        // More than the sockets' buffers hold waits to be sent.
        let asked = (0..TOPICS).map_while(|_| heard(&mut server)).count();
        say(&mut server, CLOSE, &1_000_u16.to_be_bytes());
        asked
    });
    let (lines, over) = read_all(&mut link).await;
    assert_eq!((lines.len(), over.cause), (1, Cause::Closed), "{over:?}");
    assert_eq!(reader.join().unwrap(), TOPICS);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_after_the_close_frame() {
    let ping = Some((json!("ping"), Duration::from_secs(1)));
    let (mut link, mut server) = connect(manners(Vec::new()), Liveness { ping, idle: None }).await;
    assert_eq!(link.close(), Closing::Draining);
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(step(&mut link).await.map(|over| over.detail), None);
    }
    drop(link);
    assert_eq!(heard(&mut server).map(|(kind, _)| kind), Some(CLOSE));
    assert_eq!(heard(&mut server), None);
}
