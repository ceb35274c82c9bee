//! From the bytes of a WebSocket connection to lines: the receive path (RFC 6455, section 5).
//!
//! Payloads are copied once, from the read buffer behind the lines that are already there.
//! What a frame's header claims is checked before memory is taken. UTF-8 and line feeds are
//! checked over all new messages at once: `\n` is ASCII, so a line is valid exactly where its
//! message is.

mod frame_header;
mod inflater;

use crate::plugin::batch::{Batch, fold_newlines};

use self::frame_header::{
    BINARY, CLOSE, CONTINUATION, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, TEXT,
    control_payload, parse_control,
};
use self::inflater::Inflater;
use super::encoding::BinaryEncoding;

/// From this much on no further compressed message is taken into a batch.
const MAX_INFLATED_BATCH_BYTES: usize = 256 << 10;

/// A stream that does not keep to the protocol or to our limits. It cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set though no extension was agreed on (5.2).
    #[error(
        "a frame has reserved bits set (first byte {0:#04x}) though no extension was agreed on"
    )]
    ReservedBits(u8),
    /// An opcode that the RFC does not define (5.2).
    #[error("a frame has the reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// Servers do not mask (5.1).
    #[error("the server sent a masked frame")]
    Masked,
    /// A control frame in several parts (5.5).
    #[error("the server sent a fragmented control frame")]
    FragmentedControl,
    /// A control frame of more than 125 bytes (5.5).
    #[error("the server sent a control frame of {0} bytes; at most 125 are allowed")]
    ControlTooLong(u64),
    /// A continuation frame without a beginning (5.4).
    #[error("the server sent a continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// A message that begins within another (5.4).
    #[error("the server began a message within an unfinished one")]
    Interleaved,
    /// A text message, or a close reason, that is not UTF-8 (8.1).
    #[error("the server sent text that is not UTF-8")]
    InvalidUtf8,
    /// A close frame with a payload of one byte (5.5.1).
    #[error("the server sent a close frame with half a code")]
    TruncatedCloseCode,
    /// A compressed message that is not what RFC 7692 says.
    #[error("the server sent a compressed message that cannot be inflated")]
    InvalidDeflate,
    /// A message that would exceed the limit.
    #[error("the server sent a message of at least {length} bytes; `max_message_size` is {limit}")]
    MessageTooLarge {
        /// The length that is known so far.
        length: u64,
        /// The limit.
        limit: u64,
    },
}

/// A control frame, for the connection to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlFrame {
    /// To be answered by a pong with the same payload (5.5.2).
    Ping(Vec<u8>),
    /// The other end is alive (5.5.3).
    Pong,
    /// The end of the stream: code and reason, where given (5.5.1).
    Close(Option<(u16, String)>),
}

/// What happened to messages that could not be written as they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecodeAnomalies {
    /// Line feeds that became spaces.
    pub newlines_folded: u64,
    /// Binary messages that are not text and were left out.
    pub undecodable: u64,
}

/// The limits of an [`Unframer`].
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    /// The longest message, in bytes.
    pub max_message_bytes: u64,
    /// The most messages in a batch.
    pub max_batch_messages: usize,
}

/// Takes the frames of a server apart. Bytes go in as they come, lines and control frames come
/// out.
#[derive(Debug)]
pub struct FrameDecoder {
    /// Whole messages, each with its `\n`, then what there is of an unfinished one.
    lines: Vec<u8>,
    /// For each whole message the offset just past its `\n`.
    ends: Vec<u32>,
    /// How many of `ends` are known to be UTF-8 without line feeds.
    checked_count: usize,
    /// The message that is being received.
    partial_message: Option<PartialMessage>,
    /// Payload bytes of the current data frame that are still to come.
    payload_remaining: u64,
    /// The beginning of a header or a control frame that came without its end.
    carried_bytes: Vec<u8>,
    anomalies: DecodeAnomalies,
    encoding: BinaryEncoding,
    /// Where compression was agreed on.
    inflater: Option<Inflater>,
    limits: FrameLimits,
}

#[derive(Debug, Clone, Copy)]
struct PartialMessage {
    binary: bool,
    /// Whether it is compressed (RFC 7692, 6).
    compressed: bool,
    /// Whether the current frame is its last.
    is_last_frame: bool,
    /// How much of the unfinished text is known to be UTF-8, as an offset into `lines`.
    valid_up_to: usize,
}

/// What stands at the start of the input.
enum FrameStart {
    /// A data frame, whose header is taken.
    Data,
    /// A control frame, taken whole.
    Control(ControlFrame),
    /// Not enough to tell.
    Incomplete,
}

