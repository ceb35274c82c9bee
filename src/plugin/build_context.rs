//! What plugins are told when they are built.

use std::sync::Arc;

use crate::base::json::Selector;
use crate::base::pacer::Pacer;
use crate::base::secrets::Secrets;
use crate::metrics::{Counter, PipelineStats, PluginStats};

/// What a plugin is given when it is built.
#[derive(Debug)]
#[non_exhaustive]
pub struct BuildContext {
    /// What the source of this pipeline subscribes to.
    pub topics: Vec<String>,
    /// Where messages say what their topic is; `None` when the source does not know.
    pub topic_selector: Option<Selector>,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The counters of this pipeline.
    pub stats: Arc<PipelineStats>,
    /// The counters of the plugin that is built.
    pub plugin_stats: Arc<PluginStats>,
    /// The most messages a batch should hold (`buffer_size`), at least 1.
    pub max_batch_messages: usize,
    /// Where sources ask for a rest after a small read.
    pub pacer: Arc<Pacer>,
    /// What tells this recording from others.
    pub run_info: RunInfo,
    secrets: Secrets,
}

impl BuildContext {
    /// A context for a pipeline whose source subscribes to `topics`.
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
            secrets: Secrets::default(),
        }
    }

    /// A counter of the plugin's own, shown by `streamer status --json` under this name.
    pub fn counter(&self, name: &'static str) -> Arc<Counter> {
        self.plugin_stats.register_counter(name)
    }

    /// The same for messages that say there what their topic is.
    #[must_use]
    pub fn with_topic_selector(mut self, topic: Option<Selector>) -> Self {
        self.topic_selector = topic;
        self
    }

    /// The same for a pipeline of this name.
    #[must_use]
    pub(crate) fn with_pipeline(mut self, name: &str) -> Self {
        name.clone_into(&mut self.pipeline);
        self
    }

    /// From now on for the plugin of this name, such as `stages[0] (filter)`.
    pub(crate) fn set_plugin(&mut self, name: &str) -> Arc<PluginStats> {
        self.plugin_stats = self.stats.register_plugin(name);
        Arc::clone(&self.plugin_stats)
    }

    /// The same with the pacer of the thread on which sources will run.
    #[must_use]
    pub fn with_pacer(mut self, pacer: Arc<Pacer>) -> Self {
        self.pacer = pacer;
        self
    }

    /// The same for a recording that is known so.
    #[must_use]
    pub fn with_run_info(mut self, run: RunInfo) -> Self {
        self.run_info = run;
        self
    }

    /// The same with texts that [`BuildContext::mask`] hides.
    #[must_use]
    pub(crate) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// The text with every secret that came from `${NAME}` replaced by `***`, for logs.
    pub fn mask(&self, text: &str) -> String {
        self.secrets.mask(text)
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }
}

/// One recording: what its journals say of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// A text that no other recording has.
    pub id: String,
    /// The SHA-256 of the resolved configuration, in which secrets are as in the file: `${NAME}`.
    pub config_digest: String,
    /// What is connected to, see [`Source::endpoint`](super::Source::endpoint).
    pub endpoint: String,
}
