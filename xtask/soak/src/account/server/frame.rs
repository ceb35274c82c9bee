//! The frames of RFC 6455, as far as the recorder sends them.

/// An unmasked frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) const TEXT: u8 = 1;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const PING: u8 = 9;
    pub(super) const PONG: u8 = 10;

    /// Removes the first frame of a client from the bytes that came; `None` if it is incomplete.
    pub(super) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, header) = match second & 0x7F {
            126 => {
                let length: [u8; 2] = bytes.get(2..4)?.try_into().ok()?;
                (usize::from(u16::from_be_bytes(length)), 4)
            }
            // The requests of a recorder are short.
            short => (usize::from(short), 2),
        };
        let mask: [u8; 4] = bytes.get(header..header + 4)?.try_into().ok()?;
        let end = header + 4 + length;
        let masked = bytes.get(header + 4..end)?;
        let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame = Self { opcode: first & 0x0F, payload: payload.collect() };
        bytes.drain(..end);
        Some(frame)
    }

    /// Appends a frame of the server.
    pub(super) fn append(bytes: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
        bytes.push(0x80 | opcode);
        match u8::try_from(payload.len()) {
            Ok(short) if short < 126 => bytes.push(short),
            _ => {
                bytes.push(126);
                let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
    }
}