impl FrameDecoder {
    /// An unframer at the start of a stream.
    pub fn new(limits: FrameLimits, encoding: BinaryEncoding) -> Self {
        Self {
            lines: Vec::new(),
            ends: Vec::new(),
            checked_count: 0,
            partial_message: None,
            payload_remaining: 0,
            carried_bytes: Vec::new(),
            anomalies: DecodeAnomalies::default(),
            encoding,
            inflater: None,
            limits,
        }
    }

    /// The same for a server that may compress its messages (RFC 7692), with or without reference to
    /// those before.
    #[must_use]
    pub fn with_deflate(self, keeps_context: bool) -> Self {
        Self { inflater: Some(Inflater::new(keeps_context)), ..self }
    }

    /// Reads frames from the start of `input` until it is used up, a control frame came, or the
    /// batch is full. Says how much was used; the rest must be given again.
    ///
    /// # Errors
    /// [`FrameError`]. The messages before the fault can be taken.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<ControlFrame>), FrameError> {
        let mut rest = input;
        // Every payload is shorter with its `\n` than with its header, unless it is compressed.
        self.lines.reserve(input.len());
        let walked = self.decode_input(&mut rest);
        // An invalid message comes before whatever ended the walk.
        self.check_new_messages()?;
        walked.map(|control| (input.len() - rest.len(), control))
    }

    /// Whether there are messages to take.
    pub fn has_messages(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Whether there are as many messages as a batch may have, or this many bytes of them.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.ends.len() >= self.limits.max_batch_messages
            || self.ends.last().is_some_and(|&end| end as usize >= bytes)
    }

    /// Whether what was inflated is enough for a batch: little input can be much.
    fn is_inflated_full(&self) -> bool {
        self.inflater.is_some() && self.is_full(MAX_INFLATED_BATCH_BYTES)
    }

    /// Moves all whole messages into the batch and takes its buffers in return.
    pub fn drain_into(&mut self, batch: &mut Batch) {
        let whole = self.end_offset(self.ends.len());
        if let Some(message) = &mut self.partial_message {
            message.valid_up_to = message.valid_up_to.saturating_sub(whole);
        }
        self.checked_count = 0;
        batch.swap_in_lines(&mut self.lines, &mut self.ends);
    }

    /// The oddities since the last call.
    pub fn take_anomalies(&mut self) -> DecodeAnomalies {
        std::mem::take(&mut self.anomalies)
    }

    fn decode_input(&mut self, rest: &mut &[u8]) -> Result<Option<ControlFrame>, FrameError> {
        loop {
            if self.payload_remaining > 0 {
                let there =
                    usize::try_from(self.payload_remaining).unwrap_or(usize::MAX).min(rest.len());
                let (payload, behind) = rest.split_at(there);
                self.lines.extend_from_slice(payload);
                *rest = behind;
                self.payload_remaining -= there as u64;
                if self.payload_remaining > 0 {
                    return Ok(None);
                }
                self.end_frame()?;
            }
            if self.ends.len() >= self.limits.max_batch_messages || self.is_inflated_full() {
                return Ok(None);
            }
            let begun = if self.carried_bytes.is_empty() {
                self.parse_frame_start(rest)?
            } else {
                self.parse_carried_frame_start(rest)?
            };
            match begun {
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

    /// Takes a data frame's header or a whole control frame from the start of `rest`.
    fn parse_frame_start(&mut self, rest: &mut &[u8]) -> Result<FrameStart, FrameError> {
        let Some(header) = FrameHeader::parse(rest, self.inflater.is_some())? else {
            return Ok(FrameStart::Incomplete);
        };
        if header.opcode() >= CLOSE {
            let Some(payload) = control_payload(&header, rest)? else {
                return Ok(FrameStart::Incomplete);
            };
            let control = parse_control(header.opcode(), payload)?;
            *rest = rest.get(header.header_len + payload.len()..).unwrap_or_default();
            return Ok(FrameStart::Control(control));
        }
        self.begin_frame(&header)?;
        *rest = rest.get(header.header_len..).unwrap_or_default();
        if self.payload_remaining == 0 {
            self.end_frame()?;
        }
        Ok(FrameStart::Data)
    }

    /// The same, with what was carried over in front of `rest`.
    fn parse_carried_frame_start(&mut self, rest: &mut &[u8]) -> Result<FrameStart, FrameError> {
        let mut joined = std::mem::take(&mut self.carried_bytes);
        let carried = joined.len();
        let room = MAX_HEADER + MAX_CONTROL_PAYLOAD - carried;
        joined.extend_from_slice(rest.get(..room).unwrap_or(rest));
        let mut left = joined.as_slice();
        let begun = self.parse_frame_start(&mut left)?;
        if matches!(begun, FrameStart::Incomplete) {
            joined.truncate(carried);
            self.carried_bytes = joined;
        } else {
            let used = joined.len() - left.len() - carried;
            *rest = rest.get(used..).unwrap_or_default();
        }
        Ok(begun)
    }

    fn begin_frame(&mut self, header: &FrameHeader) -> Result<(), FrameError> {
        let begun = self.end_offset(self.ends.len());
        let last_frame = header.is_final();
        let packed = header.is_compressed();
        self.partial_message = match (header.opcode(), self.partial_message) {
            // Only the first frame of a message says that (6.1).
            (CONTINUATION, Some(_)) if packed => {
                return Err(FrameError::ReservedBits(header.first_byte));
            }
            (CONTINUATION, Some(message)) => {
                Some(PartialMessage { is_last_frame: last_frame, ..message })
            }
            (CONTINUATION, None) => return Err(FrameError::UnexpectedContinuation),
            (TEXT | BINARY, Some(_)) => return Err(FrameError::Interleaved),
            (opcode @ (TEXT | BINARY), None) => Some(PartialMessage {
                binary: opcode == BINARY,
                compressed: packed,
                is_last_frame: last_frame,
                valid_up_to: begun,
            }),
            (opcode, _) => return Err(FrameError::ReservedOpcode(opcode)),
        };
        let length = ((self.lines.len() - begun) as u64).saturating_add(header.payload_len);
        let limit = self.limits.max_message_bytes;
        if length > limit {
            return Err(FrameError::MessageTooLarge { length, limit });
        }
        self.payload_remaining = header.payload_len;
        Ok(())
    }

    /// The current data frame is complete.
    fn end_frame(&mut self) -> Result<(), FrameError> {
        let Some(message) = &mut self.partial_message else {
            return Ok(());
        };
        if !message.is_last_frame {
            // Text is refused at the first fragment that cannot become UTF-8 any more.
            if !message.binary && !message.compressed {
                let text = self.lines.get(message.valid_up_to..).unwrap_or_default();
                match std::str::from_utf8(text) {
                    Ok(text) => message.valid_up_to += text.len(),
                    Err(error) if error.error_len().is_none() => {
                        message.valid_up_to += error.valid_up_to();
                    }
                    Err(_) => return Err(FrameError::InvalidUtf8),
                }
            }
            return Ok(());
        }
        let PartialMessage { binary, compressed: packed, .. } = *message;
        self.partial_message = None;
        if packed && let Some(inflater) = &mut self.inflater {
            let start = self.ends.last().map_or(0, |&end| end as usize);
            inflater.inflate_in_place(&mut self.lines, start, self.limits.max_message_bytes)?;
        }
        if !binary || self.decode_binary() {
            self.lines.push(b'\n');
            // `max_message_size` and the read buffer keep a batch below 4 GiB.
            self.ends.push(u32::try_from(self.lines.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// Makes text of the binary message at the end of `lines`, or takes it out and says `false`.
    fn decode_binary(&mut self) -> bool {
        let start = self.end_offset(self.ends.len());
        let payload = self.lines.get(start..).unwrap_or_default();
        if std::str::from_utf8(payload).is_ok() {
            return true;
        }
        let decoded = self.encoding.decode(payload, self.limits.max_message_bytes);
        self.lines.truncate(start);
        match decoded {
            Some(text) => self.lines.extend_from_slice(text.as_bytes()),
            None => self.anomalies.undecodable += 1,
        }
        self.lines.len() > start
    }

    /// Checks the messages that are new since the last call. After an invalid one the lines end
    /// before it.
    fn check_new_messages(&mut self) -> Result<(), FrameError> {
        let start = self.end_offset(self.checked_count);
        let end = self.end_offset(self.ends.len());
        let new = self.lines.get(start..end).unwrap_or_default();
        let valid = simdutf8::basic::from_utf8(new).is_ok();
        if !valid {
            let valid = std::str::from_utf8(new).map_or_else(|e| e.valid_up_to(), str::len);
            let good = self.ends.partition_point(|&end| end as usize <= start + valid);
            self.ends.truncate(good);
            self.lines.truncate(self.end_offset(good));
            self.partial_message = None;
        }
        let new = self.lines.get(start..self.end_offset(self.ends.len())).unwrap_or_default();
        if memchr::memchr_iter(b'\n', new).count() != self.ends.len() - self.checked_count {
            self.fold_new_messages(start);
        }
        self.checked_count = self.ends.len();
        if valid { Ok(()) } else { Err(FrameError::InvalidUtf8) }
    }

    fn fold_new_messages(&mut self, mut start: usize) {
        for &end in self.ends.get(self.checked_count..).unwrap_or_default() {
            let payload = self.lines.get_mut(start..end as usize - 1).unwrap_or_default();
            self.anomalies.newlines_folded += fold_newlines(payload) as u64;
            start = end as usize;
        }
    }

    /// The offset just past the first `count` messages.
    fn end_offset(&self, count: usize) -> usize {
        let last = count.checked_sub(1).and_then(|last| self.ends.get(last));
        last.map_or(0, |&end| end as usize)
    }
}

#[cfg(test)]
mod tests;
