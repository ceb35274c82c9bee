//! From the bytes of a WebSocket connection to lines: the receive path (RFC 6455, section 5).
//!
//! Payloads are copied once, from the read buffer behind the lines that are already there.
//! What a frame's header claims is checked before memory is taken. UTF-8 and line feeds are
//! checked over all new messages at once: `\n` is ASCII, so a line is valid exactly where its
//! message is.

mod deflate;
mod header;

use crate::batch::{Batch, fold_newlines};

use self::deflate::Inflater;
use self::header::{
    BINARY, CLOSE, CONTINUATION, Header, MAX_CONTROL_PAYLOAD, MAX_HEADER, TEXT, control,
    control_payload,
};
use super::inflate::Encoding;

/// From this much on no further compressed message is taken into a batch.
const INFLATED_BYTES: usize = 256 << 10;

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
    LongControl(u64),
    /// A continuation frame without a beginning (5.4).
    #[error("the server sent a continuation frame without a message to continue")]
    NothingToContinue,
    /// A message that begins within another (5.4).
    #[error("the server began a message within an unfinished one")]
    Interleaved,
    /// A text message, or a close reason, that is not UTF-8 (8.1).
    #[error("the server sent text that is not UTF-8")]
    Utf8,
    /// A close frame with a payload of one byte (5.5.1).
    #[error("the server sent a close frame with half a code")]
    HalfCloseCode,
    /// A compressed message that is not what RFC 7692 says.
    #[error("the server sent a compressed message that cannot be inflated")]
    Deflate,
    /// A message that would exceed the limit.
    #[error("the server sent a message of at least {length} bytes; `max_message_size` is {limit}")]
    TooLarge {
        /// The length that is known so far.
        length: u64,
        /// The limit.
        limit: u64,
    },
}

/// A control frame, for the connection to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// To be answered by a pong with the same payload (5.5.2).
    Ping(Vec<u8>),
    /// The other end is alive (5.5.3).
    Pong,
    /// The end of the stream: code and reason, where given (5.5.1).
    Close(Option<(u16, String)>),
}

/// What happened to messages that could not be written as they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Line feeds that became spaces.
    pub newlines_folded: u64,
    /// Binary messages that are not text and were left out.
    pub undecodable: u64,
}

/// The limits of an [`Unframer`].
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest message, in bytes.
    pub message: u64,
    /// The most messages in a batch.
    pub batch: usize,
}

/// Takes the frames of a server apart. Bytes go in as they come, lines and control frames come
/// out.
#[derive(Debug)]
pub struct Unframer {
    /// Whole messages, each with its `\n`, then what there is of an unfinished one.
    lines: Vec<u8>,
    /// For each whole message the offset just past its `\n`.
    ends: Vec<u32>,
    /// How many of `ends` are known to be UTF-8 without line feeds.
    checked: usize,
    /// The message that is being received.
    message: Option<Message>,
    /// Payload bytes of the current data frame that are still to come.
    missing: u64,
    /// The beginning of a header or a control frame that came without its end.
    carry: Vec<u8>,
    oddities: Oddities,
    encoding: Encoding,
    /// Where compression was agreed on.
    inflater: Option<Inflater>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    binary: bool,
    /// Whether it is compressed (RFC 7692, 6).
    packed: bool,
    /// Whether the current frame is its last.
    last_frame: bool,
    /// How much of the unfinished text is known to be UTF-8, as an offset into `lines`.
    valid: usize,
}

/// What stands at the start of the input.
enum Begun {
    /// A data frame, whose header is taken.
    Data,
    /// A control frame, taken whole.
    Control(Control),
    /// Not enough to tell.
    Nothing,
}

