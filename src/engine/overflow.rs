//! The `overflow` key of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Action for messages that arrive while the queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overflow {
    /// Stop reading until there is room. TCP flow control holds the server back; nothing is dropped
    /// here.
    #[default]
    Block,
    /// Drop the messages that do not fit, count them, and warn at most once a second.
    DropNewest,
}
