//! The configuration that runs.

use std::sync::Arc;

use serde_json::Value;

use super::config_file::ConfigFile;
use crate::base::pacer::Pacer;
use crate::config::BuildPlace;
use crate::registry::Registry;

/// Returns a text that no other recording has.
pub(crate) fn new_run_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// The configuration that runs, and what its pipelines are built with.
pub(crate) struct RunningConfig {
    pub(crate) registry: Registry,
    pub(crate) pacer: Arc<Pacer>,
    /// A text that no other recording has.
    pub(crate) run_id: String,
    /// Resolved form of what runs.
    pub(crate) resolved: Value,
    /// SHA-256 of the resolved form.
    pub(crate) digest: String,
    pub(crate) file: Arc<ConfigFile>,
}

impl RunningConfig {
    /// Returns the place in which pipelines of this configuration are built.
    pub(crate) fn place(&self) -> BuildPlace<'_> {
        BuildPlace { pacer: &self.pacer, run_id: &self.run_id, config_digest: self.digest.clone() }
    }
}
