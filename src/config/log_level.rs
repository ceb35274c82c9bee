//! The `log_level` key of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lowest level of the lines that are logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogLevel {
    /// What needs somebody's help.
    Error,
    /// What may need it.
    Warn,
    /// Every event, and the status lines.
    #[default]
    Info,
    /// Pings, subscriptions and other details as well.
    Debug,
}
