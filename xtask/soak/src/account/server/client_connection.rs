//! One connection of the ticking server.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::net::SendFlags;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::answer_order::AnswerOrder;
use super::close_policy::ClosePolicy;
use super::connection_state::ConnectionState;
use super::frame::Frame;
use super::pending_answer::PendingAnswer;
use super::subscription_policy::SubscriptionPolicy;
use crate::account::cut::Cut;
use crate::account::tick::Tick;

/// A close frame of the status 1000.
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

/// A connection whose socket never blocks. What the socket does not take waits in `outbox`, as it
/// does in the servers of exchanges.
#[derive(Debug)]
pub(super) struct ClientConnection {
    stream: TcpStream,
    state: ConnectionState,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Indices of the topics that are sent on this connection.
    topics: BTreeSet<usize>,
    answers: Vec<PendingAnswer>,
}

impl ClientConnection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let state = ConnectionState::Handshake;
        let (inbox, outbox, answers) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { stream, state, inbox, outbox, topics: BTreeSet::new(), answers })
    }

    /// Returns whether a fault may concern this connection.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, ConnectionState::Open | ConnectionState::Silent)
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state == ConnectionState::Silent
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state == ConnectionState::Gone
    }

    /// Reads and answers what came. Returns the topics whose subscription is confirmed by that.
    pub(super) fn serve(
        &mut self,
        subscriptions: SubscriptionPolicy,
        closes: ClosePolicy,
    ) -> Vec<usize> {
        let mut confirmed = Vec::new();
        if self.state == ConnectionState::Silent {
            return confirmed;
        }
        let answered = self
            .read()
            .and_then(|()| self.handle_input(subscriptions, closes))
            .map(|()| self.send_due_answers());
        match answered {
            Ok(topics) => confirmed = topics,
            Err(_) => self.state = ConnectionState::Gone,
        }
        self.flush();
        confirmed
    }

    /// Sends a tick if its topic is subscribed to.
    pub(super) fn send_tick(&mut self, tick: Tick) {
        if self.state == ConnectionState::Open && self.topics.contains(&tick.topic) {
            Frame::append(&mut self.outbox, Frame::TEXT, tick.text().as_bytes());
            self.flush();
        }
    }

    /// Goes silent.
    pub(super) fn silence(&mut self) {
        self.state = ConnectionState::Silent;
    }

    /// Ends the connection.
    pub(super) fn cut(&mut self, cut: Cut) -> Result<()> {
        match cut {
            Cut::Close => {
                Frame::append(&mut self.outbox, Frame::CLOSE, &NORMAL_CLOSURE);
                self.state = ConnectionState::Ending;
            }
            Cut::End => self.state = ConnectionState::Ending,
            Cut::Reset => {
                rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
                // The reset goes out when the socket is dropped.
                self.state = ConnectionState::Gone;
            }
        }
        self.flush();
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 4_096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.state = ConnectionState::Gone;
                    return Ok(());
                }
                Ok(count) => self.inbox.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn handle_input(
        &mut self,
        subscriptions: SubscriptionPolicy,
        closes: ClosePolicy,
    ) -> Result<()> {
        if self.state == ConnectionState::Handshake {
            let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") else {
                return Ok(());
            };
            let request: Vec<u8> = self.inbox.drain(..end + 4).collect();
            self.accept(&String::from_utf8(request)?)?;
        }
        while self.state == ConnectionState::Open
            && let Some(frame) = Frame::take(&mut self.inbox)
        {
            match frame.opcode {
                Frame::TEXT => self.handle_text(&frame.payload, subscriptions)?,
                Frame::PING => Frame::append(&mut self.outbox, Frame::PONG, &frame.payload),
                Frame::CLOSE if closes == ClosePolicy::Answer => {
                    Frame::append(&mut self.outbox, Frame::CLOSE, &frame.payload);
                    self.state = ConnectionState::Ending;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn accept(&mut self, request: &str) -> Result<()> {
        let key = request.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
        });
        let accept = derive_accept_key(key.context("a handshake without a key")?.as_bytes());
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.outbox.extend_from_slice(response.as_bytes());
        self.state = ConnectionState::Open;
        Ok(())
    }

    fn handle_text(&mut self, text: &[u8], policy: SubscriptionPolicy) -> Result<()> {
        let request: Value = serde_json::from_slice(text)?;
        if request.get("op").and_then(Value::as_str) != Some("subscribe") {
            return Ok(());
        }
        let names = request.get("args").and_then(Value::as_array).context("no args")?;
        let topics: Vec<_> =
            names.iter().filter_map(Value::as_str).filter_map(Tick::topic_index).collect();
        if policy.order == AnswerOrder::TicksFirst {
            self.topics.extend(&topics);
        }
        let id = request.get("req_id");
        let answer = json!({ "success": true, "ret_msg": "", "req_id": id, "op": "subscribe" });
        let due = Instant::now() + policy.delay;
        self.answers.push(PendingAnswer { due, topics, text: answer.to_string() });
        Ok(())
    }

    fn send_due_answers(&mut self) -> Vec<usize> {
        let mut confirmed = Vec::new();
        if self.state != ConnectionState::Open {
            return confirmed;
        }
        let now = Instant::now();
        for answer in self.answers.extract_if(.., |answer| answer.due <= now) {
            Frame::append(&mut self.outbox, Frame::TEXT, answer.text.as_bytes());
            self.topics.extend(&answer.topics);
            confirmed.extend(answer.topics);
        }
        confirmed
    }

    /// Writes what the socket takes, and then the FIN of a connection that ends.
    fn flush(&mut self) {
        while !self.outbox.is_empty() && !self.is_gone() {
            match rustix::net::send(&self.stream, &self.outbox, SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(_) => self.state = ConnectionState::Gone,
            }
        }
        if self.state == ConnectionState::Ending {
            // A client that is gone already needs no end.
            drop(self.stream.shutdown(Shutdown::Write));
            self.state = ConnectionState::Ended;
        }
    }
}
