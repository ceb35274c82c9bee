//! The surroundings of a plugin that is built.

use std::sync::Arc;

use super::RunInfo;
use crate::base::json::Selector;
use crate::base::pacer::Pacer;
use crate::base::secrets::Secrets;
use crate::metrics::{Counter, PipelineStats, PluginStats};

/// The surroundings in which a plugin is built: its pipeline, its counters and the recording.
#[derive(Debug)]
#[non_exhaustive]
pub struct BuildContext {
    /// Topics to which the source of this pipeline subscribes.
    pub topics: Vec<String>,
    /// Rule that finds the topic in a message; `None` if the source has none.
    pub topic_selector: Option<Selector>,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Counters of the pipeline.
    pub stats: Arc<PipelineStats>,
    /// Counters of the plugin.
    pub plugin_stats: Arc<PluginStats>,
    /// Maximum number of messages that a batch should hold (`buffer_size`), at least 1.
    pub max_batch_messages: usize,
    /// Pacer of the thread on which sources run; sources request a pause from it after a small
    /// read.
    pub pacer: Arc<Pacer>,
    /// Identity of the recording.
    pub run_info: RunInfo,
    /// Number of sinks of this process that keep files of hours open.
    pub(crate) file_holders: usize,
    /// Topics of each running source of the pipeline; empty if none runs.
    shards: Vec<Vec<String>>,
    secrets: Secrets,
}

impl BuildContext {
    /// Creates a context for a pipeline whose source subscribes to `topics`.
    pub fn new(topics: Vec<String>, stats: Arc<PipelineStats>, max_batch: usize) -> Self {
        Self {
            topics,
            topic_selector: None,
            pipeline: "main".to_owned(),
            stats,
            plugin_stats: Arc::new(PluginStats::new("")),
            max_batch_messages: max_batch.max(1),
            pacer: Arc::default(),
            run_info: RunInfo::default(),
            file_holders: 1,
            shards: Vec::new(),
            secrets: Secrets::default(),
        }
    }

    /// Returns a counter of the plugin, which `streamer status --json` shows under this name.
    pub fn counter(&self, name: &'static str) -> Arc<Counter> {
        self.plugin_stats.register_counter(name)
    }

    /// Sets the rule that finds the topic in a message.
    #[must_use]
    pub fn with_topic_selector(mut self, selector: Option<Selector>) -> Self {
        self.topic_selector = selector;
        self
    }

    /// Sets the name of the pipeline.
    #[must_use]
    pub(crate) fn with_pipeline(mut self, name: &str) -> Self {
        name.clone_into(&mut self.pipeline);
        self
    }

    /// Creates the counters of the plugin that is built next, such as `stages[0] (filter)`, and
    /// returns them.
    pub(crate) fn set_plugin(&mut self, name: &str) -> Arc<PluginStats> {
        self.plugin_stats = Arc::new(PluginStats::new(name));
        Arc::clone(&self.plugin_stats)
    }

    /// Sets the pacer of the thread on which sources run.
    #[must_use]
    pub fn with_pacer(mut self, pacer: Arc<Pacer>) -> Self {
        self.pacer = pacer;
        self
    }

    /// Sets the identity of the recording.
    #[must_use]
    pub fn with_run_info(mut self, run_info: RunInfo) -> Self {
        self.run_info = run_info;
        self
    }

    /// Sets the number of sinks that share the file descriptors of this process.
    #[must_use]
    pub(crate) fn with_file_holders(mut self, file_holders: usize) -> Self {
        self.file_holders = file_holders;
        self
    }

    /// Sets the topics of each running source of the pipeline, which the sources that are built keep.
    #[must_use]
    pub(crate) fn with_shards(mut self, shards: Vec<Vec<String>>) -> Self {
        self.shards = shards;
        self
    }

    /// Returns the topics of each running source of the pipeline; none if none runs.
    pub(crate) fn shards(&self) -> &[Vec<String>] {
        &self.shards
    }

    /// Sets the texts that [`BuildContext::mask`] hides.
    #[must_use]
    pub(crate) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Returns the text with every secret of the configuration replaced by `***`, for logs.
    pub fn mask(&self, text: &str) -> String {
        self.secrets.mask(text)
    }

    /// Returns the texts that [`BuildContext::mask`] hides.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}
