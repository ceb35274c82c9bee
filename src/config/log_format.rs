//! The `log_format` key of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// A line for people: time, level, message, `key=value`.
    #[default]
    Text,
    /// An object with the keys `time`, `level` and `message`, and those of the line.
    Json,
}
