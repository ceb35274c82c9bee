//! Hashes of the starts of a sealed file's lines.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::digest::{Digester, LinesDigest};
use crate::archive::journal::SealRecord;
use crate::archive::line_position::LinePosition;
use crate::archive::sha256_hash::Sha256Hash;

/// A position at which the lines contradict the journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct PositionMismatch {
    /// Position that the journal records.
    pub(super) recorded: LinePosition,
    /// Number of lines that the file has up to there.
    pub(super) found: u64,
}

/// Hashes lines in one pass: all of them, and each start of them that a seal record describes. It
/// also compares the number of lines with the journal at each mark.
pub(super) struct PrefixHashes {
    digester: Digester,
    /// Lengths of the starts to hash, longest first.
    pending_lengths: Vec<u64>,
    hashes: BTreeMap<u64, Sha256Hash>,
    /// Positions to compare, last first.
    pending_positions: Vec<LinePosition>,
    mismatch: Option<PositionMismatch>,
}

impl PrefixHashes {
    /// Creates the hashes for these records and sorted positions.
    pub(super) fn new(records: &[SealRecord], mut positions: Vec<LinePosition>) -> Self {
        let lengths: BTreeSet<u64> = records.iter().map(|record| record.raw_bytes).collect();
        positions.reverse();
        let mut hashes = Self {
            digester: Digester::new(),
            pending_lengths: lengths.into_iter().rev().collect(),
            hashes: BTreeMap::new(),
            pending_positions: positions,
            mismatch: None,
        };
        hashes.record_boundary();
        hashes
    }

    /// Adds the next lines, which may end anywhere.
    pub(super) fn update(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            let bytes = self.digester.bytes();
            let to_length = self.pending_lengths.last().map_or(u64::MAX, |next| next - bytes);
            let to_position =
                self.pending_positions.last().map_or(u64::MAX, |next| next.bytes - bytes);
            let next = usize::try_from(to_length.min(to_position)).unwrap_or(usize::MAX);
            let (part, rest) = chunk.split_at(next.min(chunk.len()));
            self.digester.update(part);
            self.record_boundary();
            chunk = rest;
        }
    }

    /// Keeps the hash and compares the number of lines, if the current position asks for it.
    fn record_boundary(&mut self) {
        let bytes = self.digester.bytes();
        if self.pending_lengths.pop_if(|next| *next == bytes).is_some() {
            self.hashes.insert(bytes, self.digester.clone().finish().sha256);
        }
        let found = self.digester.messages();
        while let Some(recorded) = self.pending_positions.pop_if(|next| next.bytes == bytes) {
            if recorded.messages != found {
                self.mismatch.get_or_insert(PositionMismatch { recorded, found });
            }
        }
    }

    /// Returns the number of bytes added so far.
    pub(super) fn bytes(&self) -> u64 {
        self.digester.bytes()
    }

    /// Returns the digest of all lines added so far.
    pub(super) fn digest(&self) -> LinesDigest {
        self.digester.clone().finish()
    }

    /// Returns the first position at which the lines contradict the journal.
    pub(super) fn mismatch(&self) -> Option<PositionMismatch> {
        self.mismatch
    }

    /// Returns whether the lines start with those of a record that was passed to [`new`](Self::new).
    pub(super) fn contains(&self, record: &SealRecord) -> bool {
        self.hashes.get(&record.raw_bytes) == Some(&record.raw_sha256)
    }
}
