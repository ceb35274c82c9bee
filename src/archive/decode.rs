//! Sealed files (zstd frames, RFC 8878) back to lines.

use std::fs::File;
use std::io::{self, BufReader, Read};

use zstd::stream::read::Decoder;

use super::digest::{Digester, HashingReader, LinesDigest, Sha256Hash};
use super::journal::SealRecord;
use super::read_ahead::{CHUNK_BYTES, CHUNKS_IN_FLIGHT, fill_chunk, read_ahead};

/// What a sealed file holds, and what it is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SealedDigest {
    pub(super) lines: LinesDigest,
    pub(super) stored_sha256: Sha256Hash,
    pub(super) stored_bytes: u64,
}

impl From<SealedDigest> for SealRecord {
    /// The record of a file that was found as it is.
    fn from(decoded: SealedDigest) -> Self {
        let SealedDigest { lines, stored_sha256, stored_bytes } = decoded;
        Self {
            raw_bytes: lines.bytes,
            messages: lines.messages,
            raw_sha256: lines.sha256,
            stored_bytes,
            stored_sha256,
            torn: !lines.line_terminated,
            part: None,
        }
    }
}

/// Decodes a sealed file to its end, hands every chunk on, and takes the digests. The frames'
/// checksums are compared on the way.
pub(super) fn decode_and_digest<E: From<io::Error>>(
    file: File,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<SealedDigest, E> {
    let mut digester = Digester::new();
    let (stored_sha256, stored_bytes) = decode_and_hash(file, |chunk| {
        digester.update(chunk);
        each(chunk)
    })?;
    Ok(SealedDigest { lines: digester.finish(), stored_sha256, stored_bytes })
}

/// The same without a digest of the lines; gives the hash and the length of the file.
pub(super) fn decode_and_hash<E: From<io::Error>>(
    file: File,
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(Sha256Hash, u64), E> {
    let mut hashing = HashingReader::new(file);
    decode_stream(&mut hashing, each)?;
    Ok(hashing.finish())
}

/// The same without any digest.
pub(super) fn decode_stream<E: From<io::Error>>(
    sealed: impl Read + Send,
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut decoder = Decoder::with_buffer(BufReader::with_capacity(CHUNK_BYTES, sealed))?;
    read_ahead(CHUNKS_IN_FLIGHT, |chunk| fill_chunk(&mut decoder, chunk), each)
}

/// Whether the error says that the bytes are no good, rather than that they cannot be read: a disk
/// that fails, a frame that wants more memory than there may be.
pub(super) fn is_corruption(error: &io::Error) -> bool {
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
        // EIO: the disk fails, which says nothing of the bytes.
        assert!(!is_corruption(&io::Error::from_raw_os_error(5)));
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        io::Write::write_all(&mut encoder, &vec![0; 1 << 20]).unwrap();
        assert!(!is_corruption(&failure(&encoder.finish().unwrap())));
    }
}
