//! An outage of a pipeline.

use serde::{Deserialize, Serialize};

/// The time without a connection, of the part of the topics for which that has lasted longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Parts of the topics without a connection.
    pub parts: u64,
    /// Parts into which the topics are divided, each with connections of its own.
    pub of_parts: u64,
    /// Seconds without a connection.
    pub seconds: u64,
    /// Cause of the last attempt that failed, if one has.
    pub cause: Option<String>,
    /// Seconds until the next attempt; `null` during one.
    pub next_connect_seconds: Option<u64>,
}
