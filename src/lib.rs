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

pub mod archive;
mod backoff;
pub mod batch;
mod builtin;
mod child;
pub mod cli;
pub mod clock;
mod config;
mod errors;
pub mod exchange;
pub mod json;
mod lines;
mod links;
mod logging;
pub mod pacing;
mod pipeline;
pub mod plugin;
mod registry;
mod secrets;
mod sidecar;
pub mod sinks;
pub mod sources;
pub mod stages;
pub mod stats;
mod status;
mod suggest;
pub mod units;

pub use batch::{Batch, Record};
pub use plugin::{
    BoxError, BuildContext, Sink, SinkConfig, Source, SourceConfig, SourceError, Stage, StageConfig,
};
pub use registry::Registry;
