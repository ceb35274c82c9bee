//! Control frames (RFC 6455, 5.5).

use super::frame_error::FrameError;
use super::frame_header::ControlOpcode;

/// A control frame, which the connection answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlFrame {
    /// A ping, answered by a pong with the same payload (5.5.2).
    Ping(Vec<u8>),
    /// A pong: the other end is alive (5.5.3).
    Pong,
    /// A close frame: the end of the stream, with its reason if the server gives one (5.5.1).
    Close(Option<ClosePayload>),
}

/// The payload of a close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosePayload {
    /// Status code (7.4).
    pub code: u16,
    /// Explanation in the server's words, often empty.
    pub text: String,
}

impl ControlFrame {
    /// Parses the payload of a complete control frame.
    pub(super) fn parse(opcode: ControlOpcode, payload: &[u8]) -> Result<Self, FrameError> {
        match (opcode, payload) {
            (ControlOpcode::Ping, payload) => Ok(Self::Ping(payload.to_vec())),
            (ControlOpcode::Pong, _) => Ok(Self::Pong),
            (ControlOpcode::Close, []) => Ok(Self::Close(None)),
            (ControlOpcode::Close, [_]) => Err(FrameError::TruncatedCloseCode),
            (ControlOpcode::Close, [high, low, text @ ..]) => {
                let text = std::str::from_utf8(text).map_err(|_| FrameError::InvalidUtf8)?;
                let code = u16::from_be_bytes([*high, *low]);
                Ok(Self::Close(Some(ClosePayload { code, text: text.to_owned() })))
            }
        }
    }
}