impl Unframer {
    /// An unframer at the start of a stream.
    pub fn new(limits: Limits, encoding: Encoding) -> Self {
        Self {
            lines: Vec::new(),
            ends: Vec::new(),
            checked: 0,
            message: None,
            missing: 0,
            carry: Vec::new(),
            oddities: Oddities::default(),
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
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Control>), FrameError> {
        let mut rest = input;
        // Every payload is shorter with its `\n` than with its header, unless it is compressed.
        self.lines.reserve(input.len());
        let walked = self.walk(&mut rest);
        // An invalid message comes before whatever ended the walk.
        self.check_new_lines()?;
        walked.map(|control| (input.len() - rest.len(), control))
    }

    /// Whether there are messages to take.
    pub fn has_messages(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Whether there are as many messages as a batch may have, or this many bytes of them.
    pub fn is_full(&self, bytes: usize) -> bool {
        self.ends.len() >= self.limits.batch
            || self.ends.last().is_some_and(|&end| end as usize >= bytes)
    }

    /// Whether what was inflated is enough for a batch: little input can be much.
    fn is_inflated(&self) -> bool {
        self.inflater.is_some() && self.is_full(INFLATED_BYTES)
    }

    /// Moves all whole messages into the batch and takes its buffers in return.
    pub fn take(&mut self, batch: &mut Batch) {
        let whole = self.end_of(self.ends.len());
        if let Some(message) = &mut self.message {
            message.valid = message.valid.saturating_sub(whole);
        }
        self.checked = 0;
        batch.take_lines(&mut self.lines, &mut self.ends);
    }

    /// The oddities since the last call.
    pub fn take_oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.oddities)
    }

    fn walk(&mut self, rest: &mut &[u8]) -> Result<Option<Control>, FrameError> {
        loop {
            if self.missing > 0 {
                let there = usize::try_from(self.missing).unwrap_or(usize::MAX).min(rest.len());
                let (payload, behind) = rest.split_at(there);
                self.lines.extend_from_slice(payload);
                *rest = behind;
                self.missing -= there as u64;
                if self.missing > 0 {
                    return Ok(None);
                }
                self.end_frame()?;
            }
            if self.ends.len() >= self.limits.batch || self.is_inflated() {
                return Ok(None);
            }
            let begun =
                if self.carry.is_empty() { self.begin(rest)? } else { self.begin_carried(rest)? };
            match begun {
                Begun::Data => {}
                Begun::Control(control) => return Ok(Some(control)),
                Begun::Nothing => {
                    self.carry.extend_from_slice(rest);
                    *rest = &[];
                    return Ok(None);
                }
            }
        }
    }

    /// Takes a data frame's header or a whole control frame from the start of `rest`.
    fn begin(&mut self, rest: &mut &[u8]) -> Result<Begun, FrameError> {
        let Some(header) = Header::parse(rest, self.inflater.is_some())? else {
            return Ok(Begun::Nothing);
        };
        if header.opcode() >= CLOSE {
            let Some(payload) = control_payload(&header, rest)? else {
                return Ok(Begun::Nothing);
            };
            let control = control(header.opcode(), payload)?;
            *rest = rest.get(header.size + payload.len()..).unwrap_or_default();
            return Ok(Begun::Control(control));
        }
        self.begin_frame(&header)?;
        *rest = rest.get(header.size..).unwrap_or_default();
        if self.missing == 0 {
            self.end_frame()?;
        }
        Ok(Begun::Data)
    }

    /// The same, with what was carried over in front of `rest`.
    fn begin_carried(&mut self, rest: &mut &[u8]) -> Result<Begun, FrameError> {
        let mut joined = std::mem::take(&mut self.carry);
        let carried = joined.len();
        let room = MAX_HEADER + MAX_CONTROL_PAYLOAD - carried;
        joined.extend_from_slice(rest.get(..room).unwrap_or(rest));
        let mut left = joined.as_slice();
        let begun = self.begin(&mut left)?;
        if matches!(begun, Begun::Nothing) {
            joined.truncate(carried);
            self.carry = joined;
        } else {
            let used = joined.len() - left.len() - carried;
            *rest = rest.get(used..).unwrap_or_default();
        }
        Ok(begun)
    }

