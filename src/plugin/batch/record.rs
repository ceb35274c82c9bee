//! A single message.

/// A message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The message as received, without the line feed that follows it in the file.
    pub payload: &'a [u8],
    /// Topic of the message, if a plugin of the pipeline asked for topics and the source has a rule
    /// that finds them.
    pub topic: Option<&'a str>,
}
