//! The counters of one stage or sink.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::counter::Counter;
use super::lock::lock;

/// The counters of one stage or sink.
#[derive(Debug)]
pub struct PluginStats {
    name: String,
    /// Messages passed to the plugin.
    pub taken: Counter,
    /// Messages that a stage passed on, or that a sink handed to the operating system.
    pub given: Counter,
    /// Messages on which a stage failed, or failed calls of a sink.
    pub errors: Counter,
    custom: Mutex<BTreeMap<&'static str, Arc<Counter>>>,
}

impl PluginStats {
    /// Creates counters at zero for the plugin of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            taken: Counter::default(),
            given: Counter::default(),
            errors: Counter::default(),
            custom: Mutex::default(),
        }
    }

    /// Returns the name of the plugin in messages, such as `stages[0] (filter)`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the plugin's own counter of this name, creating it at zero. `streamer status --json`
    /// shows it.
    pub fn register_counter(&self, name: &'static str) -> Arc<Counter> {
        Arc::clone(lock(&self.custom).entry(name).or_default())
    }

    /// Returns all values at this moment.
    pub fn snapshot(&self) -> PluginSnapshot {
        let custom = lock(&self.custom);
        let counters = custom.iter().map(|(name, counter)| ((*name).to_owned(), counter.get()));
        PluginSnapshot {
            name: self.name.clone(),
            taken: self.taken.get(),
            given: self.given.get(),
            errors: self.errors.get(),
            counters: counters.collect(),
        }
    }
}

/// The values of a plugin's counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginSnapshot {
    /// Position and type of the plugin, such as `stages[0] (filter)`.
    pub name: String,
    /// Messages passed to the plugin.
    pub taken: u64,
    /// Messages that a stage passed on, or that a sink handed to the operating system.
    pub given: u64,
    /// Messages on which a stage failed, or failed calls of a sink.
    pub errors: u64,
    /// Counters of the plugin's own, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, u64>,
}
