//! The ways in which a program answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The way in which a program answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Replies")]
pub enum ReplyMode {
    /// With any number of lines at any time. Lines that the program read shortly before it ended
    /// may be lost, and are counted: those among the last 256 KiB that it read, unless it was idle
    /// for 2 seconds since.
    #[default]
    Any,
    /// With exactly one line for each message, in order; an empty line drops the message. Messages
    /// without an answer when the program ends pass unchanged: nothing is lost.
    Each,
}
