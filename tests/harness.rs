//! What the tests are written with.

mod recorder;
mod server;
mod tools;

pub use recorder::{Recorder, Test, binary, run};
pub use server::{Peer, Server, frame};
pub use tools::{SmallDisk, faketime, node_with_ws, python_with, tool};

use std::time::Duration;

/// Nothing that a test waits for takes this long, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const TOPIC: &str = "publicTrade.BTCUSDT";
pub const SUBSCRIPTION: &str = r#"{"op":"subscribe","args":["publicTrade.BTCUSDT"]}"#;
