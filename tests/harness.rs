//! Tools for the tests: a recorder, a scripted server, an exchange, and programs of the system.

mod booted_system;
mod exchange;
mod recorder;
mod server;
mod tools;

pub use booted_system::BootedSystem;
pub use exchange::{RunningExchange, split_answers};
pub use recorder::{Recorder, Test, binary, run};
pub use server::{Peer, Server, frame};
pub use tools::{SmallDisk, as_process_1, faketime, node_with_ws, python_with, tool};

use std::time::Duration;

/// The longest time that a test waits for anything.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);
pub const TOPIC: &str = "publicTrade.BTCUSDT";
pub const SUBSCRIPTION: &str = r#"{"op":"subscribe","args":["publicTrade.BTCUSDT"]}"#;
