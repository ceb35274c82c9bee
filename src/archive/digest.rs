//! What is known of a stretch of lines: length, number, hash.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::ahead::each_chunk;

/// A SHA-256 (FIPS 180-4), shown as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
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
pub struct Digest {
    /// Its length, line feeds included.
    pub bytes: u64,
    /// The number of its lines: line feeds.
    pub messages: u64,
    /// The hash of the bytes.
    pub sha256: Hash,
    /// Whether it ends with a line feed, or is empty.
    pub whole: bool,
}

/// Takes a digest, chunk by chunk.
#[derive(Debug, Clone)]
pub(super) struct Digester {
    bytes: u64,
    messages: u64,
    sha256: Sha256,
    last: u8,
}

impl Digester {
    pub(super) fn new() -> Self {
        Self { bytes: 0, messages: 0, sha256: Sha256::new(), last: b'\n' }
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.messages += count_lines(chunk);
        self.sha256.update(chunk);
        if let Some(last) = chunk.last() {
            self.last = *last;
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn finish(self) -> Digest {
        Digest {
            bytes: self.bytes,
            messages: self.messages,
            sha256: Hash(self.sha256.finalize().into()),
            whole: self.last == b'\n',
        }
    }
}

/// The digest of the first `length` bytes of a file.
pub(super) fn of_start(mut file: &File, length: u64) -> io::Result<Digest> {
    let mut digester = Digester::new();
    file.rewind()?;
    each_chunk(file.take(length), |chunk| {
        digester.update(chunk);
        io::Result::Ok(())
    })?;
    Ok(digester.finish())
}

/// The number of line feeds.
pub(super) fn count_lines(chunk: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', chunk).count() as u64
}

/// A reader that also hashes what is read through it.
#[derive(Debug)]
pub(super) struct Hashing<R> {
    inner: R,
    sha256: Sha256,
    bytes: u64,
}

impl<R> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, sha256: Sha256::new(), bytes: 0 }
    }

    /// The hash and the length of what was read.
    pub(super) fn finish(self) -> (Hash, u64) {
        (Hash(self.sha256.finalize().into()), self.bytes)
    }
}

impl<R: io::Read> io::Read for Hashing<R> {
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
    fn a_digest_is_the_same_however_the_bytes_are_cut() {
        let mut whole = Digester::new();
        whole.update(b"one\ntwo\nthree");
        let mut cut = Digester::new();
        for chunk in [&b"on"[..], b"", b"e\n", b"two\nthree"] {
            cut.update(chunk);
        }
        assert_eq!(whole.clone().finish(), cut.finish());
        let digest = whole.finish();
        assert_eq!((digest.bytes, digest.messages, digest.whole), (13, 2, false));
    }

    #[test]
    fn the_hash_is_the_one_that_sha256sum_gives() {
        let mut digester = Digester::new();
        digester.update(b"abc");
        let hash = digester.finish().sha256;
        // FIPS 180-4, the example of one block.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), expected);
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<Hash>(&json).unwrap(), hash);
        for bad in ["\"\"", "\"ba\"", "1", &format!("\"{}\"", "x".repeat(64))] {
            assert!(serde_json::from_str::<Hash>(bad).is_err());
        }
    }
}
