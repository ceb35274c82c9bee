//! The report of a reload.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

/// Maximum number of topics that are named for people.
const MAX_NAMED_TOPICS: usize = 5;

/// The report of a reload, as `streamer reload --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReloadReport {
    /// What came of the reload.
    pub(crate) outcome: ReloadOutcome,
    /// SHA-256 of the resolved form of the configuration that runs now.
    pub(crate) config: String,
    /// The pipelines that were changed.
    pub(crate) pipelines: BTreeMap<String, PipelineReload>,
    /// What differs in the file and takes a restart.
    pub(crate) needs_restart: Vec<String>,
    /// The problems of the file, each with its position.
    pub(crate) error: Option<String>,
}

/// The outcome of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReloadOutcome {
    /// The file has what runs already.
    Unchanged,
    /// The configuration of the file runs.
    Applied,
    /// A part of what differs takes a restart.
    Partial,
    /// The file cannot be used. Nothing was changed.
    Failed,
    /// The recorder is stopping. Nothing was changed.
    Stopping,
}

/// The change of one pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PipelineReload {
    /// Topics that are subscribed to from now on.
    pub(crate) topics_added: Vec<String>,
    /// Topics that are not recorded any more.
    pub(crate) topics_removed: Vec<String>,
    /// Keys of the source for which new connections are made before the old ones are closed.
    pub(crate) reconnects_for: Vec<String>,
    /// Set if the stages were replaced.
    pub(crate) stages_replaced: bool,
    /// Sinks that were replaced, added or removed, such as `sinks[0]`.
    pub(crate) sinks_replaced: Vec<String>,
    /// Set if the pipeline was started or stopped as a whole.
    pub(crate) lifecycle: Option<PipelineStep>,
}

/// A step of a pipeline as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PipelineStep {
    Started,
    Stopped,
}

impl ReloadReport {
    /// Logs what was done.
    pub(super) fn log(&self) {
        for (name, pipeline) in &self.pipelines {
            info!(pipeline = name, "the configuration was changed: {pipeline}");
        }
        for what in &self.needs_restart {
            warn!("the configuration was changed, and this needs a restart: {what}");
        }
        let config = &self.config;
        match (self.outcome, &self.error) {
            (_, Some(problems)) => {
                error!("the configuration is not reloaded, and nothing was changed: {problems}");
            }
            (ReloadOutcome::Stopping, _) => {
                info!("the configuration is not reloaded: the recorder stops");
            }
            (ReloadOutcome::Unchanged, _) => info!("the configuration is unchanged"),
            (ReloadOutcome::Applied, _) => info!(config, "the configuration was reloaded"),
            (ReloadOutcome::Partial | ReloadOutcome::Failed, _) => {
                info!(config, "the configuration was reloaded in part");
            }
        }
    }

    /// Returns a report of a reload that changed nothing.
    pub(super) fn without_change(outcome: ReloadOutcome, config: &str) -> Self {
        Self {
            outcome,
            config: config.to_owned(),
            pipelines: BTreeMap::new(),
            needs_restart: Vec::new(),
            error: None,
        }
    }
}

impl PipelineReload {
    /// Returns the change of a pipeline that was started or stopped.
    pub(super) fn of_step(step: PipelineStep) -> Self {
        Self { lifecycle: Some(step), ..Self::default() }
    }
}

impl fmt::Display for PipelineReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (topics, done) in [(&self.topics_added, "added"), (&self.topics_removed, "removed")] {
            if !topics.is_empty() {
                parts.push(format!("{done} {}", name_topics(topics)));
            }
        }
        if !self.reconnects_for.is_empty() {
            let keys = self.reconnects_for.join("`, `");
            parts.push(format!("makes new connections for `{keys}`"));
        }
        if self.stages_replaced {
            parts.push("replaced the stages".to_owned());
        }
        if !self.sinks_replaced.is_empty() {
            parts.push(format!("replaced `{}`", self.sinks_replaced.join("`, `")));
        }
        match self.lifecycle {
            Some(PipelineStep::Started) => parts.push("started".to_owned()),
            Some(PipelineStep::Stopped) => parts.push("stopped".to_owned()),
            None => {}
        }
        if parts.is_empty() {
            parts.push("changed the order of topics".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

/// Formats the report for people, without a line feed at the end.
impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            ReloadOutcome::Unchanged => f.write_str("unchanged: the file has what runs already")?,
            ReloadOutcome::Applied => f.write_str("reloaded")?,
            ReloadOutcome::Partial if self.pipelines.is_empty() => {
                f.write_str("nothing was changed")?;
            }
            ReloadOutcome::Partial => f.write_str("reloaded in part")?,
            ReloadOutcome::Failed => f.write_str("nothing was changed: the file cannot be used")?,
            ReloadOutcome::Stopping => f.write_str("nothing was changed: the recorder stops")?,
        }
        for (name, pipeline) in &self.pipelines {
            write!(f, "\npipeline {name}: {pipeline}")?;
        }
        for what in &self.needs_restart {
            write!(f, "\nneeds a restart: {what}")?;
        }
        match &self.error {
            Some(error) => write!(f, "\n{error}"),
            None => Ok(()),
        }
    }
}

/// Returns the number of the topics and the names of the first ones.
fn name_topics(topics: &[String]) -> String {
    let count = topics.len();
    let named: Vec<_> = topics.iter().take(MAX_NAMED_TOPICS).map(String::as_str).collect();
    let more = if count > named.len() { ", …" } else { "" };
    let noun = if count == 1 { "topic" } else { "topics" };
    format!("{count} {noun} ({}{more})", named.join(", "))
}
