//! A plugin, and what the engine knows of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::PluginStats;
use crate::registry::CommonKeys;

/// What fails again and again is told of this often.
pub(super) const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A plugin and the name by which messages speak of it, such as `sinks[0] (jsonl)`.
pub(crate) struct NamedPlugin<T: ?Sized> {
    pub(crate) name: String,
    pub(crate) plugin: Box<T>,
    pub(crate) common: CommonKeys,
    pub(crate) stats: Arc<PluginStats>,
    /// The last failure that the log was told of, and when.
    last_logged: Option<(String, Instant)>,
}

impl<T: ?Sized> NamedPlugin<T> {
    pub(crate) fn new(plugin: Box<T>, common: CommonKeys, stats: Arc<PluginStats>) -> Self {
        Self { name: stats.name().to_owned(), plugin, common, stats, last_logged: None }
    }

    /// Whether the log should be told of this failure, rather than that it was told of it a short
    /// time ago.
    pub(super) fn record_failure(&mut self, words: &str) -> bool {
        let told = self.last_logged.as_ref();
        let told =
            told.is_some_and(|(told, at)| told == words && at.elapsed() < FAILURE_LOG_INTERVAL);
        if !told {
            self.last_logged = Some((words.to_owned(), Instant::now()));
        }
        !told
    }
}
