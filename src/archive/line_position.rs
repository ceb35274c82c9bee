//! A position in a file of lines.

/// End of a line: the number of bytes and of lines up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinePosition {
    /// Bytes, line feeds included.
    pub(super) bytes: u64,
    /// Number of lines.
    pub(super) messages: u64,
}
