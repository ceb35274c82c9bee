//! The number by which the archive knows a connection.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a connection in a recording, from 1 in the order in which they were established.
///
/// All sources of a pipeline count together, and no number is used twice. The journal writes it as
/// a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Returns the identifier with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
