//! Decoding of sealed files (zstd frames, RFC 8878) to lines.

use std::fs::File;
use std::io::{self, BufReader, Read};

use zstd::stream::read::Decoder;

use super::digest::{Digester, LinesDigest};
use super::hashing_reader::{HashingReader, StoredDigest};
use super::journal::SealRecord;
use super::read_ahead::{CHUNKS_IN_FLIGHT, fill_chunk, read_ahead};
use super::read_block::BLOCK_BYTES;

/// Digests of a sealed file: of its lines, and of the compressed file itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SealedDigest {
    pub(super) lines: LinesDigest,
    pub(super) stored: StoredDigest,
}

impl From<SealedDigest> for SealRecord {
    /// Returns the record of a file whose origin is unknown.
    fn from(SealedDigest { lines, stored }: SealedDigest) -> Self {
        Self {
            raw_bytes: lines.bytes,
            messages: lines.messages,
            raw_sha256: lines.sha256,
            stored_bytes: stored.bytes,
            stored_sha256: stored.sha256,
            torn: !lines.line_terminated,
            part: None,
        }
    }
}

/// Decodes a sealed file to its end, calls `each` with every chunk, and returns the digests. The
/// checksums of the frames are verified.
///
/// # Errors
/// The first error of the file, of the decoder (see [`is_corruption`]) or of `each`.
pub(super) fn decode_and_digest<E: From<io::Error>>(
    file: File,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<SealedDigest, E> {
    let mut digester = Digester::new();
    let stored = decode_and_hash(file, |chunk| {
        digester.update(chunk);
        each(chunk)
    })?;
    Ok(SealedDigest { lines: digester.finish(), stored })
}

/// Decodes a sealed file like [`decode_and_digest`], without a digest of the lines.
///
/// # Errors
/// See [`decode_and_digest`].
pub(super) fn decode_and_hash<E: From<io::Error>>(
    file: File,
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<StoredDigest, E> {
    let mut reader = HashingReader::new(file);
    decode_stream(&mut reader, each)?;
    Ok(reader.finish())
}

/// Decodes frames to the end of `sealed` and calls `each` with every chunk.
///
/// # Errors
/// See [`decode_and_digest`].
pub(super) fn decode_stream<E: From<io::Error>>(
    sealed: impl Read + Send,
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut decoder = Decoder::with_buffer(BufReader::with_capacity(BLOCK_BYTES, sealed))?;
    read_ahead(CHUNKS_IN_FLIGHT, |chunk| fill_chunk(&mut decoder, chunk), each)
}

/// Returns whether an error of the decoder means that the bytes are corrupt, rather than that they
/// cannot be read: the disk fails, or a frame needs more memory than the decoder allows.
pub(super) fn is_corruption(error: &io::Error) -> bool {
    // The zstd crate reports its errors as text alone.
    error.raw_os_error().is_none() && !error.to_string().contains("memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(bytes: &[u8]) -> io::Error {
        let decoder =
            Decoder::new(bytes).and_then(|mut decoder| decoder.read_to_end(&mut Vec::new()));
        decoder.unwrap_err()
    }

    #[test]
    fn io_errors_and_memory_limits_are_not_corruption() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        io::Write::write_all(&mut encoder, b"{}\n").unwrap();
        let good = encoder.finish().unwrap();
        assert!(is_corruption(&failure(b"no zstd")));
        assert!(is_corruption(&failure(&good[..good.len() - 1])));
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(is_corruption(&failure(&flipped)));
        // EIO: the disk fails, which says nothing about the bytes.
        assert!(!is_corruption(&io::Error::from_raw_os_error(5)));
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        io::Write::write_all(&mut encoder, &vec![0; 1 << 20]).unwrap();
        assert!(!is_corruption(&failure(&encoder.finish().unwrap())));
    }
}
