//! What is known of a stretch of lines: length, number, hash.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::read_ahead::for_each_chunk;

/// A SHA-256 (FIPS 180-4), shown as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Hash([u8; 32]);

impl Sha256Hash {
    /// The hash of these bytes.
    pub fn digest(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Sha256Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut hash = [0; 32];
        let digits = text.as_bytes().chunks(2);
        if text.len() != 64 {
            return Err(serde::de::Error::custom("a SHA-256 has 64 hexadecimal digits"));
        }
        for (byte, pair) in hash.iter_mut().zip(digits) {
            let pair = std::str::from_utf8(pair).map_err(serde::de::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(Self(hash))
    }
}

/// What a stretch of lines is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinesDigest {
    /// Its length, line feeds included.
    pub bytes: u64,
    /// The number of its lines: line feeds.
    pub messages: u64,
    /// The hash of the bytes.
    pub sha256: Sha256Hash,
    /// Whether it ends with a line feed, or is empty.
    pub line_terminated: bool,
}

/// Takes a digest, chunk by chunk.
#[derive(Debug, Clone)]
pub(super) struct Digester {
    bytes: u64,
    messages: u64,
    sha256: Sha256,
    last_byte: u8,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self { bytes: 0, messages: 0, sha256: Sha256::new(), last_byte: b'\n' }
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.messages += count_line_feeds(chunk);
        self.sha256.update(chunk);
        if let Some(last) = chunk.last() {
            self.last_byte = *last;
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn finish(self) -> LinesDigest {
        LinesDigest {
            bytes: self.bytes,
            messages: self.messages,
            sha256: Sha256Hash(self.sha256.finalize().into()),
            line_terminated: self.last_byte == b'\n',
        }
    }
}

/// The digest of the first `length` bytes of a file.
pub(super) fn digest_prefix(mut file: &File, length: u64) -> io::Result<LinesDigest> {
    let mut digester = Digester::new();
    file.rewind()?;
    for_each_chunk(file.take(length), |chunk| {
        digester.update(chunk);
        io::Result::Ok(())
    })?;
    Ok(digester.finish())
}

/// The number of line feeds.
pub(super) fn count_line_feeds(chunk: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', chunk).count() as u64
}

/// A reader that also hashes what is read through it.
#[derive(Debug)]
pub(super) struct HashingReader<R> {
    inner: R,
    sha256: Sha256,
    bytes: u64,
}

impl<R> HashingReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, sha256: Sha256::new(), bytes: 0 }
    }

    /// The hash and the length of what was read.
    pub(super) fn finish(self) -> (Sha256Hash, u64) {
        (Sha256Hash(self.sha256.finalize().into()), self.bytes)
    }
}

impl<R: io::Read> io::Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.sha256.update(buffer.get(..length).unwrap_or_default());
        self.bytes += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_depend_on_chunk_boundaries() {
        let mut whole = Digester::new();
        whole.update(b"one\ntwo\nthree");
        let mut cut = Digester::new();
        for chunk in [&b"on"[..], b"", b"e\n", b"two\nthree"] {
            cut.update(chunk);
        }
        assert_eq!(whole.clone().finish(), cut.finish());
        let digest = whole.finish();
        assert_eq!((digest.bytes, digest.messages, digest.line_terminated), (13, 2, false));
    }

    #[test]
    fn the_hash_matches_the_fips_180_4_example() {
        let mut digester = Digester::new();
        digester.update(b"abc");
        let hash = digester.finish().sha256;
        // FIPS 180-4, the example of one block.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), expected);
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<Sha256Hash>(&json).unwrap(), hash);
        for bad in ["\"\"", "\"ba\"", "1", &format!("\"{}\"", "x".repeat(64))] {
            assert!(serde_json::from_str::<Sha256Hash>(bad).is_err());
        }
    }
}
