//! Decoding of binary messages that are compressed text.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The compression of binary messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BinaryEncoding {
    /// None. A binary message that is not UTF-8 is left out and counted (`undecodable`).
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Deflate, raw (RFC 1951) or with the header of zlib (RFC 1950).
    Deflate,
}

/// Bytes with which a compressor ends a message whose stream it continues.
const SYNC_FLUSH_END: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];
/// Minimum number of bytes by which the output grows at a time.
const MIN_GROWTH: usize = 4 << 10;

impl BinaryEncoding {
    /// Decodes a message. Returns `None` if the message is not compressed text, is empty, breaks
    /// off, or inflates to more than `limit` bytes.
    // Never inlined: a decoder's tables would grow the stack frame of the receive path.
    #[cold]
    #[inline(never)]
    pub(super) fn decode(self, payload: &[u8], limit: u64) -> Option<String> {
        match self {
            Self::None => None,
            Self::Gzip => read_text(MultiGzDecoder::new(payload), limit),
            Self::Deflate => String::from_utf8(inflate(payload, limit)?).ok(),
        }
        .filter(|text| !text.is_empty())
    }

    /// Returns the reason for which a binary message is left out, with what can be done.
    pub(super) fn undecodable_reason(self, payload: &[u8]) -> &'static str {
        let is_gzip = payload.starts_with(&[0x1F, 0x8B]);
        match self {
            Self::None | Self::Deflate if is_gzip => {
                "binary messages that look like gzip are not recorded; set `binary: \"gzip\"`"
            }
            Self::None | Self::Gzip if has_zlib_header(payload) => {
                "binary messages that look like zlib are not recorded; set `binary: \"deflate\"`"
            }
            Self::None => {
                "binary messages that are not UTF-8 text are not recorded; if they are compressed text, set `binary` to \"gzip\" or \"deflate\", or ask the server for a text format"
            }
            Self::Gzip => {
                "binary messages that are neither text nor whole gzip (`binary: \"gzip\"`) of at most `max_message_size` are not recorded"
            }
            Self::Deflate => {
                "binary messages that are neither text nor whole deflate or zlib (`binary: \"deflate\"`) of at most `max_message_size` are not recorded"
            }
        }
    }

    /// Returns whether a message that is text may be compressed all the same.
    ///
    /// Short messages of raw deflate can be ASCII. One that inflates to JSON never begins as JSON
    /// does: `{` and `[` begin a block whose first byte is not ASCII.
    pub(super) fn may_be_compressed(self, payload: &[u8]) -> bool {
        self == Self::Deflate && !matches!(payload.first(), Some(b'{' | b'[') | None)
    }
}

/// Inflates deflate with or without the header of zlib. What follows its end is ignored.
fn inflate(compressed: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut stream = Decompress::new(has_zlib_header(compressed));
    let mut text = Vec::new();
    loop {
        // The output doubles at a time, so that its capacity stays below twice the limit.
        text.reserve(text.len().max(MIN_GROWTH));
        let consumed = usize::try_from(stream.total_in()).ok()?;
        let input = compressed.get(consumed..)?;
        let status = stream.decompress_vec(input, &mut text, FlushDecompress::Sync).ok()?;
        if text.len() as u64 > limit {
            return None;
        }
        if status == Status::StreamEnd {
            return Some(text);
        }
        if text.len() < text.capacity() {
            // The input is used up.
            return compressed.ends_with(&SYNC_FLUSH_END).then_some(text);
        }
    }
}

/// Returns whether the bytes begin with the header of zlib (RFC 1950, 2.2).
///
/// Raw deflate does not begin so: with these bits its first block would be one that is stored and
/// not the last, whose length is checked by its complement.
pub(super) fn has_zlib_header(bytes: &[u8]) -> bool {
    const METHOD_DEFLATE: u8 = 8;
    const MAX_WINDOW_SIZE: u8 = 7;
    let &[method, flags, ..] = bytes else { return false };
    method & 0x0F == METHOD_DEFLATE
        && method >> 4 <= MAX_WINDOW_SIZE
        && u16::from_be_bytes([method, flags]).is_multiple_of(31)
}

