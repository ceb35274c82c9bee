//! The reasons for which received messages are lost.

/// The reason why received messages are not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropCause {
    /// The queue was full (`overflow: "drop_newest"`).
    Overflow,
    /// The messages are binary, and not text after decoding.
    Undecodable,
    /// A stage held the messages when it failed. Their number is an upper bound.
    Stage,
    /// The recorder stopped while the sink could not take the messages.
    GivenUp,
}

impl DropCause {
    /// Returns the cause as it is spelled in journals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Undecodable => "undecodable",
            Self::Stage => "stage",
            Self::GivenUp => "given_up",
        }
    }
}
