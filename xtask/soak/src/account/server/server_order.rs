//! A command on its way to the server.

use std::sync::mpsc::Sender;

use super::server_command::ServerCommand;

/// A command, and the channel that gets the time at which it was carried out.
#[derive(Debug)]
pub(super) struct ServerOrder {
    pub(super) command: ServerCommand,
    pub(super) done: Sender<u64>,
}
