//! Sealed files (zstd frames, RFC 8878) back to lines.

use std::fs::File;
use std::io::{self, BufReader, Read};

use zstd::stream::read::Decoder;

use super::ahead::{CHUNK, CHUNKS, fill_chunk, read_ahead};
use super::digest::{Digest, Digester, Hash, Hashing};
use super::journal::SealRecord;

/// What a sealed file holds, and what it is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) lines: Digest,
    pub(super) stored_sha256: Hash,
    pub(super) stored_bytes: u64,
}

impl From<Decoded> for SealRecord {
    /// The record of a file that was found as it is.
    fn from(decoded: Decoded) -> Self {
        let Decoded { lines, stored_sha256, stored_bytes } = decoded;
        Self {
            raw_bytes: lines.bytes,
            messages: lines.messages,
            raw_sha256: lines.sha256,
            stored_bytes,
            stored_sha256,
            torn: !lines.whole,
            part: None,
        }
    }
}

/// Decodes a sealed file to its end, hands every chunk on, and takes the digests. The frames'
/// checksums are compared on the way.
pub(super) fn decode<E: From<io::Error>>(
    file: File,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Decoded, E> {
    let mut digester = Digester::new();
    let (stored_sha256, stored_bytes) = decode_plain(file, |chunk| {
        digester.update(chunk);
        each(chunk)
    })?;
    Ok(Decoded { lines: digester.finish(), stored_sha256, stored_bytes })
}

/// The same without a digest of the lines; gives the hash and the length of the file.
pub(super) fn decode_plain<E: From<io::Error>>(
    file: File,
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(Hash, u64), E> {
    let mut hashing = Hashing::new(file);
    decode_lines(&mut hashing, each)?;
    Ok(hashing.finish())
}

/// The same without any digest.
pub(super) fn decode_lines<E: From<io::Error>>(
    sealed: impl Read + Send,
    each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut decoder = Decoder::with_buffer(BufReader::with_capacity(CHUNK, sealed))?;
    read_ahead(CHUNKS, |chunk| fill_chunk(&mut decoder, chunk), each)
}

/// Whether the error says that the bytes are no good, rather than that they cannot be read: a disk
/// that fails, a frame that wants more memory than there may be.
pub(super) fn is_corrupt(error: &io::Error) -> bool {
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
    fn only_bad_bytes_are_corrupt() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        io::Write::write_all(&mut encoder, b"{}\n").unwrap();
        let good = encoder.finish().unwrap();
        assert!(is_corrupt(&failure(b"no zstd")));
        assert!(is_corrupt(&failure(&good[..good.len() - 1])));
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(is_corrupt(&failure(&flipped)));
        // EIO: the disk fails, which says nothing of the bytes.
        assert!(!is_corrupt(&io::Error::from_raw_os_error(5)));
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        io::Write::write_all(&mut encoder, &vec![0; 1 << 20]).unwrap();
        assert!(!is_corrupt(&failure(&encoder.finish().unwrap())));
    }
}
