//! The verdict on one hour.

use serde::Serialize;

/// The result of verifying one hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum HourVerdict {
    /// The hour is sealed and holds what its journal records.
    Intact {
        /// Number of lines.
        messages: u64,
        /// Bytes of the lines.
        raw_bytes: u64,
    },
    /// The hour is sealed and decodes to complete lines, but no journal records what they should be.
    /// The next archive run records them.
    Unrecorded {
        /// Number of lines.
        messages: u64,
        /// Bytes of the lines.
        raw_bytes: u64,
    },
    /// The hour is not sealed yet, and has all lines that its journal records.
    Unsealed {
        /// Number of lines.
        messages: u64,
        /// Bytes of the lines.
        raw_bytes: u64,
    },
    /// The hour cannot be read, so that its content is unknown.
    Unreadable {
        /// Error, for people.
        reason: String,
    },
    /// The hour does not hold what it should.
    Bad {
        /// Difference, for people.
        reason: String,
    },
}