    fn begin_frame(&mut self, header: &Header) -> Result<(), FrameError> {
        let begun = self.end_of(self.ends.len());
        let last_frame = header.is_final();
        let packed = header.is_packed();
        self.message = match (header.opcode(), self.message) {
            // Only the first frame of a message says that (6.1).
            (CONTINUATION, Some(_)) if packed => {
                return Err(FrameError::ReservedBits(header.first));
            }
            (CONTINUATION, Some(message)) => Some(Message { last_frame, ..message }),
            (CONTINUATION, None) => return Err(FrameError::NothingToContinue),
            (TEXT | BINARY, Some(_)) => return Err(FrameError::Interleaved),
            (opcode @ (TEXT | BINARY), None) => {
                Some(Message { binary: opcode == BINARY, packed, last_frame, valid: begun })
            }
            (opcode, _) => return Err(FrameError::ReservedOpcode(opcode)),
        };
        let length = ((self.lines.len() - begun) as u64).saturating_add(header.length);
        let limit = self.limits.message;
        if length > limit {
            return Err(FrameError::TooLarge { length, limit });
        }
        self.missing = header.length;
        Ok(())
    }

    /// The current data frame is complete.
    fn end_frame(&mut self) -> Result<(), FrameError> {
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        if !message.last_frame {
            // Text is refused at the first fragment that cannot become UTF-8 any more.
            if !message.binary && !message.packed {
                let text = self.lines.get(message.valid..).unwrap_or_default();
                match std::str::from_utf8(text) {
                    Ok(text) => message.valid += text.len(),
                    Err(error) if error.error_len().is_none() => {
                        message.valid += error.valid_up_to();
                    }
                    Err(_) => return Err(FrameError::Utf8),
                }
            }
            return Ok(());
        }
        let Message { binary, packed, .. } = *message;
        self.message = None;
        if packed && let Some(inflater) = &mut self.inflater {
            let start = self.ends.last().map_or(0, |&end| end as usize);
            inflater.unpack(&mut self.lines, start, self.limits.message)?;
        }
        if !binary || self.decode() {
            self.lines.push(b'\n');
            // `max_message_size` and the read buffer keep a batch below 4 GiB.
            self.ends.push(u32::try_from(self.lines.len()).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    /// Makes text of the binary message at the end of `lines`, or takes it out and says `false`.
    fn decode(&mut self) -> bool {
        let start = self.end_of(self.ends.len());
        let payload = self.lines.get(start..).unwrap_or_default();
        if std::str::from_utf8(payload).is_ok() {
            return true;
        }
        let decoded = self.encoding.decode(payload, self.limits.message);
        self.lines.truncate(start);
        match decoded {
            Some(text) => self.lines.extend_from_slice(text.as_bytes()),
            None => self.oddities.undecodable += 1,
        }
        self.lines.len() > start
    }

    /// Checks the messages that are new since the last call. After an invalid one the lines end
    /// before it.
    fn check_new_lines(&mut self) -> Result<(), FrameError> {
        let start = self.end_of(self.checked);
        let end = self.end_of(self.ends.len());
        let new = self.lines.get(start..end).unwrap_or_default();
        let valid = simdutf8::basic::from_utf8(new).is_ok();
        if !valid {
            let valid = std::str::from_utf8(new).map_or_else(|e| e.valid_up_to(), str::len);
            let good = self.ends.partition_point(|&end| end as usize <= start + valid);
            self.ends.truncate(good);
            self.lines.truncate(self.end_of(good));
            self.message = None;
        }
        let new = self.lines.get(start..self.end_of(self.ends.len())).unwrap_or_default();
        if memchr::memchr_iter(b'\n', new).count() != self.ends.len() - self.checked {
            self.fold_new_lines(start);
        }
        self.checked = self.ends.len();
        if valid { Ok(()) } else { Err(FrameError::Utf8) }
    }

    fn fold_new_lines(&mut self, mut start: usize) {
        for &end in self.ends.get(self.checked..).unwrap_or_default() {
            let payload = self.lines.get_mut(start..end as usize - 1).unwrap_or_default();
            self.oddities.newlines_folded += fold_newlines(payload) as u64;
            start = end as usize;
        }
    }

    /// The offset just past the first `count` messages.
    fn end_of(&self, count: usize) -> usize {
        let last = count.checked_sub(1).and_then(|last| self.ends.get(last));
        last.map_or(0, |&end| end as usize)
    }
}

#[cfg(test)]
mod tests;
