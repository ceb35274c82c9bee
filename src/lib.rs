//! Records WebSocket feeds verbatim into one JSONL file per UTC hour, for months, unattended.
//!
//! The program `streamer` is built from this library. A program of your own extends it with plugins:
//! it implements a stage, registers the stage and runs the same command line.
//!
//! ```no_run
//! use streamer::{Batch, BoxError, BuildContext, Registry, Stage, StageConfig};
//!
//! /// Keeps messages that are longer than a limit.
//! #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct LongerThan {
//!     /// Number of bytes that a message must exceed.
//!     bytes: usize,
//! }
//!
//! impl StageConfig for LongerThan {
//!     const TYPE: &'static str = "longer_than";
//!     fn build(self, _: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
//!         Ok(Box::new(self))
//!     }
//! }
//!
//! impl Stage for LongerThan {
//!     fn process(&mut self, batch: &mut Batch) -> Result<(), BoxError> {
//!         batch.retain(|record| record.payload.len() > self.bytes);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     streamer::cli::main(Registry::builtin().stage::<LongerThan>())
//! }
//! ```
//!
//! The guide to plugins is `docs/plugins.md`. The traits of plugins are in [`plugin`], the messages
//! that plugins exchange are in a [`Batch`], and a [`Registry`] lists the plugins of a program.
//!
//! A program that has a command line of its own records with a [`Recorder`].

/// Compiles the examples of the guide.
#[cfg(doctest)]
#[doc = include_str!("../docs/plugins.md")]
struct Guide;

mod base;
pub mod cli;
mod config;
mod engine;
pub mod metrics;
pub mod plugin;
mod recorder;
mod registry;

// Public only for the tests, the benchmark and the soak test of this workspace. These modules are no
// part of the plugin contract and change at any time.
#[doc(hidden)]
pub mod archive;
#[doc(hidden)]
pub mod exchange;
#[doc(hidden)]
pub mod sinks;
#[doc(hidden)]
pub mod sources;
#[doc(hidden)]
pub mod stages;

pub use base::{json, time, units};
pub use config::config_schema;
pub use plugin::batch::{Batch, Record};
pub use plugin::{
    BoxError, BuildContext, Sink, SinkConfig, Source, SourceConfig, SourceError, Stage,
    StageConfig, Tick,
};
pub use recorder::{Recorder, RecorderError};
pub use registry::Registry;
