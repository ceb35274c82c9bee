//! The loop of the ticking server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Result;
use streamer::time::{Clock as _, SystemClock};

use super::answer_order::AnswerOrder;
use super::client_connection::ClientConnection;
use super::close_policy::ClosePolicy;
use super::server_command::ServerCommand;
use super::server_order::ServerOrder;
use super::subscription_policy::SubscriptionPolicy;
use crate::account::TICK_INTERVAL;
use crate::account::cut::Cut;
use crate::account::tick::Tick;
use crate::account::topic_truth::TopicTruth;
use crate::account::truth::Truth;

/// An address from which no client connects, so that nobody else gets its port meanwhile.
const ADDRESS: &str = "127.0.0.2:0";
/// The longest rest between two looks at the sockets.
const MAX_REST: Duration = Duration::from_millis(1);

/// A server that makes a tick of each topic per [`TICK_INTERVAL`], whether or not anybody listens,
/// and sends it to those who have subscribed to the topic at that moment. One thread makes ticks,
/// serves connections and carries out commands, so that all have an order.
#[derive(Debug)]
pub(super) struct TickServer {
    address: SocketAddr,
    /// `None` while connects are refused.
    listener: Option<TcpListener>,
    connections: Vec<ClientConnection>,
    orders: Receiver<ServerOrder>,
    subscriptions: SubscriptionPolicy,
    closes: ClosePolicy,
    truth: Truth,
    /// Index of the topic of the next tick.
    next_topic: usize,
    next_tick: Instant,
}

impl TickServer {
    pub(super) fn bind(topics: usize, orders: Receiver<ServerOrder>) -> Result<Self> {
        let listener = listen(ADDRESS.parse()?)?;
        let address = listener.local_addr()?;
        let topics = (0..topics).map(|_| TopicTruth::default()).collect();
        Ok(Self {
            address,
            listener: Some(listener),
            connections: Vec::new(),
            orders,
            subscriptions: SubscriptionPolicy {
                delay: Duration::ZERO,
                order: AnswerOrder::AnswerFirst,
            },
            closes: ClosePolicy::Answer,
            truth: Truth { topics, lateness: Duration::ZERO },
            next_topic: 0,
            next_tick: Instant::now(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until the handle is dropped.
    pub(super) fn run(mut self) -> Result<Truth> {
        loop {
            match self.orders.try_recv() {
                Ok(order) => {
                    self.carry_out(order.command)?;
                    order.done.send(now())?;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(self.truth),
            }
            self.accept()?;
            self.serve();
            self.make_due_tick();
            let rest = self.next_tick.saturating_duration_since(Instant::now());
            std::thread::sleep(rest.min(MAX_REST));
        }
    }

    fn carry_out(&mut self, command: ServerCommand) -> Result<()> {
        match command {
            ServerCommand::Cut(target, cut) => {
                for connection in self.live(|index, count| target.includes(index, count)) {
                    connection.cut(cut)?;
                }
                self.connections.retain(|connection| !connection.is_gone());
            }
            ServerCommand::Silence(target) => {
                for connection in self.live(|index, count| target.includes(index, count)) {
                    connection.silence();
                }
            }
            ServerCommand::CutSilent => {
                for connection in &mut self.connections {
                    if connection.is_silent() {
                        connection.cut(Cut::Reset)?;
                    }
                }
                self.connections.retain(|connection| !connection.is_gone());
            }
            ServerCommand::Refuse => self.listener = None,
            ServerCommand::Accept => self.listener = Some(listen(self.address)?),
            ServerCommand::DelayAnswers(order, delay) => {
                self.subscriptions = SubscriptionPolicy { delay, order };
            }
            ServerCommand::IgnoreCloses => self.closes = ClosePolicy::Ignore,
            ServerCommand::AnswerCloses => self.closes = ClosePolicy::Answer,
        }
        Ok(())
    }

    /// Returns the live connections that `includes` chooses by their index and their number.
    fn live(
        &mut self,
        includes: impl Fn(usize, usize) -> bool,
    ) -> impl Iterator<Item = &mut ClientConnection> {
        let count = self.connections.iter().filter(|connection| connection.is_live()).count();
        let live = self.connections.iter_mut().filter(|connection| connection.is_live());
        live.enumerate().filter(move |(index, _)| includes(*index, count)).map(|(_, live)| live)
    }

    fn accept(&mut self) -> Result<()> {
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((stream, _)) => self.connections.push(ClientConnection::new(stream)?),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The client is gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn serve(&mut self) {
        for connection in &mut self.connections {
            for topic in connection.serve(self.subscriptions, self.closes) {
                if let Some(topic) = self.truth.topics.get_mut(topic) {
                    topic.first_confirmed.get_or_insert_with(now);
                }
            }
        }
        self.connections.retain(|connection| !connection.is_gone());
    }

    /// Makes the next tick if it is due. The topics take turns, so that ticks are spread evenly.
    fn make_due_tick(&mut self) {
        let late = Instant::now().saturating_duration_since(self.next_tick);
        if self.next_tick > Instant::now() {
            return;
        }
        self.truth.lateness = self.truth.lateness.max(late);
        let count = self.truth.topics.len();
        let index = self.next_topic;
        self.next_topic = (index + 1) % count;
        let step = TICK_INTERVAL / u32::try_from(count).unwrap_or(u32::MAX);
        // Ticks for which the server was too late are not made.
        self.next_tick = (self.next_tick + step).max(Instant::now());
        let Some(topic) = self.truth.topics.get_mut(index) else { return };
        let tick = Tick { topic: index, number: topic.sent.len(), sent: now() };
        topic.sent.push(tick.sent);
        for connection in &mut self.connections {
            connection.send_tick(tick);
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn now() -> u64 {
    SystemClock.now().nanos()
}
