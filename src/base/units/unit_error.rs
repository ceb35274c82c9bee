//! The error for a text that is no quantity.

/// The reason for which a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text does not start with a number.
    #[error("`{text}` does not start with a number; write for example \"{example}\"")]
    NoNumber {
        /// Text as written.
        text: String,
        /// Valid text.
        example: &'static str,
    },
    /// The unit is missing or unknown.
    #[error("`{text}` needs a unit: one of {units}")]
    UnknownUnit {
        /// Text as written.
        text: String,
        /// Units that exist.
        units: String,
    },
    /// The quantity does not fit into 64 bits.
    #[error("`{text}` is too large")]
    TooLarge {
        /// Text as written.
        text: String,
    },
    /// The quantity has decimals that the smallest unit cannot hold.
    #[error("`{text}` is not a whole number of {smallest_unit}")]
    NotWhole {
        /// Text as written.
        text: String,
        /// Smallest unit, in the plural.
        smallest_unit: &'static str,
    },
}
