//! From a configuration to pipelines that can run.

use std::sync::Arc;

use serde_json::Value;

use super::Config;
use super::document::with_shorthand_path;
use super::pipeline_config::PipelineConfig;
use crate::archive::digest::Sha256Hash;
use crate::base::config_error::{ConfigError, Problem};
use crate::base::error_chain::error_chain;
use crate::base::pacer::Pacer;
use crate::engine::{NamedPlugin, Pipeline};
use crate::metrics::ProcessStats;
use crate::plugin::{BuildContext, RunInfo};
use crate::registry::{OnError, Section};

impl Config {
    /// Makes the pipelines. Touches neither network nor disk but to read what the keys name.
    ///
    /// # Errors
    /// What a plugin found wrong with its section, with its place.
    pub(crate) fn build(
        mut self,
        totals: &ProcessStats,
        pacer: &Arc<Pacer>,
    ) -> Result<Vec<Pipeline>, ConfigError> {
        let run = RunInfo {
            id: format!("{:016x}", fastrand::u64(..)),
            config_digest: config_digest(&self.resolved),
            ..RunInfo::default()
        };
        let pipelines = std::mem::take(&mut self.pipelines).into_iter();
        let built = pipelines.map(|pipeline| self.build_pipeline(pipeline, totals, pacer, &run));
        built.collect::<Result<_, _>>().map_err(|problem| {
            let problem = with_shorthand_path(problem, &self.written_keys);
            ConfigError::new(&self.file, Some(&self.text), vec![problem], &self.secrets)
        })
    }

    fn build_pipeline(
        &self,
        pipeline: PipelineConfig,
        totals: &ProcessStats,
        pacer: &Arc<Pacer>,
        run: &RunInfo,
    ) -> Result<Pipeline, Problem> {
        let PipelineConfig { name, source: (source_path, source), stages, sinks } = pipeline;
        let topic = source.topic_selector.clone();
        let stats = totals.register_pipeline(&name);
        let mut context = BuildContext::new(source.topics.clone(), stats, self.buffer_size)
            .with_pipeline(&name)
            .with_topic_selector(topic.clone())
            .with_pacer(Arc::clone(pacer))
            .with_secrets(self.secrets.clone());
        let sources = build_section(source, &context, &source_path)?;
        let endpoint = sources.first().map(|source| source.endpoint()).unwrap_or_default();
        let run = RunInfo { endpoint, ..run.clone() };
        context = context.with_run_info(run);
        let mut pipeline = Pipeline {
            name,
            sources,
            topic_selector: topic,
            stages: Vec::new(),
            sinks: Vec::new(),
            max_messages: self.buffer_size,
            max_bytes: self.buffer_bytes,
            overflow: self.overflow,
            shutdown_timeout: self.shutdown_timeout,
        };
        let mut rejecting = None;
        for (path, stage) in stages {
            let stats =
                context.set_plugin(&format!("{} ({})", last_segment(&path), stage.type_name));
            let common = stage.common;
            let plugin = build_section(stage, &context, &path)?;
            if plugin.can_reject() || common.on_error == OnError::Reject {
                rejecting.get_or_insert(path);
            }
            pipeline.stages.push(NamedPlugin::new(plugin, common, stats));
        }
        for (path, sink) in sinks {
            let stats =
                context.set_plugin(&format!("{} ({})", last_segment(&path), sink.type_name));
            let common = sink.common;
            let plugin = build_section(sink, &context, &path)?;
            pipeline.sinks.push(NamedPlugin::new(plugin, common, stats));
        }
        let keepers = pipeline.sinks.iter().filter(|sink| sink.common.required);
        if let Some(path) = rejecting
            && !keepers.into_iter().any(|sink| sink.plugin.wants_rejected())
        {
            let message =
                "sets messages aside, and no required sink keeps those: a jsonl sink does";
            return Err(Problem::at(path, message));
        }
        Ok(pipeline)
    }
}

/// Makes what the section at `path` says.
fn build_section<R>(section: Section<R>, context: &BuildContext, path: &str) -> Result<R, Problem> {
    let keys = section.resolved.clone();
    section.build(context).map_err(|error| Problem::in_section(path, error_chain(&*error), &keys))
}

/// `stages[0]` of `pipelines.a.stages[0]`: the pipeline is known where it is spoken of.
fn last_segment(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The SHA-256 of a configuration, in hexadecimal digits.
fn config_digest(resolved: &Value) -> String {
    Sha256Hash::digest(resolved.to_string().as_bytes()).to_string()
}
