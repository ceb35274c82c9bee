//! The header of a frame, and the control frames (RFC 6455, 5.2 and 5.5).

use super::{ControlFrame, FrameError};

/// Opcodes (5.2); those from 8 up are control frames.
pub(super) const CONTINUATION: u8 = 0x0;
pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;
/// The bit that marks a compressed message.
const RSV1: u8 = 0x40;
/// The longest header: two bytes and an 8-byte length; servers do not mask (5.2).
pub(super) const MAX_HEADER: usize = 10;
/// The longest payload of a control frame (5.5).
pub(super) const MAX_CONTROL_PAYLOAD: usize = 125;

/// A frame's header.
pub(super) struct FrameHeader {
    pub(super) first_byte: u8,
    pub(super) payload_len: u64,
    /// The header's own size.
    pub(super) header_len: usize,
}

impl FrameHeader {
    pub(super) fn opcode(&self) -> u8 {
        self.first_byte & 0x0F
    }

    pub(super) fn is_final(&self) -> bool {
        self.first_byte & 0x80 != 0
    }

    /// Whether it begins a compressed message (RFC 7692, 6).
    pub(super) fn is_compressed(&self) -> bool {
        self.first_byte & RSV1 != 0
    }

    /// The header at the start of `input`, `None` when it is not complete. `deflate` says whether
    /// compression was agreed on.
    pub(super) fn parse(input: &[u8], deflate: bool) -> Result<Option<Self>, FrameError> {
        let &[first, second, ref rest @ ..] = input else {
            return Ok(None);
        };
        let packed = deflate && first & 0x78 == RSV1;
        if first & 0x70 != 0 && !packed {
            return Err(FrameError::ReservedBits(first));
        }
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let (length, size) = match second {
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
        Ok(Some(Self { first_byte: first, payload_len: length, header_len: size }))
    }
}

/// The payload of a control frame, `None` when it is not complete.
pub(super) fn control_payload<'a>(
    header: &FrameHeader,
    input: &'a [u8],
) -> Result<Option<&'a [u8]>, FrameError> {
    if !matches!(header.opcode(), CLOSE | PING | PONG) {
        return Err(FrameError::ReservedOpcode(header.opcode()));
    }
    if !header.is_final() {
        return Err(FrameError::FragmentedControl);
    }
    if header.payload_len > MAX_CONTROL_PAYLOAD as u64 {
        return Err(FrameError::ControlTooLong(header.payload_len));
    }
    let length = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
    Ok(input.get(header.header_len..).and_then(|payload| payload.get(..length)))
}

pub(super) fn parse_control(opcode: u8, payload: &[u8]) -> Result<ControlFrame, FrameError> {
    match (opcode, payload) {
        (PING, payload) => Ok(ControlFrame::Ping(payload.to_vec())),
        (CLOSE, []) => Ok(ControlFrame::Close(None)),
        (CLOSE, [_]) => Err(FrameError::TruncatedCloseCode),
        (CLOSE, [high, low, reason @ ..]) => {
            let reason = std::str::from_utf8(reason).map_err(|_| FrameError::InvalidUtf8)?;
            let code = u16::from_be_bytes([*high, *low]);
            Ok(ControlFrame::Close(Some((code, reason.to_owned()))))
        }
        _ => Ok(ControlFrame::Pong),
    }
}
