//! Links on real sockets; the other end does what is told at once.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::task::Poll;

use serde_json::json;
use tokio::io::BufReader;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

use super::*;
use crate::sources::websocket::BinaryEncoding;
use crate::sources::websocket::frame_decoder::FrameLimits;
use crate::sources::websocket::request_builder::{RequestBuilder, SubscribeMessages};
use crate::sources::websocket::rules::Rules;
use crate::sources::websocket::subscription_tracker::ProtocolSettings;

const READ_TIMEOUT: Duration = Duration::from_secs(30);
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;

fn settings(topics: Vec<String>) -> ProtocolSettings {
    let subscribe = SubscribeMessages::Template(json!({ "ask": "{topic}" }));
    ProtocolSettings {
        requests: RequestBuilder::new(topics, "{topic}", json!("{topic}"), subscribe).unwrap(),
        rules: Rules::compile(&[]).unwrap(),
        opening_messages: Vec::new(),
        welcome: None,
        topics_per_request: 1,
        request_interval: Duration::ZERO,
        topic_pointer: None,
        skip_control: false,
        silence_timeout: None,
        topic_silence: None,
        secrets: crate::base::secrets::Secrets::new(Vec::new()),
        shard: 0,
    }
}

/// A link and the server's end of it.
async fn connect(
    manners: ProtocolSettings,
    liveness: KeepAlive,
) -> (WebsocketConnection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    server.set_nodelay(true).unwrap();
    let stats = Arc::<PipelineStats>::default();
    let watch = SubscriptionTracker::new(&Arc::new(manners), Arc::clone(&stats));
    let frames = FrameDecoder::new(
        FrameLimits { max_message_bytes: 1 << 20, max_batch_messages: 1_000 },
        BinaryEncoding::default(),
    );
    let stream = Box::new(BufReader::new(client));
    (WebsocketConnection::new(stream, Vec::new(), frames, watch, liveness, stats), server)
}

fn no_keep_alive() -> KeepAlive {
    KeepAlive { ping: None, idle_timeout: None }
}

fn send_frame(server: &mut TcpStream, first: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).unwrap();
    server.write_all(&[&[first, length], payload].concat()).unwrap();
}

/// The kind of the client's next frame and its payload, which is short. `None` at the end.
fn receive_frame(server: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
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
async fn read_all(link: &mut WebsocketConnection) -> (Vec<String>, Disconnect) {
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
async fn poll_once(link: &mut WebsocketConnection) -> Option<Disconnect> {
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
async fn messages_before_a_reset_are_read_though_pongs_cannot_be_sent() {
    let (mut link, mut server) = connect(settings(Vec::new()), no_keep_alive()).await;
    send_frame(&mut server, PING, b"?");
    for message in ["one", "two", "three"] {
        send_frame(&mut server, TEXT, message.as_bytes());
        send_frame(&mut server, PING, b"?");
    }
    send_frame(&mut server, CLOSE, &[&1_012_u16.to_be_bytes()[..], b"restart"].concat());
    reset(server);
    let (lines, over) = read_all(&mut link).await;
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(over.cause, DownCause::Closed, "{over:?}");
    assert!(over.detail.contains("1012: restart"), "{over:?}");
}

#[tokio::test]
async fn buffered_messages_are_read_after_a_write_error() {
    let (mut link, mut server) = connect(settings(Vec::new()), no_keep_alive()).await;
    send_frame(&mut server, TEXT, b"one");
    let mut batch = Batch::new();
    link.read(&mut batch).await.unwrap();
    // After a read of less than there was room for the runtime asks the system again only when it has
    // told of more.
    send_frame(&mut server, TEXT, b"two");
    reset(server);
    link.queue_frame(Frame::ping(Vec::new()));
    let (lines, over) = read_all(&mut link).await;
    assert_eq!(lines, ["two"], "{over:?}");
}

#[tokio::test]
async fn the_close_reason_is_read_when_the_server_rejects_the_subscription() {
    for message in [Some("no more connections"), None] {
        let topics = settings(vec!["a".to_owned()]);
        let (mut link, mut server) = connect(topics, no_keep_alive()).await;
        if let Some(message) = message {
            send_frame(&mut server, TEXT, message.as_bytes());
        }
        send_frame(&mut server, CLOSE, &1_008_u16.to_be_bytes());
        reset(server);
        let begun = link.send_subscription().await;
        if let Some(message) = message {
            begun.unwrap();
            let (lines, over) = read_all(&mut link).await;
            assert_eq!((lines, over.cause), (vec![message.to_owned()], DownCause::Closed));
        } else {
            let over = begun.unwrap_err();
            assert!(over.detail.contains("1008"), "{over:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_the_recorder_does_not_count_as_server_silence() {
    let idle = Some(Duration::from_secs(10));
    let silence = Some(Duration::from_secs(4));
    let manners = ProtocolSettings { silence_timeout: silence, ..settings(vec!["a".to_owned()]) };
    let (mut link, mut server) =
        connect(manners, KeepAlive { ping: None, idle_timeout: idle }).await;
    link.send_subscription().await.unwrap();
    let ask = (TEXT, br#"{"ask":"a"}"#.to_vec());
    assert_eq!(receive_frame(&mut server), Some(ask.clone()));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(poll_once(&mut link).await.map(|over| over.detail), None);
    assert_eq!(receive_frame(&mut server), Some((PING, Vec::new())));
    assert_eq!(receive_frame(&mut server), Some(ask), "it is silent, and asked again");
    // The answers are there before the time is up, but nobody looks.
    send_frame(&mut server, PONG, b"");
    send_frame(&mut server, TEXT, b"data");
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..3 {
        assert_eq!(poll_once(&mut link).await.map(|over| over.detail), None);
    }
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(poll_once(&mut link).await.map(|over| over.detail), None, "asked again at first");
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(poll_once(&mut link).await.unwrap().cause, DownCause::Silent);
}

#[tokio::test]
async fn requests_wait_while_the_server_does_not_read() {
    const TOPICS: usize = 30_000;
    let topics = (0..TOPICS).map(|topic| format!("a-topic-with-a-long-name-{topic:08}")).collect();
    let welcome =
        Some(Rules::from_pattern(&serde_json::from_value(json!({ "/type": "welcome" })).unwrap()));
    let welcome = welcome.transpose().unwrap();
    let (mut link, mut server) =
        connect(ProtocolSettings { welcome, ..settings(topics) }, no_keep_alive()).await;
    link.send_subscription().await.unwrap();
    let reader = std::thread::spawn(move || {
        send_frame(&mut server, TEXT, br#"{"type":"welcome"}"#);
        // More than the sockets' buffers hold waits to be sent.
        let asked = (0..TOPICS).map_while(|_| receive_frame(&mut server)).count();
        send_frame(&mut server, CLOSE, &1_000_u16.to_be_bytes());
        asked
    });
    let (lines, over) = read_all(&mut link).await;
    assert_eq!((lines.len(), over.cause), (1, DownCause::Closed), "{over:?}");
    assert_eq!(reader.join().unwrap(), TOPICS);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_the_close_frame() {
    let ping = Some((json!("ping"), Duration::from_secs(1)));
    let (mut link, mut server) =
        connect(settings(Vec::new()), KeepAlive { ping, idle_timeout: None }).await;
    assert_eq!(link.close(), CloseStatus::Draining);
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(poll_once(&mut link).await.map(|over| over.detail), None);
    }
    drop(link);
    assert_eq!(receive_frame(&mut server).map(|(kind, _)| kind), Some(CLOSE));
    assert_eq!(receive_frame(&mut server), None);
}
