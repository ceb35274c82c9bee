//! Compressed messages (permessage-deflate, RFC 7692).

use flate2::{Decompress, FlushDecompress, Status};

use super::FrameError;

/// What ends every compressed message and is left out on the wire (7.2.1).
const BLOCK_TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// How much room is made at a time at the least.
const MIN_GROWTH: usize = 4 << 10;
/// A larger buffer is not kept from one message to the next.
const MAX_RETAINED_BYTES: usize = 1 << 20;

/// Inflates the messages of a connection.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Decompress,
    /// Whether a message may refer to those before it (7.1.1.1).
    context_takeover: bool,
    compressed: Vec<u8>,
}

impl Inflater {
    pub(super) fn new(keeps_context: bool) -> Self {
        Self {
            stream: Decompress::new(false),
            context_takeover: keeps_context,
            compressed: Vec::new(),
        }
    }

    /// Inflates the compressed message that stands in `lines` from `start` on, in place of it. A small
    /// message can inflate to gigabytes: no more than `limit` bytes are taken.
    // Never inlined, so that it does not grow the stack frame of the receive path.
    #[cold]
    #[inline(never)]
    pub(super) fn inflate_in_place(
        &mut self,
        lines: &mut Vec<u8>,
        start: usize,
        limit: u64,
    ) -> Result<(), FrameError> {
        self.compressed.clear();
        self.compressed.extend_from_slice(lines.get(start..).unwrap_or_default());
        self.compressed.extend_from_slice(&BLOCK_TAIL);
        lines.truncate(start);
        let unpacked = self.inflate(lines, start, limit);
        if self.compressed.capacity() > MAX_RETAINED_BYTES {
            self.compressed = Vec::new();
        }
        if !self.context_takeover {
            self.stream.reset(false);
        }
        unpacked
    }

    fn inflate(&mut self, lines: &mut Vec<u8>, start: usize, limit: u64) -> Result<(), FrameError> {
        let mut rest = self.compressed.as_slice();
        loop {
            let length = (lines.len() - start) as u64;
            if length > limit {
                return Err(FrameError::MessageTooLarge { length, limit });
            }
            // A doubling at a time, so that no more than twice the limit is ever taken.
            let room = (lines.len() - start).max(rest.len()).max(MIN_GROWTH);
            lines.reserve(room);
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress_vec(rest, lines, FlushDecompress::Sync);
            let status = status.map_err(|_| FrameError::InvalidDeflate)?;
            let used = usize::try_from(self.stream.total_in() - read).unwrap_or(usize::MAX);
            let full = lines.len() == lines.capacity();
            let idle = used == 0 && self.stream.total_out() == written;
            rest = rest.get(used..).unwrap_or_default();
            if status == Status::StreamEnd {
                // A final block; what follows is a stream of its own (7.2.3.4).
                self.stream.reset(false);
            }
            if rest.is_empty() && !full {
                let length = (lines.len() - start) as u64;
                return if length > limit {
                    Err(FrameError::MessageTooLarge { length, limit })
                } else {
                    Ok(())
                };
            }
            if idle && !full {
                return Err(FrameError::InvalidDeflate);
            }
        }
    }
}
