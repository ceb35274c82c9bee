//! The negotiated state of the server's compressor.

/// Tells whether the server's compressor keeps its window from one message to the next
/// (RFC 7692, 7.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextTakeover {
    /// A message may refer to the messages before it.
    Keep,
    /// Each message is compressed on its own.
    Reset,
}
