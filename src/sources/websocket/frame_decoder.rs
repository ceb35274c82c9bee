//! The receive path: decodes the bytes of a WebSocket connection into lines (RFC 6455, section 5).
//!
//! A payload is copied once, from the read buffer to the end of the lines before it. The length
//! that a frame's header claims is checked before memory is reserved. UTF-8 and line feeds are
//! checked over all new messages at once: `\n` is ASCII, so a line is valid exactly where its
//! message is.

mod control_frame;
mod frame_error;
mod frame_header;
mod inflater;

use crate::plugin::batch::{Batch, fold_newlines};

pub use self::control_frame::{ClosePayload, ControlFrame};
pub use self::frame_error::FrameError;
use self::frame_header::{DataOpcode, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};
use self::inflater::Inflater;
use super::encoding::BinaryEncoding;

/// Size of a batch from which on no further compressed message is added to it.
const MAX_INFLATED_BATCH_BYTES: usize = 256 << 10;

/// The counts of messages that could not be written as they were received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeAnomalies {
    /// Number of line feeds that were replaced by spaces.
    pub newlines_folded: u64,
    /// Number of binary messages that are not text and were left out.
    pub undecodable: u64,
    /// Reason for which the first of them was, with what can be done.
    pub undecodable_reason: Option<&'static str>,
}

/// The limits of a [`FrameDecoder`].
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    /// Maximum length of a message in bytes.
    pub max_message_bytes: u64,
    /// Maximum number of messages in a batch.
    pub max_batch_messages: usize,
}

/// The progress of one call of [`FrameDecoder::feed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedProgress {
    /// Number of bytes that were decoded. The rest of the input must be fed again.
    pub consumed: usize,
    /// The control frame that ended the call, if one did.
    pub control: Option<ControlFrame>,
}

/// Decodes the frames of a server: bytes go in, lines and control frames come out.
#[derive(Debug)]
pub struct FrameDecoder {
    /// Complete messages, each with its `\n`, then the beginning of an incomplete one.
    lines: Vec<u8>,
    /// Offset just past the `\n` of each complete message.
    ends: Vec<u32>,
    /// Number of complete messages that are known to be UTF-8 without line feeds.
    checked_count: usize,
    state: DecodeState,
    /// The beginning of a header or of a control frame whose end is still to be received.
    carried_bytes: Vec<u8>,
    anomalies: DecodeAnomalies,
    encoding: BinaryEncoding,
    /// Present if compression was agreed on.
    inflater: Option<Inflater>,
    limits: FrameLimits,
}

/// The position of the decoder in the stream of data frames.
#[derive(Debug, Clone, Copy)]
enum DecodeState {
    /// Between two messages.
    Idle,
    /// Between two frames of a fragmented message.
    BetweenFrames(PartialMessage),
    /// Within the payload of a data frame, of which `remaining` bytes are still to be received.
    InPayload { message: PartialMessage, is_last_frame: bool, remaining: u64 },
}

/// A message that is not complete.
#[derive(Debug, Clone, Copy)]
struct PartialMessage {
    is_binary: bool,
    /// Set if the message is compressed (RFC 7692, 6).
    is_compressed: bool,
    /// Offset in `lines` up to which the text is known to be UTF-8.
    valid_up_to: usize,
}

/// The frame at the start of the input.
enum FrameStart {
    /// A data frame, whose header is consumed.
    Data,
    /// A control frame, which is consumed as a whole.
    Control(ControlFrame),
    /// Too few bytes to tell.
    Incomplete,
}

impl FrameDecoder {
    /// Creates a decoder that is at the start of a stream.
    pub fn new(limits: FrameLimits, encoding: BinaryEncoding) -> Self {
        Self {
            lines: Vec::new(),
            ends: Vec::new(),
            checked_count: 0,
            state: DecodeState::Idle,
            carried_bytes: Vec::new(),
            anomalies: DecodeAnomalies::default(),
            encoding,
            inflater: None,
            limits,
        }
    }

    /// Allows the server to compress its messages (RFC 7692).
    #[must_use]
    pub fn with_deflate(self) -> Self {
        Self { inflater: Some(Inflater::new()), ..self }
    }

    /// Decodes frames from the start of `input` until the input is used up, a control frame is
    /// found, or the batch is full.
    ///
    /// # Errors
    /// [`FrameError`]. The messages before the error can still be drained.
    pub fn feed(&mut self, input: &[u8]) -> Result<FeedProgress, FrameError> {
        let mut rest = input;
        // Every payload is shorter with its `\n` than with its header, unless it is compressed.
        self.lines.reserve(input.len());
        let decoded = self.decode_input(&mut rest);
        // An invalid message precedes any error of the frames after it.
        self.check_new_messages()?;
        Ok(FeedProgress { control: decoded?, consumed: input.len() - rest.len() })
    }

