use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::WAIT_LIMIT;

/// A server that runs its script for each connection in a thread of its own. A test can wait for the
/// notes that the script sends.
pub struct Server {
    address: SocketAddr,
    notes: Receiver<String>,
}

impl Server {
    /// Starts the server. The script gets the number of the connection, from 0, and the connection.
    pub fn start(script: impl Fn(usize, &mut Peer) + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// Starts the server on a port that is bound already.
    pub fn start_on(
        listener: TcpListener,
        script: impl Fn(usize, &mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (send, notes) = channel();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(WAIT_LIMIT)).unwrap();
                let script = Arc::clone(&script);
                let notes = send.clone();
                std::thread::spawn(move || {
                    script(number, &mut Peer { stream, request: String::new(), notes });
                });
            }
        });
        Self { address, notes }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Waits for the next note of the script and returns it.
    pub fn next_note(&self) -> String {
        self.notes.recv_timeout(WAIT_LIMIT).expect("no note came within the time limit")
    }
}

/// The server's end of a connection.
pub struct Peer {
    pub stream: TcpStream,
    /// The head of the client's request, once it has been read.
    pub request: String,
    notes: std::sync::mpsc::Sender<String>,
}

impl Peer {
    pub fn send_note(&self, text: impl Into<String>) {
        // The test may have ended already.
        drop(self.notes.send(text.into()));
    }

    /// Returns another handle to the connection, for a thread that only reads.
    pub fn reader(&self) -> Self {
        let stream = self.stream.try_clone().unwrap();
        Self { stream, request: String::new(), notes: self.notes.clone() }
    }

    pub fn read_request(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.extend_from_slice(&byte);
        }
        self.request = String::from_utf8(head).unwrap();
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Returns the response that accepts the handshake.
    pub fn handshake_response(&self) -> Vec<u8> {
        let key = derive_accept_key(self.header("Sec-WebSocket-Key").unwrap().as_bytes());
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n").into_bytes()
    }

    /// Accepts the handshake.
    pub fn accept(&mut self) {
        self.read_request();
        let answer = self.handshake_response();
        self.send(&answer);
    }

    /// Accepts the handshake and returns the first text of the client, which is the subscription.
    pub fn accept_subscription(&mut self) -> String {
        self.accept();
        self.read_text()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // If the recorder is gone, the test notices by itself.
        drop(self.stream.write_all(bytes));
    }

    pub fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&frame(first, payload));
    }

    pub fn send_text(&mut self, text: &str) {
        self.send_frame(0x81, text.as_bytes());
    }

    /// Returns the opcode and the payload of the client's next frame, or `None` at the end of the
    /// stream.
    pub fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut start = [0; 2];
        self.stream.read_exact(&mut start).ok()?;
        assert_eq!(start[1] & 0x80, 0x80, "client frames are masked");
        let length = match start[1] & 0x7F {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).ok()?;
                usize::from(u16::from_be_bytes(length))
            }
            127 => panic!("a frame with a 64-bit length"),
            short => usize::from(short),
        };
        let mut mask = [0; 4];
        self.stream.read_exact(&mut mask).ok()?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).ok()?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        Some((start[0] & 0x0F, payload))
    }

    pub fn read_text(&mut self) -> String {
        match self.read_frame() {
            Some((1, text)) => String::from_utf8(text).unwrap(),
            other => panic!("expected a text frame, got {other:?}"),
        }
    }

    /// Answers pings and the close until the client is gone.
    pub fn answer_until_end(&mut self) {
        while let Some((opcode, payload)) = self.read_frame() {
            match opcode {
                8 => self.send_frame(0x88, &payload),
                9 => self.send_frame(0x8A, &payload),
                _ => {}
            }
        }
    }

    /// Ends the stream without a close frame, so that the client still gets every byte.
    pub fn end_stream(&mut self) {
        // A client that is gone already has received everything.
        drop(self.stream.shutdown(Shutdown::Write));
        drop(self.stream.read_to_end(&mut Vec::new()));
    }

    /// Waits until the client has ended the stream.
    pub fn wait_for_end(&mut self) {
        drop(self.stream.read_to_end(&mut Vec::new()));
    }

    /// Waits until the client has read all that was sent, so that what follows comes by itself.
    pub fn wait_until_read(&self) {
        let client = hex_port(self.stream.peer_addr().unwrap());
        let server = hex_port(self.stream.local_addr().unwrap());
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
            // Addresses, the state, and the lengths of the queues for sending and receiving.
            let is_empty = |local: &str, remote: &str| {
                let mut lines = sockets.lines().map(|line| line.split_whitespace().collect());
                let socket = lines.find(|fields: &Vec<_>| {
                    fields[1].ends_with(local) && fields[2].ends_with(remote)
                });
                socket.is_none_or(|fields| fields[4] == "00000000:00000000")
            };
            // A client that is gone reads nothing more.
            if is_empty(&server, &client) && is_empty(&client, &server) {
                return;
            }
            assert!(Instant::now() < deadline, "the client reads nothing");
            std::thread::yield_now();
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(std::time::Duration::ZERO))
            .unwrap();
        self.stream = TcpStream::connect(self.stream.local_addr().unwrap()).unwrap();
    }
}

/// Returns the port as `/proc/net/tcp` writes it.
fn hex_port(address: SocketAddr) -> String {
    format!(":{:04X}", address.port())
}

/// Returns an unmasked frame with this first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(short as u8),
        middle @ 126..65_536 => {
            frame.push(126);
            frame.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}
