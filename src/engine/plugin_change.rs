//! Stages and sinks that take the place of others.

use super::named_plugin::NamedPlugin;
use crate::plugin::{Sink, Stage};

/// Stages and sinks that take the place of others between two batches.
#[derive(Debug, Default)]
pub(crate) struct PluginChange {
    /// The stages from then on; `None` if they stay.
    pub(crate) stages: Option<Vec<NamedPlugin<dyn Stage>>>,
    pub(crate) sinks: Vec<SinkChange>,
}

/// The change of one sink.
#[derive(Debug)]
pub(crate) struct SinkChange {
    /// Position of the sink in the configuration.
    pub(crate) index: usize,
    /// The sink from then on; `None` if there is none any more.
    pub(crate) sink: Option<NewSink>,
}

/// A sink that takes its place while the pipeline runs.
#[derive(Debug)]
pub(crate) struct NewSink {
    pub(crate) sink: NamedPlugin<dyn Sink>,
    /// Set if the sink was opened already.
    pub(crate) is_open: bool,
}
