//! Decoding of binary messages that are compressed text.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
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

impl BinaryEncoding {
    /// Decodes a message. Returns `None` if the message is not compressed text, is empty, or
    /// inflates to more than `limit` bytes.
    // Never inlined: a decoder's tables would grow the stack frame of the receive path.
    #[cold]
    #[inline(never)]
    pub(super) fn decode(self, payload: &[u8], limit: u64) -> Option<String> {
        match self {
            Self::None => None,
            Self::Gzip => decompress_text(MultiGzDecoder::new(payload), limit),
            Self::Deflate => decompress_text(deflate_reader(payload), limit),
        }
        .filter(|text| !text.is_empty())
    }
}

/// Returns a decoder of deflate with or without the header of zlib.
pub(super) fn deflate_reader(compressed: &[u8]) -> Box<dyn Read + '_> {
    if has_zlib_header(compressed) {
        Box::new(ZlibDecoder::new(compressed))
    } else {
        Box::new(DeflateDecoder::new(compressed))
    }
}

/// Returns whether the bytes begin with the header of zlib (RFC 1950, 2.2).
///
/// Raw deflate does not begin so: with these bits its first block would be one that is stored and
/// not the last, whose length is checked by its complement.
fn has_zlib_header(bytes: &[u8]) -> bool {
    const METHOD_DEFLATE: u8 = 8;
    const MAX_WINDOW_SIZE: u8 = 7;
    let &[method, flags, ..] = bytes else { return false };
    method & 0x0F == METHOD_DEFLATE
        && method >> 4 <= MAX_WINDOW_SIZE
        && u16::from_be_bytes([method, flags]).is_multiple_of(31)
}

/// Reads a text of at most `limit` bytes: a small message can inflate to gigabytes.
fn decompress_text(decoder: impl Read, limit: u64) -> Option<String> {
    let mut text = String::new();
    let read: io::Result<usize> = decoder.take(limit.saturating_add(1)).read_to_string(&mut text);
    (read.is_ok() && text.len() as u64 <= limit).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder};

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
    fn a_decompression_bomb_is_not_inflated() {
        let bomb = read_all(GzEncoder::new(io::repeat(b'x').take(10 << 20), Compression::best()));
        assert_eq!(BinaryEncoding::Gzip.decode(&bomb, 1 << 20), None);
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
