//! The plugins that a program knows: by name, with their schema.

mod builtin;
mod plugin_types;
mod section;

use std::path::Path;

pub(crate) use self::plugin_types::PluginTypes;
pub(crate) use self::section::{CommonKeys, OnError, Section};
use self::section::{PluginProperties, parse_config, resolved_keys};
use crate::plugin::{Sink, SinkConfig, Source, SourceConfig, Stage, StageConfig};

/// What a source's section makes: one source, or several that share the topics.
pub(crate) type Sources = Vec<Box<dyn Source>>;

/// A value that knows which types of plugins there are. No global state: tests and third parties
/// make their own.
#[derive(Debug)]
pub struct Registry {
    sources: PluginTypes<Sources>,
    stages: PluginTypes<Box<dyn Stage>>,
    sinks: PluginTypes<Box<dyn Sink>>,
}

impl Registry {
    /// A registry without any plugin.
    pub fn empty() -> Self {
        Self {
            sources: PluginTypes::new("source"),
            stages: PluginTypes::new("stage"),
            sinks: PluginTypes::new("sink"),
        }
    }

    /// Adds a source, or replaces the one of the same name.
    #[must_use]
    pub fn source<C: SourceConfig>(mut self) -> Self {
        self.sources.add::<C>(C::TYPE, C::example, |value, path, common| {
            let config: C = parse_config(&value, path)?;
            let (topics, topic) = (config.topics().to_vec(), config.topic_selector());
            let uses_stdin = config.uses_stdin();
            let extra = PluginProperties {
                topics,
                topic_selector: topic,
                uses_stdin,
                ..PluginProperties::default()
            };
            Ok(Section::new(C::TYPE, resolved_keys(&config), common, extra, move |c| {
                config.build_all(c)
            }))
        });
        self
    }

    /// Adds a stage, or replaces the one of the same name.
    #[must_use]
    pub fn stage<C: StageConfig>(mut self) -> Self {
        self.stages.add::<C>(C::TYPE, C::example, |value, path, common| {
            let config: C = parse_config(&value, path)?;
            let extra = PluginProperties::default();
            Ok(Section::new(C::TYPE, resolved_keys(&config), common, extra, move |c| {
                config.build(c)
            }))
        });
        self
    }

    /// Adds a sink, or replaces the one of the same name.
    #[must_use]
    pub fn sink<C: SinkConfig>(mut self) -> Self {
        self.sinks.add::<C>(C::TYPE, C::example, |value, path, common| {
            let config: C = parse_config(&value, path)?;
            let archive_dir = config.archive_dir().map(Path::to_owned);
            let uses_stdout = config.uses_stdout();
            let extra =
                PluginProperties { archive_dir, uses_stdout, ..PluginProperties::default() };
            Ok(Section::new(C::TYPE, resolved_keys(&config), common, extra, move |c| {
                config.build(c)
            }))
        });
        self
    }

    /// Makes `alias` another name of the stage `name`.
    #[must_use]
    pub fn stage_alias(mut self, alias: &'static str, name: &'static str) -> Self {
        self.stages.aliases.insert(alias, name);
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
