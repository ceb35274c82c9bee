//! A configuration that was read and checked beside one that runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::archive::sha256_hash::Sha256Hash;
use crate::base::config_error::ConfigError;
use crate::base::pacer::Pacer;
use crate::base::secrets::Secrets;
use crate::config::{
    BuildPlace, BuiltPipeline, Config, ConfigDiff, FormerPipeline, PipelineDiff, config_digest,
};
use crate::recorder::reload::running_config::new_run_id;
use crate::registry::Registry;

/// A configuration that was read and checked, with the pipelines that differ from what runs.
pub(super) struct CheckedConfig {
    pub(super) text_hash: Sha256Hash,
    pub(super) resolved: Value,
    pub(super) diff: ConfigDiff,
    pub(super) pipelines: Vec<BuiltPipeline>,
    pub(super) secrets: Secrets,
}

/// What runs, as far as another configuration is compared with it and built for it.
pub(super) struct RunningParts {
    pub(super) registry: Registry,
    pub(super) pacer: Arc<Pacer>,
    pub(super) resolved: Value,
    pub(super) pipelines: BTreeMap<String, FormerPipeline>,
}

impl CheckedConfig {
    /// Reads and checks the file, and builds the pipelines that differ.
    ///
    /// # Errors
    /// Every problem of the file, each with its position.
    pub(super) fn load(file: &Path, running: RunningParts) -> Result<Self, ConfigError> {
        let RunningParts { registry, pacer, resolved: old, mut pipelines } = running;
        let config = Config::load(file, &registry)?;
        let diff = ConfigDiff::between(&old, &config.resolved);
        let former = |(name, diff): (&String, &PipelineDiff)| match diff {
            PipelineDiff::Added => Some((name.clone(), FormerPipeline::default())),
            PipelineDiff::Changed(_) => Some((name.clone(), pipelines.remove(name)?)),
            PipelineDiff::Removed => None,
        };
        let former = diff.pipelines.iter().filter_map(former).collect();
        let config_digest = config_digest(&config.resolved);
        // A sink that takes the place of another begins a run of its own.
        let run_id = new_run_id();
        let place = BuildPlace { pacer: &pacer, run_id: &run_id, config_digest };
        let pipelines = config.pipelines.rebuild(&place, former)?;
        Ok(Self {
            text_hash: config.text_hash,
            resolved: config.resolved,
            diff,
            pipelines,
            secrets: config.settings.secrets,
        })
    }
}
