//! The handle of a ticking server.

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail};

use super::server_command::ServerCommand;
use super::server_order::ServerOrder;
use super::tick_server::TickServer;
use crate::account::truth::Truth;

/// A ticking server on a thread of its own.
#[derive(Debug)]
pub(in crate::account) struct RunningServer {
    address: SocketAddr,
    orders: Sender<ServerOrder>,
    thread: JoinHandle<Result<Truth>>,
}

impl RunningServer {
    /// Starts a server that ticks in this number of topics.
    pub(in crate::account) fn start(topics: usize) -> Result<Self> {
        let (orders, receiver) = channel();
        let server = TickServer::bind(topics, receiver)?;
        let address = server.address();
        let thread = std::thread::spawn(move || server.run());
        Ok(Self { address, orders, thread })
    }

    pub(in crate::account) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Carries out a command and returns the time at which that was done.
    pub(in crate::account) fn perform(&self, command: ServerCommand) -> Result<u64> {
        let (done, time) = channel();
        self.orders.send(ServerOrder { command, done }).context("the server has ended")?;
        time.recv().context("the server failed")
    }

    /// Makes no more ticks, ends the server and all connections, and returns the ticks.
    pub(in crate::account) fn finish(self) -> Result<Truth> {
        drop(self.orders);
        let Ok(truth) = self.thread.join() else { bail!("the server panicked") };
        truth
    }
}
