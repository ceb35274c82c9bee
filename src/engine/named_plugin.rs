//! A plugin with its name, its common keys and its counters.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::base::failure_log::FAILURE_LOG_INTERVAL;
use crate::metrics::PluginStats;
use crate::plugin::CommonKeys;

/// A plugin with its name, its common keys and its counters.
pub(crate) struct NamedPlugin<T: ?Sized> {
    /// The name by which messages refer to the plugin, such as `sinks[0] (jsonl)`.
    pub(crate) name: String,
    pub(crate) plugin: Box<T>,
    pub(crate) common: CommonKeys,
    pub(crate) stats: Arc<PluginStats>,
    last_logged: Option<LoggedFailure>,
    is_contract_breach_logged: bool,
}

/// A failure that is in the log.
struct LoggedFailure {
    message: String,
    at: Instant,
}

impl<T: ?Sized> fmt::Debug for NamedPlugin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NamedPlugin").field(&self.name).finish()
    }
}

impl<T: ?Sized> NamedPlugin<T> {
    /// Creates a plugin with the name of its counters.
    pub(crate) fn new(plugin: Box<T>, common: CommonKeys, stats: Arc<PluginStats>) -> Self {
        Self {
            name: stats.name().to_owned(),
            plugin,
            common,
            stats,
            last_logged: None,
            is_contract_breach_logged: false,
        }
    }

    /// Returns whether the plugin is that of the section at `path`, such as `sinks[0]`.
    pub(super) fn is_of_section(&self, path: &str) -> bool {
        self.name.split(' ').next() == Some(path)
    }

    /// Records a failure and returns whether it is to be logged: the same failure is logged at most
    /// once in [`FAILURE_LOG_INTERVAL`].
    pub(super) fn record_failure(&mut self, message: &str) -> bool {
        let is_repeated = self.last_logged.as_ref().is_some_and(|last| {
            last.message == message && last.at.elapsed() < FAILURE_LOG_INTERVAL
        });
        if !is_repeated {
            let message = message.to_owned();
            self.last_logged = Some(LoggedFailure { message, at: Instant::now() });
        }
        !is_repeated
    }

    /// Records that the plugin broke its contract and returns whether that is to be logged: once.
    pub(super) fn record_contract_breach(&mut self) -> bool {
        !std::mem::replace(&mut self.is_contract_breach_logged, true)
    }
}
