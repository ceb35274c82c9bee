//! Decompression of messages (permessage-deflate, RFC 7692).

use flate2::{Decompress, FlushDecompress, Status};

use super::frame_error::FrameError;

/// Bytes that end every compressed message and are left out on the wire (7.2.1).
const BLOCK_TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// A deflate block without content.
const EMPTY_BLOCK: [u8; 5] = [0x00, 0x00, 0x00, 0xFF, 0xFF];
/// Bytes after every message, which decode to nothing exactly if the message ends with a block.
const SHORT_PROBE: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0xFF, 0xFF];
/// An empty message as it is compressed (7.2.3.6).
const EMPTY_MESSAGE: [u8; 1] = [0x00];
/// Number of empty blocks that are longer together than the longest header of a block, which
/// decodes to nothing as well: 17 bits, 19 of 3, and 320 of at most 14.
const LONG_PROBE_BLOCKS: usize = 128;
/// Bits of the last byte of a message that its last block, which is empty, leaves zero.
const END_BITS: u8 = 0xE0;
/// Length of a message from which on a long probe costs little in comparison.
const LONG_MESSAGE_BYTES: usize = 8 << 10;
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

/// The place at which the input of [`Inflater::inflate`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputEnd {
    /// Exactly at the end of a final block, after which a stream of its own begins.
    FinalBlock,
    /// Anywhere else.
    Other,
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
        let mut compressed = std::mem::take(&mut self.compressed);
        compressed.clear();
        compressed.extend_from_slice(lines.split_at(start).1);
        lines.truncate(start);
        let result = self.inflate_message(&compressed, lines, start, limit);
        if compressed.capacity() <= MAX_RETAINED_BYTES {
            self.compressed = compressed;
        }
        result
    }

    fn inflate_message(
        &mut self,
        compressed: &[u8],
        lines: &mut Vec<u8>,
        start: usize,
        limit: u64,
    ) -> Result<(), FrameError> {
        // An empty message should have a byte, but without it there is nothing to inflate.
        let Some(last_byte) = compressed.last() else { return Ok(()) };
        if self.inflate(compressed, lines, start, limit)? == InputEnd::FinalBlock {
            // The byte after a final block (7.2.3.4) is missing.
            return Ok(());
        }
        // Some servers leave the tail where it is.
        let skipped = if compressed.ends_with(&BLOCK_TAIL) { BLOCK_TAIL.len() } else { 0 };
        // Only the header of a block can swallow a short probe.
        let may_end_in_header = lines.len() == start
            || last_byte & END_BITS != 0
            || compressed.len() >= LONG_MESSAGE_BYTES;
        if !self.decodes_to_nothing(SHORT_PROBE.split_at(skipped).1)
            || may_end_in_header
                && compressed != EMPTY_MESSAGE
                && !self.decodes_to_nothing(&EMPTY_BLOCK.repeat(LONG_PROBE_BLOCKS))
        {
            return Err(FrameError::TruncatedDeflate);
        }
        Ok(())
    }

    /// Returns whether a probe, which holds empty blocks, is consumed without output.
    fn decodes_to_nothing(&mut self, probe: &[u8]) -> bool {
        let mut output = [0; 8];
        let read_before = self.stream.total_in();
        let written_before = self.stream.total_out();
        let status = self.stream.decompress(probe, &mut output, FlushDecompress::Sync);
        matches!(status, Ok(Status::Ok | Status::BufError))
            && self.stream.total_in() - read_before == probe.len() as u64
            && self.stream.total_out() == written_before
    }

    /// Inflates all of the input.
    fn inflate(
        &mut self,
        mut input: &[u8],
        lines: &mut Vec<u8>,
        start: usize,
        limit: u64,
    ) -> Result<InputEnd, FrameError> {
        let mut end = InputEnd::Other;
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
                end = InputEnd::FinalBlock;
            } else if consumed > 0 {
                end = InputEnd::Other;
            }
            if input.is_empty() && !is_output_full {
                check_length(lines.len() - start, limit)?;
                return Ok(end);
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

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compress, Compression, FlushCompress};

    const LIMIT: u64 = 1 << 20;
    const NEXT: &[u8] = b"the next message, the next message";

    fn inflate(inflater: &mut Inflater, compressed: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut lines = b"before\n".to_vec();
        let start = lines.len();
        lines.extend_from_slice(compressed);
        inflater.inflate_in_place(&mut lines, start, LIMIT)?;
        Ok(lines.split_off(start))
    }

    /// Compresses a message without removing the tail.
    fn compress(packer: &mut Compress, text: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut compressed = Vec::with_capacity(2 * text.len() + 100);
        packer.compress_vec(text, &mut compressed, flush).unwrap();
        compressed
    }

    fn compress_message(packer: &mut Compress, text: &[u8]) -> Vec<u8> {
        let mut compressed = compress(packer, text, FlushCompress::Sync);
        compressed.truncate(compressed.len() - BLOCK_TAIL.len());
        compressed
    }

    /// Returns texts that are compressed by blocks of all kinds: with the fixed code, with codes of
    /// their own, stored, and several.
    fn texts() -> Vec<Vec<u8>> {
        let trade = br#"{"topic":"publicTrade.BTCUSDT","data":[{"p":"16578.50","v":"0.001"}]}"#;
        let digits: String = (0..2_000_u64).map(|n| (n * n * 7_919).to_string()).collect();
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<_> = std::iter::repeat_with(|| random.u8(..)).take(3_000).collect();
        let long: Vec<_> =
            digits.bytes().chain(noise.iter().copied()).cycle().take(60_000).collect();
        vec![b"{}".to_vec(), trade.to_vec(), digits.into_bytes(), noise, long]
    }

    #[test]
    fn a_message_that_breaks_off_within_a_block_is_an_error() {
        for text in texts() {
            for level in [Compression::fast(), Compression::default(), Compression::none()] {
                let compressed = compress_message(&mut Compress::new(level, false), &text);
                let step = (compressed.len() / 300).max(1);
                for cut in (1..compressed.len()).step_by(step) {
                    let mut inflater = Inflater::new();
                    let begin = compressed.split_at(cut).0;
                    // Nobody can tell the first byte of a stored block from an empty message.
                    let is_whole = inflate(&mut inflater, begin).is_ok();
                    assert_eq!(is_whole, begin == EMPTY_MESSAGE, "{cut} of {}", compressed.len());
                }
                assert_eq!(inflate(&mut Inflater::new(), &compressed).unwrap(), text);
            }
        }
    }

    /// Asserts that messages of this form are inflated, and the one after them.
    fn assert_inflated(messages: &[(&[u8], &[u8])]) {
        let mut inflater = Inflater::new();
        for (compressed, text) in messages {
            assert_eq!(inflate(&mut inflater, compressed).unwrap(), *text, "{compressed:x?}");
        }
        let next = compress_message(&mut Compress::new(Compression::default(), false), NEXT);
        assert_eq!(inflate(&mut inflater, &next).unwrap(), NEXT);
    }

    #[test]
    fn messages_that_end_in_unusual_ways_do_not_poison_the_next() {
        let text = b"hello, hello, hello";
        let pack = || Compress::new(Compression::default(), false);
        let final_block = compress(&mut pack(), text, FlushCompress::Finish);
        let with_byte = [final_block.as_slice(), &[0]].concat();
        let with_tail = compress(&mut pack(), text, FlushCompress::Sync);
        let message = compress_message(&mut pack(), text);
        let two_final = [final_block.as_slice(), &final_block].concat();
        let final_and_message = [final_block.as_slice(), &message].concat();
        let twice = b"hello, hello, hellohello, hello, hello".as_slice();
        for _ in 0..2 {
            assert_inflated(&[(&final_block, text), (&final_block, text)]);
            assert_inflated(&[(&with_byte, text), (&with_byte, text)]);
            assert_inflated(&[(&with_tail, text), (&with_tail, text)]);
            assert_inflated(&[(&two_final, twice), (&final_and_message, twice)]);
            // Empty: as it should be, without any byte, and other blocks without content.
            assert_inflated(&[(&[0], b""), (&[], b""), (&[0x02, 0], b""), (&[0x03, 0], b"")]);
            assert_inflated(&[(&message, text), (&EMPTY_BLOCK, b"")]);
            assert_inflated(&[(&final_block, text), (&[], b""), (&message, text)]);
        }
    }

    #[test]
    fn the_window_is_kept_from_one_message_to_the_next() {
        let mut packer = Compress::new(Compression::default(), false);
        let mut inflater = Inflater::new();
        for text in texts().into_iter().cycle().take(20) {
            let compressed = compress_message(&mut packer, &text);
            assert_eq!(inflate(&mut inflater, &compressed).unwrap(), text);
            // A server that resets its compressor may say so or not.
            let alone = compress_message(&mut Compress::new(Compression::best(), false), NEXT);
            if text.len() < 100 {
                assert_eq!(inflate(&mut Inflater::new(), &alone).unwrap(), NEXT);
            }
        }
    }
}