    /// Returns whether there are complete messages to drain.
    pub fn has_messages(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Returns whether there are as many messages as a batch may hold, or at least `bytes` bytes of
    /// them.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.ends.len() >= self.limits.max_batch_messages
            || self.ends.last().is_some_and(|&end| end as usize >= bytes)
    }

    /// Returns whether inflated messages fill a batch, which a small input can do.
    fn is_inflated_full(&self) -> bool {
        self.inflater.is_some() && self.is_full(MAX_INFLATED_BATCH_BYTES)
    }

    /// Moves all complete messages into `batch` and takes over the buffers of the batch.
    pub fn drain_into(&mut self, batch: &mut Batch) {
        let drained = self.end_offset(self.ends.len());
        match &mut self.state {
            DecodeState::Idle => {}
            DecodeState::BetweenFrames(message) | DecodeState::InPayload { message, .. } => {
                message.valid_up_to -= drained;
            }
        }
        self.checked_count = 0;
        batch.swap_in_lines(&mut self.lines, &mut self.ends);
    }

    /// Drains the counts since the last call.
    pub fn take_anomalies(&mut self) -> DecodeAnomalies {
        std::mem::take(&mut self.anomalies)
    }

    fn decode_input(&mut self, rest: &mut &[u8]) -> Result<Option<ControlFrame>, FrameError> {
        loop {
            if let DecodeState::InPayload { message, is_last_frame, remaining } = &mut self.state {
                let available = usize::try_from(*remaining).unwrap_or(usize::MAX).min(rest.len());
                let (payload, after) = rest.split_at(available);
                self.lines.extend_from_slice(payload);
                *rest = after;
                *remaining -= available as u64;
                if *remaining > 0 {
                    return Ok(None);
                }
                let message = *message;
                if *is_last_frame {
                    self.end_message(message)?;
                } else {
                    self.end_fragment(message)?;
                }
            }
            if self.ends.len() >= self.limits.max_batch_messages || self.is_inflated_full() {
                return Ok(None);
            }
            let start = if self.carried_bytes.is_empty() {
                self.parse_frame_start(rest)?
            } else {
                self.parse_carried_frame_start(rest)?
            };
            match start {
                FrameStart::Data => {}
                FrameStart::Control(control) => return Ok(Some(control)),
                FrameStart::Incomplete => {
                    self.carried_bytes.extend_from_slice(rest);
                    *rest = &[];
                    return Ok(None);
                }
            }
        }
    }

    /// Consumes the header of a data frame, or a whole control frame, at the start of `rest`.
    fn parse_frame_start(&mut self, rest: &mut &[u8]) -> Result<FrameStart, FrameError> {
        let Some(header) = FrameHeader::parse(rest, self.inflater.is_some())? else {
            return Ok(FrameStart::Incomplete);
        };
        match header.opcode {
            Opcode::Control(opcode) => {
                let Some(payload) = header.control_payload(rest)? else {
                    return Ok(FrameStart::Incomplete);
                };
                let control = ControlFrame::parse(opcode, payload)?;
                *rest = rest.split_at(header.header_len + payload.len()).1;
                Ok(FrameStart::Control(control))
            }
            Opcode::Data(opcode) => {
                self.begin_frame(&header, opcode)?;
                *rest = rest.split_at(header.header_len).1;
                Ok(FrameStart::Data)
            }
        }
    }

    /// Like [`Self::parse_frame_start`], with the carried bytes in front of `rest`.
    fn parse_carried_frame_start(&mut self, rest: &mut &[u8]) -> Result<FrameStart, FrameError> {
        let mut joined = std::mem::take(&mut self.carried_bytes);
        let carried = joined.len();
        let missing = (MAX_HEADER + MAX_CONTROL_PAYLOAD - carried).min(rest.len());
        joined.extend_from_slice(rest.split_at(missing).0);
        let mut joined_rest = joined.as_slice();
        let start = self.parse_frame_start(&mut joined_rest)?;
        if matches!(start, FrameStart::Incomplete) {
            joined.truncate(carried);
            self.carried_bytes = joined;
        } else {
            let consumed = joined.len() - joined_rest.len() - carried;
            *rest = rest.split_at(consumed).1;
        }
        Ok(start)
    }

    fn begin_frame(&mut self, header: &FrameHeader, opcode: DataOpcode) -> Result<(), FrameError> {
        let message_start = self.end_offset(self.ends.len());
        let is_compressed = header.is_compressed();
        let message = match (opcode, self.state) {
            (DataOpcode::Continuation, DecodeState::BetweenFrames(_)) if is_compressed => {
                // Only the first frame of a message marks compression (RFC 7692, 6.1).
                return Err(FrameError::ReservedBits(header.first_byte));
            }
            (DataOpcode::Continuation, DecodeState::BetweenFrames(message)) => message,
            (DataOpcode::Continuation, _) => return Err(FrameError::UnexpectedContinuation),
            (DataOpcode::Text | DataOpcode::Binary, DecodeState::Idle) => PartialMessage {
                is_binary: opcode == DataOpcode::Binary,
                is_compressed,
                valid_up_to: message_start,
            },
            (DataOpcode::Text | DataOpcode::Binary, _) => return Err(FrameError::Interleaved),
        };
        let received = (self.lines.len() - message_start) as u64;
        let length = received.saturating_add(header.payload_len);
        let limit = self.limits.max_message_bytes;
        if length > limit {
            return Err(FrameError::MessageTooLarge { length, limit });
        }
        let is_last_frame = header.is_final();
        let remaining = header.payload_len;
        self.state = DecodeState::InPayload { message, is_last_frame, remaining };
        Ok(())
    }

