//! A reader that hashes what passes through it.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use super::sha256_hash::Sha256Hash;

/// Hash and length of a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredDigest {
    pub(super) sha256: Sha256Hash,
    pub(super) bytes: u64,
}

/// A reader that hashes the bytes that are read through it.
#[derive(Debug)]
pub(super) struct HashingReader<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R> HashingReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    /// Returns the hash and the number of the bytes read.
    pub(super) fn finish(self) -> StoredDigest {
        StoredDigest { sha256: Sha256Hash::from_hasher(self.hasher), bytes: self.bytes }
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let (read, _) = buffer.split_at(length);
        self.hasher.update(read);
        self.bytes += length as u64;
        Ok(length)
    }
}
