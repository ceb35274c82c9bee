//! A decoder of the server's frames that is independent of the recorder's.

use anyhow::{Context, Result, bail};
use flate2::{Decompress, FlushDecompress};

/// The opcode of a close frame.
pub(crate) const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The bit that marks a compressed message (RFC 7692, 6).
const RSV1: u8 = 0x40;

/// A message of the server, as it was before compression.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) is_binary: bool,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// Returns whether the recorder writes the message: it is text, whatever its opcode.
    pub(crate) fn is_text(&self) -> bool {
        std::str::from_utf8(&self.payload).is_ok()
    }
}

/// Decodes the frames of a server (RFC 6455, 5, and RFC 7692, 7.2.2) up to a close frame, or to where
/// the stream becomes invalid: nothing behind that may be recorded.
#[derive(Default)]
pub(crate) struct MessageDecoder {
    input: Vec<u8>,
    /// Present if the server compresses.
    inflate: Option<Inflate>,
    partial: Option<Partial>,
    has_ended: bool,
}

struct Inflate {
    decompress: Decompress,
    resets: bool,
}

struct Partial {
    message: Message,
    is_compressed: bool,
}

impl MessageDecoder {
    /// Creates a decoder for a connection with these headers of the response.
    pub(crate) fn for_response(head: &str) -> Self {
        let head = head.to_ascii_lowercase();
        let line = head.lines().find(|line| line.starts_with("sec-websocket-extensions:"));
        let inflate = line.filter(|line| line.contains("permessage-deflate")).map(|line| Inflate {
            decompress: Decompress::new(false),
            resets: line.contains("server_no_context_takeover"),
        });
        Self { inflate, ..Self::default() }
    }

    /// Adds bytes of the stream and returns the messages that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.input.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while !self.has_ended
            && let Some(frame) = split_frame(&mut self.input)
        {
            match self.add_frame(&frame) {
                Ok(message) => messages.extend(message),
                Err(_) => self.has_ended = true,
            }
        }
        messages
    }

    fn add_frame(&mut self, frame: &Frame) -> Result<Option<Message>> {
        let is_compression_possible = self.inflate.is_some();
        if frame.reserved != 0 && !(is_compression_possible && frame.reserved == RSV1) {
            bail!("reserved bits");
        }
        match frame.opcode {
            0..=2 => {}
            PING | PONG if frame.is_final && frame.payload.len() <= 125 => return Ok(None),
            _ => bail!("a close frame, or an invalid one"),
        }
        if frame.opcode != 0 {
            if self.partial.is_some() {
                bail!("a message within a message");
            }
            let message = Message { is_binary: frame.opcode == 2, payload: Vec::new() };
            self.partial = Some(Partial { message, is_compressed: frame.reserved == RSV1 });
        }
        let partial = self.partial.as_mut().context("a continuation of nothing")?;
        partial.message.payload.extend_from_slice(&frame.payload);
        if !frame.is_final {
            return Ok(None);
        }
        let Some(Partial { mut message, is_compressed }) = self.partial.take() else {
            return Ok(None);
        };
        if is_compressed {
            let inflate = self.inflate.as_mut().context("compression was not agreed on")?;
            message.payload = inflate.inflate(message.payload)?;
        }
        if !message.is_binary && !message.is_text() {
            bail!("text that is not UTF-8");
        }
        Ok(Some(message))
    }
}

impl Inflate {
    fn inflate(&mut self, mut payload: Vec<u8>) -> Result<Vec<u8>> {
        if self.resets {
            self.decompress.reset(false);
        }
        payload.extend_from_slice(&[0, 0, 0xFF, 0xFF]);
        let mut inflated = Vec::with_capacity(payload.len() * 4 + 64);
        let mut rest = payload.as_slice();
        loop {
            let before = self.decompress.total_in();
            self.decompress.decompress_vec(rest, &mut inflated, FlushDecompress::Sync)?;
            let taken = usize::try_from(self.decompress.total_in() - before)?;
            rest = rest.get(taken..).unwrap_or_default();
            if rest.is_empty() && inflated.len() < inflated.capacity() {
                return Ok(inflated);
            }
            if inflated.len() < inflated.capacity() && taken == 0 {
                bail!("the compressed message is broken");
            }
            inflated.reserve(inflated.len() + 64);
        }
    }
}

/// A frame of either side, unmasked.
pub(crate) struct Frame {
    pub(crate) is_final: bool,
    /// The bits RSV1 to RSV3.
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
    /// The frame as it was sent.
    pub(crate) wire: Vec<u8>,
}

/// Returns the offset just past the head of an HTTP message, if it is complete.
pub(crate) fn find_head_end(bytes: &[u8]) -> Option<usize> {
    let start = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(start + 4)
}

/// Removes the first frame from `input`, if it is complete.
pub(crate) fn split_frame(input: &mut Vec<u8>) -> Option<Frame> {
    let &[first, second, ..] = input.as_slice() else { return None };
    let (length_bytes, length) = match second & 0x7F {
        126 => (2, input.get(2..4)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))),
        127 => (8, input.get(2..10)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))),
        short => (0, u64::from(short)),
    };
    let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
    let start: usize = 2 + length_bytes + mask_bytes;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    let mut payload = input.get(start..end)?.to_vec();
    let mask = input.get(start - mask_bytes..start)?.to_vec();
    if !mask.is_empty() {
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
    let wire = input.drain(..end).collect();
    let is_final = first & 0x80 != 0;
    Some(Frame { is_final, reserved: first & 0x70, opcode: first & 0x0F, payload, wire })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_and_control_frames_are_told_apart() {
        let mut decoder = MessageDecoder::for_response("HTTP/1.1 101 OK\r\n");
        let bytes = b"\x01\x02ab\x89\x01p\x80\x01c\x82\x01\xff";
        let mut messages = Vec::new();
        for byte in bytes {
            messages.extend(decoder.feed(&[*byte]));
        }
        let text = Message { is_binary: false, payload: b"abc".to_vec() };
        let binary = Message { is_binary: true, payload: b"\xff".to_vec() };
        assert_eq!(messages, [text, binary]);
    }

    #[test]
    fn nothing_counts_behind_a_close_frame_or_an_invalid_one() {
        for end in [&b"\x88\x00"[..], b"\x91\x00", b"\x83\x00", b"\x80\x00", b"\x81\x01\xff"] {
            let mut decoder = MessageDecoder::for_response("HTTP/1.1 101 OK\r\n");
            let bytes = [b"\x81\x01a", end, b"\x81\x01b"].concat();
            assert_eq!(decoder.feed(&bytes).len(), 1, "{end:?}");
        }
    }

    #[test]
    fn compressed_messages_are_inflated_with_the_context_of_those_before() {
        let head = "HTTP/1.1 101 OK\r\nSec-WebSocket-Extensions: Permessage-Deflate\r\n";
        let mut decoder = MessageDecoder::for_response(head);
        // The examples of RFC 7692, 7.2.3.1 and 7.2.3.2.
        let first = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
        let second = b"\xc1\x05\xf2\x00\x11\x00\x00";
        let hello = Message { is_binary: false, payload: b"Hello".to_vec() };
        assert_eq!(decoder.feed(first), [hello]);
        assert_eq!(decoder.feed(second).len(), 1);
    }
}