/// Reads a text of at most `limit` bytes: a small message can inflate to gigabytes.
fn read_text(decoder: impl Read, limit: u64) -> Option<String> {
    let mut text = String::new();
    let read: io::Result<usize> = decoder.take(limit.saturating_add(1)).read_to_string(&mut text);
    (read.is_ok() && text.len() as u64 <= limit).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use flate2::{Compress, FlushCompress};

    fn read_all(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn compressed_text_is_decoded() {
        let text = "{\"ping\":1700000000000}".repeat(50);
        let gzip = read_all(GzEncoder::new(text.as_bytes(), Compression::default()));
        let deflate = read_all(DeflateEncoder::new(text.as_bytes(), Compression::default()));
        assert_eq!(BinaryEncoding::Gzip.decode(&gzip, 10_000).as_deref(), Some(text.as_str()));
        assert_eq!(
            BinaryEncoding::Deflate.decode(&deflate, 10_000).as_deref(),
            Some(text.as_str())
        );
        assert_eq!(BinaryEncoding::Gzip.decode(&deflate, 10_000), None);
        assert_eq!(BinaryEncoding::None.decode(&gzip, 10_000), None);
    }

    #[test]
    fn deflate_has_a_header_of_zlib_or_none_and_any_end() {
        let decode = |bytes: &[u8]| BinaryEncoding::Deflate.decode(bytes, 10_000);
        for text in ["{}", "pong", &"{\"ping\":1700000000000}".repeat(50)] {
            for level in [Compression::none(), Compression::fast(), Compression::best()] {
                let zlib = read_all(ZlibEncoder::new(text.as_bytes(), level));
                let raw = read_all(DeflateEncoder::new(text.as_bytes(), level));
                for (whole, has_header) in [(&zlib, true), (&raw, false)] {
                    assert_eq!(decode(whole).as_deref(), Some(text));
                    for cut in 0..whole.len() {
                        assert_eq!(decode(&whole[..cut]), None, "{cut} of {}", whole.len());
                    }
                    // A stream that is flushed and not ended.
                    let mut flushed = Vec::with_capacity(2 * text.len() + 100);
                    let mut packer = Compress::new(level, has_header);
                    let sync = FlushCompress::Sync;
                    packer.compress_vec(text.as_bytes(), &mut flushed, sync).unwrap();
                    assert_eq!(decode(&flushed).as_deref(), Some(text));
                }
                let mut wrong_sum = zlib.clone();
                *wrong_sum.last_mut().unwrap() ^= 1;
                assert_eq!(decode(&wrong_sum), None);
            }
        }
    }

    #[test]
    fn a_decompression_bomb_is_not_inflated() {
        let bomb = read_all(GzEncoder::new(io::repeat(b'x').take(10 << 20), Compression::best()));
        assert_eq!(BinaryEncoding::Gzip.decode(&bomb, 1 << 20), None);
        let bomb = read_all(ZlibEncoder::new(io::repeat(b'x').take(10 << 20), Compression::best()));
        assert_eq!(BinaryEncoding::Deflate.decode(&bomb, 1 << 20), None);
    }

    #[test]
    fn truncated_or_non_utf8_messages_decode_to_none() {
        let gzip =
            read_all(GzEncoder::new(b"hello world, hello".as_slice(), Compression::default()));
        assert_eq!(BinaryEncoding::Gzip.decode(&gzip[..gzip.len() - 9], 100), None);
        let binary = read_all(GzEncoder::new([0xFF, 0xFE, 0].as_slice(), Compression::default()));
        assert_eq!(BinaryEncoding::Gzip.decode(&binary, 100), None);
    }
}
