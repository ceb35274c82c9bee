//! Compressed messages (permessage-deflate, RFC 7692).

use flate2::{Decompress, FlushDecompress, Status};

use super::FrameError;

/// What ends every compressed message and is left out on the wire (7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// How much room is made at a time at the least.
const STEP: usize = 4 << 10;
/// A larger buffer is not kept from one message to the next.
const MAX_KEPT: usize = 1 << 20;

/// Inflates the messages of a connection.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Decompress,
    /// Whether a message may refer to those before it (7.1.1.1).
    keeps_context: bool,
    packed: Vec<u8>,
}

impl Inflater {
    pub(super) fn new(keeps_context: bool) -> Self {
        Self { stream: Decompress::new(false), keeps_context, packed: Vec::new() }
    }

    /// Inflates the compressed message that stands in `lines` from `start` on, in place of it. A small
    /// message can inflate to gigabytes: no more than `limit` bytes are taken.
    // Never inlined, so that it does not grow the stack frame of the receive path.
    #[cold]
    #[inline(never)]
    pub(super) fn unpack(
        &mut self,
        lines: &mut Vec<u8>,
        start: usize,
        limit: u64,
    ) -> Result<(), FrameError> {
        self.packed.clear();
        self.packed.extend_from_slice(lines.get(start..).unwrap_or_default());
        self.packed.extend_from_slice(&TAIL);
        lines.truncate(start);
        let unpacked = self.inflate(lines, start, limit);
        if self.packed.capacity() > MAX_KEPT {
            self.packed = Vec::new();
        }
        if !self.keeps_context {
            self.stream.reset(false);
        }
        unpacked
    }

    fn inflate(&mut self, lines: &mut Vec<u8>, start: usize, limit: u64) -> Result<(), FrameError> {
        let mut rest = self.packed.as_slice();
        loop {
            let length = (lines.len() - start) as u64;
            if length > limit {
                return Err(FrameError::TooLarge { length, limit });
            }
            // A doubling at a time, so that no more than twice the limit is ever taken.
            let room = (lines.len() - start).max(rest.len()).max(STEP);
            lines.reserve(room);
            let (read, written) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.decompress_vec(rest, lines, FlushDecompress::Sync);
            let status = status.map_err(|_| FrameError::Deflate)?;
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
                    Err(FrameError::TooLarge { length, limit })
                } else {
                    Ok(())
                };
            }
            if idle && !full {
                return Err(FrameError::Deflate);
            }
        }
    }
}
