//! Tests on real sockets, whose other end acts at once.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::task::Poll;

use serde_json::json;
use tokio::io::BufReader;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;

use super::*;
use crate::base::shard_index::ShardIndex;
use crate::base::units::ConfigDuration;
use crate::sources::websocket::answer_rule::AnswerRule;
use crate::sources::websocket::config::ControlMessages;
use crate::sources::websocket::frame_decoder::FrameLimits;
use crate::sources::websocket::protocol_settings::ProtocolSettings;
use crate::sources::websocket::request_builder::RequestBuilder;
use crate::sources::websocket::rules::Rules;
use crate::sources::websocket::{BinaryEncoding, PingConfig, SubscribeMessages};

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
        control: ControlMessages::Write,
        silence_timeout: None,
        topic_silence: None,
        secrets: crate::base::secrets::Secrets::new(Vec::new()),
        shard: ShardIndex::default(),
    }
}

/// Opens a connection and returns it with the server's socket.
async fn connect(
    settings: ProtocolSettings,
    keep_alive: KeepAlive,
) -> (WebsocketConnection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let server = listener.accept().unwrap().0;
    server.set_read_timeout(Some(READ_TIMEOUT)).unwrap();
    server.set_nodelay(true).unwrap();
    let stats = Arc::<PipelineStats>::default();
    let tracker = SubscriptionTracker::new(&Arc::new(settings), Arc::clone(&stats));
    let decoder = FrameDecoder::new(
        FrameLimits { max_message_bytes: 1 << 20, max_batch_messages: 1_000 },
        BinaryEncoding::default(),
    );
    let stream = Box::new(BufReader::new(client));
    let connection = WebsocketConnection::new(stream, decoder, tracker, keep_alive, stats);
    (connection, server)
}

fn no_keep_alive() -> KeepAlive {
    KeepAlive { ping: None, idle_timeout: None }
}

fn send_frame(server: &mut TcpStream, first: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).unwrap();
    server.write_all(&[&[first, length], payload].concat()).unwrap();
}

/// Reads the client's next frame, whose payload is short. Returns its first byte and its payload, or
/// `None` at the end.
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

/// Reads to the end of the connection.
async fn read_all(connection: &mut WebsocketConnection) -> (Vec<String>, Disconnect) {
    let mut lines = Vec::new();
    loop {
        let mut batch = Batch::new();
        match connection.read(&mut batch, &mut Vec::new()).await {
            Ok(()) => lines
                .extend(batch.records().map(|r| String::from_utf8(r.payload.to_vec()).unwrap())),
            Err(disconnect) => return (lines, disconnect),
        }
    }
}

/// Polls the connection once. Returns the cause if it has ended.
async fn poll_once(connection: &mut WebsocketConnection) -> Option<Disconnect> {
    // The runtime notices received bytes while it is yielded to.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    let mut batch = Batch::new();
    let mut events = Vec::new();
    let mut read = Box::pin(connection.read(&mut batch, &mut events));
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
    let (mut connection, mut server) = connect(settings(Vec::new()), no_keep_alive()).await;
    send_frame(&mut server, PING, b"?");
    for message in ["one", "two", "three"] {
        send_frame(&mut server, TEXT, message.as_bytes());
        send_frame(&mut server, PING, b"?");
    }
    send_frame(&mut server, CLOSE, &[&1_012_u16.to_be_bytes()[..], b"restart"].concat());
    reset(server);
    let (lines, disconnect) = read_all(&mut connection).await;
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(disconnect.cause, DownCause::Closed, "{disconnect:?}");
    assert!(disconnect.detail.contains("1012: restart"), "{disconnect:?}");
}

#[tokio::test]
async fn buffered_messages_are_read_after_a_write_error() {
    let (mut connection, mut server) = connect(settings(Vec::new()), no_keep_alive()).await;
    send_frame(&mut server, TEXT, b"one");
    let mut batch = Batch::new();
    connection.read(&mut batch, &mut Vec::new()).await.unwrap();
    // After a short read the runtime reads again only once the system has reported more.
    send_frame(&mut server, TEXT, b"two");
    reset(server);
    connection.queue_frame(Frame::ping(Vec::new()));
    let (lines, disconnect) = read_all(&mut connection).await;
    assert_eq!(lines, ["two"], "{disconnect:?}");
}

