//! Records WebSocket feeds verbatim into one JSONL file per UTC hour, for months, unattended.
//!
//! The program is `streamer`; this library is how to extend it. A program of your own with a
//! stage of your own is the stage, and a `main` that registers it:
//!
//! ```no_run
//! use streamer::{Batch, BoxError, BuildContext, Registry, Stage, StageConfig};
//!
//! /// Keeps messages that are longer than this.
//! #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct LongerThan {
//!     /// Bytes that a message must exceed.
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
//! The guide is `docs/plugins.md`. The contract is in [`plugin`]; what moves is a [`Batch`]; the list of what there is, a
//! [`Registry`].

/// The guide's code is compiled.
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

// For the tests, the benchmark and the soak test of this workspace alone: no part of the plugin
// contract, and subject to change at any time.
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
    BoxError, BuildContext, Sink, SinkConfig, Source, SourceConfig, SourceError, Stage, StageConfig,
};
pub use recorder::{Recorder, RecorderError};
pub use registry::Registry;
