//! The header of a frame (RFC 6455, 5.2).

use super::frame_error::{FrameError, RESERVED_BITS, RSV1};

/// Maximum length of a header: two bytes and an 8-byte length; servers do not mask (5.2).
pub(super) const MAX_HEADER: usize = 10;
/// Maximum payload of a control frame (5.5).
pub(super) const MAX_CONTROL_PAYLOAD: usize = 125;

/// The header of a frame.
pub(super) struct FrameHeader {
    pub(super) first_byte: u8,
    pub(super) opcode: Opcode,
    pub(super) payload_len: u64,
    /// Length of the header itself.
    pub(super) header_len: usize,
}

/// The kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Data(DataOpcode),
    Control(ControlOpcode),
}

/// The kind of a data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataOpcode {
    Continuation,
    Text,
    Binary,
}

/// The kind of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlOpcode {
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn from_first_byte(first_byte: u8) -> Result<Self, FrameError> {
        Ok(match first_byte & 0x0F {
            0x0 => Self::Data(DataOpcode::Continuation),
            0x1 => Self::Data(DataOpcode::Text),
            0x2 => Self::Data(DataOpcode::Binary),
            0x8 => Self::Control(ControlOpcode::Close),
            0x9 => Self::Control(ControlOpcode::Ping),
            0xA => Self::Control(ControlOpcode::Pong),
            reserved => return Err(FrameError::ReservedOpcode(reserved)),
        })
    }
}

impl FrameHeader {
    /// Parses the header at the start of `input`. Returns `None` if the header is incomplete.
    ///
    /// `allow_compressed` says whether compression was agreed on.
    pub(super) fn parse(input: &[u8], allow_compressed: bool) -> Result<Option<Self>, FrameError> {
        let &[first_byte, second_byte, ref rest @ ..] = input else {
            return Ok(None);
        };
        // Control frames are never compressed (RFC 7692, 6).
        let is_compressed = allow_compressed && first_byte & 0x78 == RSV1;
        if first_byte & RESERVED_BITS != 0 && !is_compressed {
            return Err(FrameError::ReservedBits(first_byte));
        }
        if second_byte & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let (payload_len, header_len) = match second_byte {
            127 => match rest.first_chunk() {
                Some(&bytes) => (u64::from_be_bytes(bytes), 10),
                None => return Ok(None),
            },
            126 => match rest.first_chunk() {
                Some(&bytes) => (u64::from(u16::from_be_bytes(bytes)), 4),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        let opcode = Opcode::from_first_byte(first_byte)?;
        Ok(Some(Self { first_byte, opcode, payload_len, header_len }))
    }

    /// Returns whether the frame is the last one of its message.
    pub(super) fn is_final(&self) -> bool {
        self.first_byte & 0x80 != 0
    }

    /// Returns whether the frame begins a compressed message (RFC 7692, 6).
    pub(super) fn is_compressed(&self) -> bool {
        self.first_byte & RSV1 != 0
    }

    /// Returns the payload of a control frame at the start of `input`, or `None` if the payload is
    /// incomplete.
    pub(super) fn control_payload<'a>(
        &self,
        input: &'a [u8],
    ) -> Result<Option<&'a [u8]>, FrameError> {
        if !self.is_final() {
            return Err(FrameError::FragmentedControl);
        }
        match usize::try_from(self.payload_len) {
            Ok(length @ ..=MAX_CONTROL_PAYLOAD) => {
                Ok(input.get(self.header_len..self.header_len + length))
            }
            _ => Err(FrameError::ControlTooLong(self.payload_len)),
        }
    }
}