    /// Ends a frame that is not the last one of its message.
    fn end_fragment(&mut self, mut message: PartialMessage) -> Result<(), FrameError> {
        // Text is rejected at the first fragment that cannot become UTF-8.
        if !message.is_binary && !message.is_compressed {
            let unchecked = self.lines.split_at(message.valid_up_to).1;
            match std::str::from_utf8(unchecked) {
                Ok(text) => message.valid_up_to += text.len(),
                Err(error) if error.error_len().is_none() => {
                    message.valid_up_to += error.valid_up_to();
                }
                Err(_) => return Err(FrameError::InvalidUtf8),
            }
        }
        self.state = DecodeState::BetweenFrames(message);
        Ok(())
    }

    /// Turns the payload at the end of `lines`, which is complete, into a line.
    fn end_message(&mut self, message: PartialMessage) -> Result<(), FrameError> {
        self.state = DecodeState::Idle;
        let limit = self.limits.max_message_bytes;
        if message.is_compressed {
            let start = self.end_offset(self.ends.len());
            let inflater = self.inflater.as_mut();
            let inflater = inflater.expect("the header's RSV1 is rejected without an inflater");
            inflater.inflate_in_place(&mut self.lines, start, limit)?;
        }
        if !message.is_binary || self.decode_binary() {
            self.lines.push(b'\n');
            // `max_message_size` and the read buffer keep a batch below 4 GiB.
            let end = u32::try_from(self.lines.len()).map_err(|_| FrameError::MessageTooLarge {
                length: self.lines.len() as u64,
                limit,
            })?;
            self.ends.push(end);
        }
        Ok(())
    }

    /// Decodes the binary message at the end of `lines` into text. Removes the message and returns
    /// `false` if it has none.
    fn decode_binary(&mut self) -> bool {
        let start = self.end_offset(self.ends.len());
        let payload = self.lines.split_at(start).1;
        let is_text = std::str::from_utf8(payload).is_ok();
        if is_text && !self.encoding.may_be_compressed(payload) {
            return true;
        }
        let limit = self.limits.max_message_bytes;
        let decoded = if is_text {
            self.encoding.decode_textual(payload, limit)
        } else {
            self.encoding.decode(payload, limit)
        };
        match decoded {
            Some(text) => {
                self.lines.truncate(start);
                self.lines.extend_from_slice(text.as_bytes());
                true
            }
            None if is_text => true,
            None => {
                let reason = self.encoding.undecodable_reason(payload);
                self.anomalies.undecodable_reason.get_or_insert(reason);
                self.anomalies.undecodable += 1;
                self.lines.truncate(start);
                false
            }
        }
    }

    /// Checks the messages since the last call. Cuts the lines before the first invalid message.
    fn check_new_messages(&mut self) -> Result<(), FrameError> {
        let start = self.end_offset(self.checked_count);
        let end = self.end_offset(self.ends.len());
        let new = self.lines.split_at(end).0.split_at(start).1;
        let is_valid = simdutf8::basic::from_utf8(new).is_ok();
        if !is_valid {
            let valid_len = std::str::from_utf8(new).map_or_else(|e| e.valid_up_to(), str::len);
            let valid_count = self.ends.partition_point(|&end| end as usize <= start + valid_len);
            self.ends.truncate(valid_count);
            self.lines.truncate(self.end_offset(valid_count));
            self.state = DecodeState::Idle;
        }
        let end = self.end_offset(self.ends.len());
        let new = self.lines.split_at(end).0.split_at(start).1;
        if memchr::memchr_iter(b'\n', new).count() != self.ends.len() - self.checked_count {
            self.fold_new_messages(start);
        }
        self.checked_count = self.ends.len();
        if is_valid { Ok(()) } else { Err(FrameError::InvalidUtf8) }
    }

    fn fold_new_messages(&mut self, mut start: usize) {
        for &end in self.ends.split_at(self.checked_count).1 {
            let end = end as usize;
            let payload = self.lines.split_at_mut(end - 1).0.split_at_mut(start).1;
            self.anomalies.newlines_folded += fold_newlines(payload) as u64;
            start = end;
        }
    }

    /// Returns the offset just past the first `count` messages.
    fn end_offset(&self, count: usize) -> usize {
        let last = count.checked_sub(1).and_then(|last| self.ends.get(last));
        last.map_or(0, |&end| end as usize)
    }
}

#[cfg(test)]
mod tests;
