//! What a single stage or sink did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::Counter;

/// The counters of one stage or sink.
#[derive(Debug)]
pub struct PluginStats {
    name: String,
    /// Messages that it was given.
    pub taken: Counter,
    /// Messages that it handed on, or wrote.
    pub given: Counter,
    /// Messages on which a stage failed, or calls of a sink that failed.
    pub errors: Counter,
    custom: Mutex<BTreeMap<&'static str, Arc<Counter>>>,
}

impl PluginStats {
    /// Counters at zero for the plugin of this name.
    pub fn new(name: impl Into<String>) -> Self {
        let (taken, given, errors) = Default::default();
        Self { name: name.into(), taken, given, errors, custom: Mutex::default() }
    }

    /// The name by which messages speak of the plugin, such as `stages[0] (filter)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A counter of the plugin's own, shown by `streamer status --json` under this name.
    pub fn register_counter(&self, name: &'static str) -> Arc<Counter> {
        let mut own = self.custom.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(own.entry(name).or_default())
    }

    /// The counters at this moment.
    pub fn snapshot(&self) -> PluginSnapshot {
        let own = self.custom.lock().unwrap_or_else(PoisonError::into_inner);
        PluginSnapshot {
            name: self.name.clone(),
            taken: self.taken.get(),
            given: self.given.get(),
            errors: self.errors.get(),
            counters: own.iter().map(|(name, own)| ((*name).to_owned(), own.get())).collect(),
        }
    }
}

/// What a stage or sink did so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSnapshot {
    /// Its place and type, such as `stages[0] (filter)`.
    pub name: String,
    /// Messages that it was given.
    pub taken: u64,
    /// Messages that a stage handed on, or a sink handed to the operating system.
    pub given: u64,
    /// Messages on which a stage failed, or calls of a sink that failed.
    pub errors: u64,
    /// What the plugin counts beyond that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
}
