//! Length, number and hash of lines, computed chunk by chunk.

use std::fs::File;
use std::io::{self, Read, Seek};

use sha2::{Digest as _, Sha256};

use super::read_ahead::for_each_chunk;
use super::sha256_hash::Sha256Hash;

/// Length, number and hash of a sequence of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinesDigest {
    /// Number of bytes, line feeds included.
    pub bytes: u64,
    /// Number of lines: of line feeds.
    pub messages: u64,
    /// Hash of the bytes.
    pub sha256: Sha256Hash,
    /// `true` if the last byte is a line feed, or there is no byte.
    pub line_terminated: bool,
}

/// Computes a [`LinesDigest`].
#[derive(Debug, Clone)]
pub(super) struct Digester {
    bytes: u64,
    messages: u64,
    hasher: Sha256,
    last_byte: u8,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self { bytes: 0, messages: 0, hasher: Sha256::new(), last_byte: b'\n' }
    }

    /// Adds bytes; a chunk may end within a line.
    pub(super) fn update(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.messages += count_line_feeds(chunk);
        self.hasher.update(chunk);
        if let Some(last) = chunk.last() {
            self.last_byte = *last;
        }
    }

    /// Returns the number of bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of line feeds so far.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Returns the digest of all bytes.
    pub(super) fn finish(self) -> LinesDigest {
        LinesDigest {
            bytes: self.bytes,
            messages: self.messages,
            sha256: Sha256Hash::from_hasher(self.hasher),
            line_terminated: self.last_byte == b'\n',
        }
    }
}

/// Returns the digest of the first `length` bytes of a file, or of all if there are fewer. Moves
/// the position of the handle.
///
/// # Errors
/// The file cannot be read.
pub(super) fn digest_prefix(mut file: &File, length: u64) -> io::Result<LinesDigest> {
    let mut digester = Digester::new();
    file.rewind()?;
    for_each_chunk(file.take(length), |chunk| {
        digester.update(chunk);
        io::Result::Ok(())
    })?;
    Ok(digester.finish())
}

/// Counts the line feeds.
pub(super) fn count_line_feeds(chunk: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', chunk).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_depend_on_chunk_boundaries() {
        let mut at_once = Digester::new();
        at_once.update(b"one\ntwo\nthree");
        let mut in_chunks = Digester::new();
        for chunk in [&b"on"[..], b"", b"e\n", b"two\nthree"] {
            in_chunks.update(chunk);
        }
        assert_eq!(at_once.clone().finish(), in_chunks.finish());
        let digest = at_once.finish();
        assert_eq!((digest.bytes, digest.messages, digest.line_terminated), (13, 2, false));
    }
}