#[tokio::test]
async fn the_close_reason_is_read_when_the_server_rejects_the_subscription() {
    for message in [Some("no more connections"), None] {
        let topics = settings(vec!["a".to_owned()]);
        let (mut connection, mut server) = connect(topics, no_keep_alive()).await;
        if let Some(message) = message {
            send_frame(&mut server, TEXT, message.as_bytes());
        }
        send_frame(&mut server, CLOSE, &1_008_u16.to_be_bytes());
        reset(server);
        let begun = connection.send_subscription().await;
        if let Some(message) = message {
            begun.unwrap();
            let (lines, disconnect) = read_all(&mut connection).await;
            assert_eq!((lines, disconnect.cause), (vec![message.to_owned()], DownCause::Closed));
        } else {
            let disconnect = begun.unwrap_err();
            assert!(disconnect.detail.contains("1008"), "{disconnect:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stall_of_the_recorder_does_not_count_as_server_silence() {
    let idle = Some(Duration::from_secs(10));
    let silence = Some(Duration::from_secs(4));
    let settings = ProtocolSettings { silence_timeout: silence, ..settings(vec!["a".to_owned()]) };
    let (mut connection, mut server) =
        connect(settings, KeepAlive { ping: None, idle_timeout: idle }).await;
    connection.send_subscription().await.unwrap();
    let ask = (TEXT, br#"{"ask":"a"}"#.to_vec());
    assert_eq!(receive_frame(&mut server), Some(ask.clone()));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(poll_once(&mut connection).await.map(|disconnect| disconnect.detail), None);
    assert_eq!(receive_frame(&mut server), Some((PING, Vec::new())));
    assert_eq!(receive_frame(&mut server), Some(ask), "the topic is silent and requested again");
    // The answers arrive in time, but the recorder does not read them.
    send_frame(&mut server, PONG, b"");
    send_frame(&mut server, TEXT, b"data");
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..3 {
        assert_eq!(poll_once(&mut connection).await.map(|disconnect| disconnect.detail), None);
    }
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(
        poll_once(&mut connection).await.map(|disconnect| disconnect.detail),
        None,
        "the topic is requested again first"
    );
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(poll_once(&mut connection).await.unwrap().cause, DownCause::Silent);
}

#[tokio::test]
async fn requests_wait_while_the_server_does_not_read() {
    const TOPICS: usize = 30_000;
    let topics = (0..TOPICS).map(|topic| format!("a-topic-with-a-long-name-{topic:08}")).collect();
    let welcome = serde_json::from_value(json!({ "/type": "welcome" })).unwrap();
    let welcome = Some(AnswerRule::from_pattern(&welcome).unwrap());
    let (mut connection, mut server) =
        connect(ProtocolSettings { welcome, ..settings(topics) }, no_keep_alive()).await;
    connection.send_subscription().await.unwrap();
    let reader = std::thread::spawn(move || {
        send_frame(&mut server, TEXT, br#"{"type":"welcome"}"#);
        // The requests exceed what the buffers of the sockets hold.
        let asked = (0..TOPICS).map_while(|_| receive_frame(&mut server)).count();
        send_frame(&mut server, CLOSE, &1_000_u16.to_be_bytes());
        asked
    });
    let (lines, disconnect) = read_all(&mut connection).await;
    assert_eq!((lines.len(), disconnect.cause), (1, DownCause::Closed), "{disconnect:?}");
    assert_eq!(reader.join().unwrap(), TOPICS);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_the_close_frame() {
    let ping = Some(PingConfig { message: json!("ping"), interval: ConfigDuration::from_secs(1) });
    let (mut connection, mut server) =
        connect(settings(Vec::new()), KeepAlive { ping, idle_timeout: None }).await;
    assert_eq!(connection.close(), CloseStatus::Draining);
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(poll_once(&mut connection).await.map(|disconnect| disconnect.detail), None);
    }
    drop(connection);
    assert_eq!(receive_frame(&mut server).map(|(kind, _)| kind), Some(CLOSE));
    assert_eq!(receive_frame(&mut server), None);
}

#[tokio::test(start_paused = true)]
async fn a_topic_of_which_nothing_comes_is_in_doubt_until_its_messages_come() {
    let (mut connection, mut server) =
        connect(settings(vec!["a".to_owned()]), no_keep_alive()).await;
    connection.send_subscription().await.unwrap();
    let mut events = Vec::new();
    // Paused time runs to the end of the wait for an answer.
    connection.read(&mut Batch::new(), &mut events).await.unwrap();
    let active = ConnectionEvent::TopicsActive(vec!["a".to_owned()]);
    assert!(events.contains(&active), "{events:?}");
    assert!(
        matches!(
            events.last(),
            Some(ConnectionEvent::TopicDown { cause: DownCause::Unconfirmed, .. })
        ),
        "{events:?}"
    );
    events.clear();
    // The first message without a topic may be a greeting.
    send_frame(&mut server, TEXT, b"hello");
    send_frame(&mut server, TEXT, b"data");
    while !events.contains(&active) {
        connection.read(&mut Batch::new(), &mut events).await.unwrap();
    }
}
