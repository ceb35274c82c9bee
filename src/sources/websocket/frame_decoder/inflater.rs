//! Decompression of messages (permessage-deflate, RFC 7692).

use flate2::{Decompress, FlushDecompress, Status};

use super::frame_error::FrameError;

/// Bytes that end every compressed message and are left out on the wire (7.2.1).
const BLOCK_TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// Minimum number of bytes by which the output grows at a time.
const MIN_GROWTH: usize = 4 << 10;
/// Maximum capacity of the scratch buffer that is kept from one message to the next.
const MAX_RETAINED_BYTES: usize = 1 << 20;

/// Inflates the messages of one connection.
///
/// The window is the largest one and is kept from one message to the next, so that whatever the
/// server's compressor was allowed can be inflated.
#[derive(Debug)]
pub(super) struct Inflater {
    stream: Decompress,
    /// Scratch buffer for the compressed message.
    compressed: Vec<u8>,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { stream: Decompress::new(false), compressed: Vec::new() }
    }

    /// Replaces the compressed message at the end of `lines`, from `start` on, by its text.
    ///
    /// A small message can inflate to gigabytes, hence the limit in bytes.
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
        self.compressed.extend_from_slice(lines.split_at(start).1);
        self.compressed.extend_from_slice(&BLOCK_TAIL);
        lines.truncate(start);
        let result = self.inflate(lines, start, limit);
        if self.compressed.capacity() > MAX_RETAINED_BYTES {
            self.compressed = Vec::new();
        }
        result
    }

    fn inflate(&mut self, lines: &mut Vec<u8>, start: usize, limit: u64) -> Result<(), FrameError> {
        let mut input = self.compressed.as_slice();
        loop {
            check_length(lines.len() - start, limit)?;
            // The output doubles at a time, so that its capacity stays below twice the limit.
            let growth = (lines.len() - start).max(input.len()).max(MIN_GROWTH);
            lines.reserve(growth);
            let read_before = self.stream.total_in();
            let written_before = self.stream.total_out();
            let status = self.stream.decompress_vec(input, lines, FlushDecompress::Sync);
            let status = status.map_err(|_| FrameError::InvalidDeflate)?;
            let consumed = usize::try_from(self.stream.total_in() - read_before)
                .expect("no more is consumed than the input holds");
            let is_output_full = lines.len() == lines.capacity();
            let is_stuck = consumed == 0 && self.stream.total_out() == written_before;
            input = input.split_at(consumed).1;
            if status == Status::StreamEnd {
                // A final block; what follows is a stream of its own (7.2.3.4).
                self.stream.reset(false);
            }
            if input.is_empty() && !is_output_full {
                return check_length(lines.len() - start, limit);
            }
            if is_stuck && !is_output_full {
                return Err(FrameError::InvalidDeflate);
            }
        }
    }
}

fn check_length(length: usize, limit: u64) -> Result<(), FrameError> {
    let length = length as u64;
    if length > limit { Err(FrameError::MessageTooLarge { length, limit }) } else { Ok(()) }
}
