//! The plugins that a program can use, by name.
//!
//! A registry is a plain value and no global: tests and programs with plugins of their own make
//! theirs.

mod plugin_types;
mod section;

use std::path::Path;

pub(crate) use self::plugin_types::{PluginDescription, PluginTypes};
pub(crate) use self::section::Section;
use self::section::{PluginProperties, parse_config};
use crate::plugin::{PluginKind, Sink, SinkConfig, Source, SourceConfig, Stage, StageConfig};
use crate::{sinks, sources, stages};

/// The running sources of a section: one source, or several that share the topics.
pub(crate) type Sources = Vec<Box<dyn Source>>;

/// The plugins that a configuration may name.
#[derive(Debug, Clone)]
pub struct Registry {
    sources: PluginTypes<Sources>,
    stages: PluginTypes<Box<dyn Stage>>,
    sinks: PluginTypes<Box<dyn Sink>>,
}

impl Registry {
    /// Returns a registry with every plugin of this library.
    pub fn builtin() -> Self {
        Self::empty()
            .source::<sources::exec::ExecSourceConfig>()
            .source::<sources::file::FileConfig>()
            .source::<sources::stdin::StdinConfig>()
            .source::<sources::websocket::WebsocketConfig>()
            .stage::<stages::dedup::DedupConfig>()
            .stage::<stages::exec::ExecStageConfig>()
            .stage::<stages::filter::FilterConfig>()
            .stage::<stages::jq::JqConfig>()
            .stage::<stages::sample::SampleConfig>()
            .stage::<stages::stamp::StampConfig>()
            .stage::<stages::validate::ValidateConfig>()
            .stage::<stages::verbatim::VerbatimConfig>()
            .stage_alias("passthrough", "verbatim")
            .sink::<sinks::exec::ExecSinkConfig>()
            .sink::<sinks::jsonl::JsonlConfig>()
            .sink::<sinks::stdout::StdoutConfig>()
    }

    /// Returns a registry without plugins.
    pub fn empty() -> Self {
        Self {
            sources: PluginTypes::new(PluginKind::Source),
            stages: PluginTypes::new(PluginKind::Stage),
            sinks: PluginTypes::new(PluginKind::Sink),
        }
    }

    /// Adds a source, or replaces the source of the same name.
    #[must_use]
    pub fn source<C: SourceConfig>(mut self) -> Self {
        self.sources.add::<C>(C::TYPE, C::example, |value, path, common| {
            let config: C = parse_config(&value, path)?;
            let properties = PluginProperties {
                topics: config.topics().to_vec(),
                topic_selector: config.topic_selector(),
                uses_stdin: config.uses_stdin(),
                ..PluginProperties::default()
            };
            Section::new(C::TYPE, path, config, common, properties, C::build_all)
        });
        self
    }

    /// Adds a stage, or replaces the stage of the same name.
    #[must_use]
    pub fn stage<C: StageConfig>(mut self) -> Self {
        self.stages.add::<C>(C::TYPE, C::example, |value, path, common| {
            let config: C = parse_config(&value, path)?;
            let properties = PluginProperties::default();
            Section::new(C::TYPE, path, config, common, properties, C::build)
        });
        self
    }

    /// Adds a sink, or replaces the sink of the same name.
    #[must_use]
    pub fn sink<C: SinkConfig>(mut self) -> Self {
        self.sinks.add::<C>(C::TYPE, C::example, |value, path, common| {
            let config: C = parse_config(&value, path)?;
            let properties = PluginProperties {
                archive_dir: config.archive_dir().map(Path::to_owned),
                uses_stdout: config.uses_stdout(),
                ..PluginProperties::default()
            };
            Section::new(C::TYPE, path, config, common, properties, C::build)
        });
        self
    }

    /// Makes `alias` another name of the stage `name`.
    #[must_use]
    pub fn stage_alias(mut self, alias: &'static str, name: &'static str) -> Self {
        self.stages.add_alias(alias, name);
        self
    }

    pub(crate) fn sources(&self) -> &PluginTypes<Sources> {
        &self.sources
    }

    pub(crate) fn stages(&self) -> &PluginTypes<Box<dyn Stage>> {
        &self.stages
    }

    pub(crate) fn sinks(&self) -> &PluginTypes<Box<dyn Sink>> {
        &self.sinks
    }
}
