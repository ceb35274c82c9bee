//! Builds the pipelines of a checked configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::config_text::ConfigText;
use super::document::{Document, with_shorthand_path};
use super::located_section::LocatedSection;
use super::pipeline_config::PipelineConfig;
use crate::base::config_error::ConfigError;
use crate::base::error_chain::error_chain;
use crate::base::pacer::Pacer;
use crate::base::problem::Problem;
use crate::engine::{NamedPlugin, Overflow, Pipeline};
use crate::metrics::PipelineStats;
use crate::plugin::{BuildContext, OnError, RunInfo, Sink, Stage};

/// The sections of every pipeline, and the limits that each pipeline gets.
pub(crate) struct PipelineBuilder {
    text: ConfigText,
    written_keys: Map<String, Value>,
    pipelines: Vec<PipelineConfig>,
    limits: PipelineLimits,
}

/// The limits that each pipeline gets.
struct PipelineLimits {
    max_messages: usize,
    max_bytes: usize,
    overflow: Overflow,
    shutdown_timeout: Duration,
}

/// The recorder for which pipelines are built.
pub(crate) struct BuildPlace<'a> {
    pub(crate) pacer: &'a Arc<Pacer>,
    /// A text that no other recording has.
    pub(crate) run_id: &'a str,
    /// SHA-256 of the resolved form of the configuration, in hexadecimal digits.
    pub(crate) config_digest: String,
}

/// The topics of each source of a pipeline that runs.
pub(crate) type RunningSources = Vec<Vec<String>>;

/// Everything that the plugins of one recording share.
struct BuildShared<'a> {
    pacer: &'a Arc<Pacer>,
    run: RunInfo,
    /// Number of sinks that keep files of hours open.
    file_holders: usize,
}

/// A pipeline that is built, with its counters.
pub(crate) struct BuiltPipeline {
    pub(crate) pipeline: Pipeline,
    pub(crate) stats: Arc<PipelineStats>,
}

/// The pipeline whose place a pipeline that is built takes.
#[derive(Default)]
pub(crate) struct FormerPipeline {
    pub(crate) stats: Arc<PipelineStats>,
    pub(crate) sources: RunningSources,
}

impl PipelineBuilder {
    pub(super) fn new(
        text: ConfigText,
        written_keys: Map<String, Value>,
        document: &Document,
        pipelines: Vec<PipelineConfig>,
    ) -> Self {
        let limits = PipelineLimits {
            max_messages: document.buffer_size as usize,
            max_bytes: usize::try_from(document.buffer_bytes.bytes()).unwrap_or(usize::MAX),
            overflow: document.overflow,
            shutdown_timeout: document.shutdown_timeout.to_duration(),
        };
        Self { text, written_keys, pipelines, limits }
    }

    /// Builds all pipelines. Opens no connection and no file, except those that a key names as
    /// input, such as a certificate.
    ///
    /// # Errors
    /// The first problem that a plugin has with its section, with its position.
    pub(crate) fn build(self, place: &BuildPlace<'_>) -> Result<Vec<BuiltPipeline>, ConfigError> {
        self.build_each(place, |_| Some(FormerPipeline::default()))
    }

    /// Builds the pipelines that have a name in `former`, and can take the place of what runs.
    ///
    /// # Errors
    /// See [`Self::build`].
    pub(crate) fn rebuild(
        self,
        place: &BuildPlace<'_>,
        mut former: BTreeMap<String, FormerPipeline>,
    ) -> Result<Vec<BuiltPipeline>, ConfigError> {
        self.build_each(place, |name| former.remove(name))
    }

    /// Builds the pipelines for which `former` returns what they take the place of.
    fn build_each(
        self,
        place: &BuildPlace<'_>,
        mut former: impl FnMut(&str) -> Option<FormerPipeline>,
    ) -> Result<Vec<BuiltPipeline>, ConfigError> {
        let Self { text, written_keys, pipelines, limits } = self;
        let run = RunInfo {
            id: place.run_id.to_owned(),
            config_digest: place.config_digest.clone(),
            ..RunInfo::default()
        };
        let dirs = pipelines.iter().flat_map(PipelineConfig::sink_dirs);
        let file_holders = dirs.filter(|sink| sink.dir.is_some()).count();
        let shared = BuildShared { pacer: place.pacer, run, file_holders };
        let mut built = Vec::new();
        for pipeline in pipelines {
            if let Some(former) = former(&pipeline.name) {
                let pipeline = build_pipeline(pipeline, &limits, &text, &shared, former);
                built.push(pipeline.map_err(|problem| {
                    text.error(vec![with_shorthand_path(problem, &written_keys)])
                })?);
            }
        }
        Ok(built)
    }
}

