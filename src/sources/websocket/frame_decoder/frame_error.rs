//! The error of a stream that cannot be decoded.

/// Bits of the first byte of a frame that only extensions use.
pub(super) const RESERVED_BITS: u8 = 0x70;
/// Bit of the first byte that marks a compressed message.
pub(super) const RSV1: u8 = 0x40;

/// A violation of the WebSocket protocol or of the configured limits.
///
/// The stream cannot be read past the violation. Section numbers are those of RFC 6455.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set that no extension uses that was agreed on (5.2).
    #[error("{words} (reserved bits, first byte {0:#04x})", words = reserved_bits_words(*.0))]
    ReservedBits(u8),
    /// The RFC does not define the opcode (5.2).
    #[error("a frame has the reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// The frame is masked, which servers must not do (5.1).
    #[error("the server sent a masked frame")]
    Masked,
    /// A control frame is fragmented (5.5).
    #[error("the server sent a fragmented control frame")]
    FragmentedControl,
    /// The payload of a control frame exceeds 125 bytes (5.5).
    #[error("the server sent a control frame of {0} bytes; at most 125 are allowed")]
    ControlTooLong(u64),
    /// A continuation frame has no message to continue (5.4).
    #[error("the server sent a continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// A message begins before the last one is complete (5.4).
    #[error("the server began a message within an unfinished one")]
    Interleaved,
    /// A text message or a close reason is not UTF-8 (8.1).
    #[error("the server sent text that is not UTF-8")]
    InvalidUtf8,
    /// The payload of a close frame is a single byte (5.5.1).
    #[error("the server sent a close frame with half a code")]
    TruncatedCloseCode,
    /// A compressed message does not conform to RFC 7692.
    #[error("the server sent a compressed message that cannot be inflated")]
    InvalidDeflate,
    /// A compressed message ends within a block (RFC 7692, 7.2.1).
    #[error("the server sent a compressed message that breaks off")]
    TruncatedDeflate,
    /// A message exceeds the limit.
    #[error("the server sent a message of at least {length} bytes; `max_message_size` is {limit}")]
    MessageTooLarge {
        /// Length in bytes, as far as it is known.
        length: u64,
        /// Maximum length in bytes.
        limit: u64,
    },
}

/// Returns what the reserved bits of the first byte of a frame break.
fn reserved_bits_words(first_byte: u8) -> &'static str {
    let opcode = first_byte & 0x0F;
    match (first_byte & RESERVED_BITS, opcode) {
        (RSV1, 0) => {
            "a continuation frame is marked as compressed, which only the first frame of a message may be"
        }
        (RSV1, 8..) => "a control frame is marked as compressed, which only messages may be",
        (RSV1, _) => "a message is marked as compressed, though no compression was agreed on",
        _ => "a frame has reserved bits set that no extension uses that was agreed on",
    }
}

impl FrameError {
    /// Returns whether the error comes from how the server compresses, so that it may not occur
    /// without compression.
    pub fn is_compression_fault(&self) -> bool {
        match self {
            // Compressed although it was not agreed on, or although something between took the
            // agreement away.
            Self::ReservedBits(first_byte) => first_byte & RESERVED_BITS == RSV1,
            Self::InvalidDeflate | Self::TruncatedDeflate => true,
            _ => false,
        }
    }
}
