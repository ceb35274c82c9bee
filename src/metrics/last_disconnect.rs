//! The last disconnect of a pipeline.

use serde::{Deserialize, Serialize};

/// The last connection that was lost or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDisconnect {
    /// Kind of cause, as counted under `disconnects`.
    pub cause: String,
    /// Details, with the server's own words if it gave any.
    pub detail: String,
    /// Time of the disconnect, RFC 3339.
    pub at: String,
}
