//! The causes in a journal's `drop` events.

/// The reason why received messages are not among the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropCause {
    /// The queue was full (`overflow: "drop_newest"`).
    Overflow,
    /// The messages are binary, and not text after decoding.
    Undecodable,
    /// A stage held the messages when it failed. Their number is an upper bound.
    Stage,
    /// The recorder stopped before the sink could take the messages.
    GivenUp,
    /// The file of the messages could not be written, and no more of them fitted into memory.
    Unwritable,
}

impl DropCause {
    /// Returns the cause as journals spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Undecodable => "undecodable",
            Self::Stage => "stage",
            Self::GivenUp => "given_up",
            Self::Unwritable => "unwritable",
        }
    }
}
