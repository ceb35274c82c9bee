//! The change of a pipeline that runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::reload_report::PipelineReload;
use crate::base::error_chain::error_chain;
use crate::config::SectionsDiff;
use crate::engine::{
    ConfigDigests, FixedParts, NamedPlugin, NewSink, Pipeline, PluginChange, SinkChange,
    SourceChange,
};
use crate::plugin::{Sink, Source};
use crate::recorder::pipeline_starter::RunningPipeline;

/// The change of a pipeline that runs, with everything that it needs.
pub(super) struct PipelineChange {
    sections: SectionsDiff,
    sources: Vec<Box<dyn Source>>,
    plugins: PluginChange,
    fixed: FixedParts,
    sink_dirs: Vec<Option<PathBuf>>,
}

impl PipelineChange {
    /// Prepares the change of a pipeline to another one, of which `sections` differ. Opens the sinks
    /// that are new, unless they take the directory of one that is to be closed.
    ///
    /// # Errors
    /// What prevents the change of the pipeline while it runs.
    pub(super) async fn prepare(
        running: &RunningPipeline,
        new: Pipeline,
        mut sections: SectionsDiff,
    ) -> Result<Self, String> {
        let fixed = new.fixed_parts();
        if let Some(obstacle) = running.control.obstacle_to(&new.sources, &fixed) {
            return Err(obstacle.to_string());
        }
        // Files that would have other names are those of another sink.
        sections.sinks.extend(running.control.moved_sinks(&fixed));
        let Pipeline { sources, stages, sinks, sink_dirs, .. } = new;
        let is_held = |dir: &PathBuf| running.sink_dirs.iter().flatten().any(|held| held == dir);
        let mut new_sinks = BTreeMap::new();
        for ((index, sink), dir) in sinks.into_iter().enumerate().zip(&sink_dirs) {
            if sections.sinks.contains(&index) {
                let opens = sink.common.required && !dir.as_ref().is_some_and(is_held);
                new_sinks.insert(index, if opens { open(sink).await? } else { unopened(sink) });
            }
        }
        let changes = sections.sinks.iter();
        let changes =
            changes.map(|index| SinkChange { index: *index, sink: new_sinks.remove(index) });
        let sinks = changes.collect();
        let plugins = PluginChange { stages: sections.stages.then_some(stages), sinks };
        Ok(Self { sections, sources, plugins, fixed, sink_dirs })
    }

    /// Makes the change, and returns what was done.
    pub(super) async fn apply(
        self,
        running: &mut RunningPipeline,
        digests: &ConfigDigests,
    ) -> PipelineReload {
        let Self { sections, sources, plugins, fixed, sink_dirs } = self;
        running.sink_dirs = sink_dirs;
        if plugins.stages.is_some() || !plugins.sinks.is_empty() {
            // Before the topics change, of which the new sinks are told like the others.
            running.control.replace_plugins(plugins, fixed);
        }
        let change =
            if sections.is_topics_only() { SourceChange::Topics } else { SourceChange::Whole };
        // None if it has ended just now, and has nothing to change.
        let replaced = running.control.replace_sources(sources, change, digests).await;
        let applied = replaced.unwrap_or_default();
        PipelineReload {
            topics_added: applied.added,
            topics_removed: applied.removed,
            reconnects_for: match change {
                SourceChange::Topics => Vec::new(),
                SourceChange::Whole => sections.source_keys,
            },
            stages_replaced: sections.stages,
            sinks_replaced: sections.sinks.iter().map(|index| format!("sinks[{index}]")).collect(),
            lifecycle: None,
        }
    }
}

fn unopened(sink: NamedPlugin<dyn Sink>) -> NewSink {
    NewSink { sink, is_open: false }
}

/// Opens the sink on a thread of its own, since its disk may not answer.
async fn open(mut sink: NamedPlugin<dyn Sink>) -> Result<NewSink, String> {
    let opened = spawn_blocking(move || match sink.plugin.open() {
        Ok(()) => Ok(NewSink { sink, is_open: true }),
        Err(error) => Err(format!("{} cannot be opened: {}", sink.name, error_chain(&*error))),
    });
    opened.await.unwrap_or_else(|error| Err(error.to_string()))
}
