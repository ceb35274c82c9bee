//! Decoding of binary messages that are compressed text.

use std::io::{self, Read};

use flate2::bufread::GzDecoder;
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
    /// Decodes a message: all streams that follow one another in it. Returns `None` if the message is
    /// not compressed text as a whole, is empty, breaks off, or inflates to more than `limit` bytes.
    // Never inlined: a decoder's tables would grow the stack frame of the receive path.
    #[cold]
    #[inline(never)]
    pub(super) fn decode(self, payload: &[u8], limit: u64) -> Option<String> {
        let mut rest = payload;
        let mut text = Vec::new();
        // Zeros behind the last stream fill a block.
        while text.is_empty() && !rest.is_empty() || rest.iter().any(|byte| *byte != 0) {
            rest = self.inflate_stream(rest, &mut text, limit)?;
        }
        String::from_utf8(text).ok().filter(|text| !text.is_empty())
    }

    /// Decodes a message that is text as it stands. Returns `None` unless it is one stream to its last
    /// byte: the start of a text may well be a stream.
    #[cold]
    #[inline(never)]
    pub(super) fn decode_textual(self, payload: &[u8], limit: u64) -> Option<String> {
        let mut text = Vec::new();
        let rest = self.inflate_stream(payload, &mut text, limit)?;
        String::from_utf8(text).ok().filter(|text| rest.is_empty() && !text.is_empty())
    }

    /// Decodes the stream at the start of the message, adds its text, and returns what follows it.
    fn inflate_stream<'a>(
        self,
        stream: &'a [u8],
        text: &mut Vec<u8>,
        limit: u64,
    ) -> Option<&'a [u8]> {
        match self {
            Self::None => None,
            Self::Gzip => gunzip(stream, text, limit),
            // As the first stream, gzip is told to the user, who can say so.
            Self::Deflate if !text.is_empty() && is_gzip(stream) => gunzip(stream, text, limit),
            Self::Deflate => inflate(stream, text, limit),
        }
    }

    /// Returns the reason for which a binary message is left out, with what can be done.
    pub(super) fn undecodable_reason(self, payload: &[u8]) -> &'static str {
        match self {
            Self::None | Self::Deflate if is_gzip(payload) => {
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

/// Inflates deflate with or without the header of zlib, and adds the text. Returns what follows it.
fn inflate<'a>(compressed: &'a [u8], text: &mut Vec<u8>, limit: u64) -> Option<&'a [u8]> {
    let mut stream = Decompress::new(has_zlib_header(compressed));
    loop {
        // The output doubles at a time, so that its capacity stays below twice the limit.
        text.reserve(text.len().max(MIN_GROWTH));
        let consumed = usize::try_from(stream.total_in()).ok()?;
        let input = compressed.get(consumed..)?;
        let status = stream.decompress_vec(input, text, FlushDecompress::Sync).ok()?;
        if text.len() as u64 > limit {
            return None;
        }
        if status == Status::StreamEnd {
            return compressed.get(usize::try_from(stream.total_in()).ok()?..);
        }
        if text.len() < text.capacity() {
            // The input is used up.
            return compressed.ends_with(&SYNC_FLUSH_END).then_some(&[]);
        }
    }
}

/// Decodes a member of gzip, and adds the text. Returns what follows it.
fn gunzip<'a>(mut compressed: &'a [u8], text: &mut Vec<u8>, limit: u64) -> Option<&'a [u8]> {
    let is_flushed = compressed.ends_with(&SYNC_FLUSH_END);
    // A small message can inflate to gigabytes.
    let room = limit.saturating_sub(text.len() as u64);
    let mut member = GzDecoder::new(&mut compressed).take(room.saturating_add(1));
    match member.read_to_end(text) {
        Ok(_) => {}
        // The stream is flushed and not ended, so that its trailer is still to come.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && is_flushed => {}
        Err(_) => return None,
    }
    (text.len() as u64 <= limit).then_some(compressed)
}

fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1F, 0x8B])
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
    fn all_streams_of_a_message_are_decoded_or_none() {
        type Case<'a> = (BinaryEncoding, &'a [&'a [u8]], Option<&'a str>);
        let [one, two] = ["{\"a\":1}", "{\"b\":2}"];
        let level = Compression::default();
        let [gzip, gzip_two] =
            [one, two].map(|text| read_all(GzEncoder::new(text.as_bytes(), level)));
        let [zlib, zlib_two] =
            [one, two].map(|text| read_all(ZlibEncoder::new(text.as_bytes(), level)));
        let [raw, raw_two] =
            [one, two].map(|text| read_all(DeflateEncoder::new(text.as_bytes(), level)));
        let both = [one, two].concat();
        let mut flushed = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3];
        flushed.reserve(200);
        let mut packer = Compress::new(level, false);
        packer.compress_vec(one.as_bytes(), &mut flushed, FlushCompress::Sync).unwrap();
        let zeros = [0; 40];
        let [with_gzip, with_deflate] = [BinaryEncoding::Gzip, BinaryEncoding::Deflate];
        let cases: &[Case<'_>] = &[
            (with_deflate, &[&zlib, &zlib_two], Some(&both)),
            (with_deflate, &[&raw, &raw_two], Some(&both)),
            (with_deflate, &[&zlib, &raw_two], Some(&both)),
            (with_deflate, &[&zlib, &gzip_two], Some(&both)),
            (with_deflate, &[&zlib, &zeros], Some(one)),
            (with_deflate, &[&zlib, b"rest"], None),
            (with_deflate, &[&raw, &[0xFF; 9]], None),
            (with_deflate, &[&zlib, &zlib_two[..9]], None),
            (with_gzip, &[&gzip, &gzip_two], Some(&both)),
            (with_gzip, &[&gzip, &zeros], Some(one)),
            (with_gzip, &[&gzip, &zeros, &gzip_two], None),
            (with_gzip, &[&flushed], Some(one)),
            (with_gzip, &[&flushed[..flushed.len() - 1]], None),
            (with_gzip, &[&gzip, &flushed], Some("{\"a\":1}{\"a\":1}")),
            (with_gzip, &[&gzip, b"rest"], None),
            (with_gzip, &[&gzip, &zlib_two], None),
            (with_gzip, &[&zeros], None),
            (with_deflate, &[&zeros], None),
        ];
        for (encoding, parts, text) in cases {
            let message = parts.concat();
            assert_eq!(encoding.decode(&message, 10_000).as_deref(), *text, "{message:x?}");
            let within = text.filter(|text| text.len() <= 8);
            assert_eq!(encoding.decode(&message, 8).as_deref(), within, "{message:x?}");
        }
    }

    #[test]
    fn a_text_whose_start_is_a_stream_stays_text() {
        let stream = read_all(DeflateEncoder::new(b"a".as_slice(), Compression::default()));
        let text = [stream.as_slice(), b" and more"].concat();
        let is_text = std::str::from_utf8(&text).is_ok();
        assert!(is_text && BinaryEncoding::Deflate.may_be_compressed(&text), "{text:x?}");
        assert_eq!(BinaryEncoding::Deflate.decode_textual(&text, 100), None);
        let decoded = BinaryEncoding::Deflate.decode_textual(&stream, 100);
        assert_eq!(decoded.as_deref(), Some("a"));
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