fn build_pipeline(
    config: PipelineConfig,
    limits: &PipelineLimits,
    text: &ConfigText,
    shared: &BuildShared<'_>,
    former: FormerPipeline,
) -> Result<BuiltPipeline, Problem> {
    let FormerPipeline { stats, sources: running } = former;
    let PipelineConfig { name, source, stages, sinks } = config;
    let topics = source.section.properties.topics.clone();
    let topic_selector = source.section.properties.topic_selector.clone();
    let mut context = BuildContext::new(topics, Arc::clone(&stats), limits.max_messages)
        .with_pipeline(&name)
        .with_topic_selector(topic_selector.clone())
        .with_pacer(Arc::clone(shared.pacer))
        .with_file_holders(shared.file_holders)
        .with_shards(running)
        .with_secrets(text.secrets.clone());
    let sources = build_section(source, &context)?;
    let endpoint = sources.first().map(|source| source.endpoint()).unwrap_or_default();
    context = context.with_run_info(RunInfo { endpoint, ..shared.run.clone() });
    let (stages, rejecting_stage) = build_stages(stages, &mut context)?;
    let sink_dirs = sinks.iter().map(|sink| sink.section.properties.archive_dir.clone());
    let sink_dirs = sink_dirs.collect();
    let sinks = build_sinks(sinks, &mut context)?;
    let mut required = sinks.iter().filter(|sink| sink.common.required);
    if let Some(path) = rejecting_stage
        && !required.any(|sink| sink.plugin.wants_rejected())
    {
        let message =
            "rejects messages, and no required sink stores rejected messages; a `jsonl` sink does";
        return Err(Problem::at(path, message));
    }
    let pipeline = Pipeline {
        name,
        sources,
        topic_selector,
        stages,
        sinks,
        max_messages: limits.max_messages,
        max_bytes: limits.max_bytes,
        overflow: limits.overflow,
        shutdown_timeout: limits.shutdown_timeout,
        control: Arc::default(),
        sink_dirs,
    };
    Ok(BuiltPipeline { pipeline, stats })
}

type Stages = Vec<NamedPlugin<dyn Stage>>;

/// Builds the stages, and returns with them the path of the first one that can reject messages.
fn build_stages(
    sections: Vec<LocatedSection<Box<dyn Stage>>>,
    context: &mut BuildContext,
) -> Result<(Stages, Option<String>), Problem> {
    let mut stages = Vec::new();
    let mut rejecting_stage = None;
    for located in sections {
        let stats = context.set_plugin(&plugin_name(&located));
        let common = located.section.common;
        let path = located.path.clone();
        let plugin = build_section(located, context)?;
        if plugin.can_reject() || common.on_error == OnError::Reject {
            rejecting_stage.get_or_insert(path);
        }
        stages.push(NamedPlugin::new(plugin, common, stats));
    }
    Ok((stages, rejecting_stage))
}

fn build_sinks(
    sections: Vec<LocatedSection<Box<dyn Sink>>>,
    context: &mut BuildContext,
) -> Result<Vec<NamedPlugin<dyn Sink>>, Problem> {
    let mut sinks = Vec::new();
    for located in sections {
        let stats = context.set_plugin(&plugin_name(&located));
        let common = located.section.common;
        sinks.push(NamedPlugin::new(build_section(located, context)?, common, stats));
    }
    Ok(sinks)
}

/// Builds the plugin of a section.
fn build_section<R>(located: LocatedSection<R>, context: &BuildContext) -> Result<R, Problem> {
    let LocatedSection { path, section } = located;
    let keys = section.resolved.clone();
    section.build(context).map_err(|error| Problem::in_section(&path, error_chain(&*error), &keys))
}

/// Returns the name of a plugin in messages: `stages[0] (filter)`, also for `pipelines.a.stages[0]`,
/// because every message names the pipeline.
fn plugin_name<R>(located: &LocatedSection<R>) -> String {
    let path = located.path.rsplit('.').next().unwrap_or(&located.path);
    format!("{path} ({})", located.section.type_name)
}
