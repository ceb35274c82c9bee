//! The time index of sealed lines: a skippable frame behind them.
//!
//! The records stand in columns, since most numbers of a column are alike: the numbers of lines, the
//! low bytes of the time steps, and the rest of the time steps.

use std::io;
use std::ops::Range;

use super::times_block::time;
use super::varint;
use crate::archive::zstd_frame::skippable_frame;
use crate::base::time::{Hour, UnixNanos};

/// First bytes of the content of the frame: a name, and the version of the format.
const MAGIC: [u8; 8] = *b"strmtim\x01";
/// First bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// Skippable frames of 16 kinds exist; the kind of this one.
const FRAME_KIND: u8 = 0xA;
/// Most bytes that the columns of an hour may decode to.
const MAX_CONTENT_BYTES: usize = 256 << 20;

/// The time index of a part of sealed lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::archive) struct SealedTimes {
    /// The hour of the lines.
    pub(super) hour: Hour,
    /// Nanoseconds of a tick.
    pub(super) tick_nanos: u64,
    /// The lines that the index is of: bytes of all lines in the file.
    pub(in crate::archive) bytes: Range<u64>,
    /// Number of these lines.
    pub(in crate::archive) lines: u64,
    /// For each frame of these lines the number of its line feeds.
    pub(super) frames: Vec<u8>,
    /// For each record the number of its lines, doubled, and one more if their time is unknown.
    pub(super) counts: Vec<u8>,
    /// For each record of known time the low byte of the step from the time before, zigzag.
    pub(super) low_steps: Vec<u8>,
    /// The same steps without their low byte.
    pub(super) high_steps: Vec<u8>,
}

/// Lines that were received together, counted as lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::archive) struct LineRecord {
    /// Number of lines.
    pub(in crate::archive) lines: u64,
    /// Time of their receipt, if it is known.
    pub(in crate::archive) received: Option<UnixNanos>,
}

impl SealedTimes {
    /// Returns the skippable frame.
    ///
    /// # Errors
    /// The columns cannot be compressed.
    pub(in crate::archive) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        for number in [
            self.hour.start().seconds(),
            self.tick_nanos,
            self.bytes.start,
            self.bytes.end,
            self.lines,
            self.frames.len() as u64,
            self.counts.len() as u64,
            self.low_steps.len() as u64,
        ] {
            varint::push(&mut content, number);
        }
        content.extend(&self.frames);
        content.extend(&self.counts);
        content.extend(&self.low_steps);
        content.extend(&self.high_steps);
        let mut compressor = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
        compressor.include_checksum(true)?;
        let compressed = compressor.compress(&content)?;
        // Whoever looks for the next frame behind a damaged one must not take this for lines.
        let without_magic = compressed.strip_prefix(&ZSTD_MAGIC).unwrap_or(&compressed);
        skippable_frame(FRAME_KIND, &[&MAGIC, without_magic])
    }

    /// Returns whether the content of a skippable frame, or its start, is a time index.
    pub(super) fn is_one(content: &[u8]) -> bool {
        content.starts_with(&MAGIC)
    }

    /// Decodes the content of a skippable frame. Returns `None` if it is of another kind.
    ///
    /// # Errors
    /// The content is damaged.
    pub(in crate::archive) fn decode(content: &[u8]) -> io::Result<Option<Self>> {
        let Some(without_magic) = content.strip_prefix(&MAGIC) else { return Ok(None) };
        let compressed = [&ZSTD_MAGIC, without_magic].concat();
        let content = zstd::bulk::decompress(&compressed, MAX_CONTENT_BYTES)?;
        let times = Self::parse(&content);
        let times = times
            .filter(|times| times.records().map(|record| record.lines).sum::<u64>() == times.lines);
        times
            .map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the time index is damaged"))
    }

    fn parse(mut content: &[u8]) -> Option<Self> {
        let mut number = || varint::take(&mut content);
        let hour = Hour::starting_at(number()?)?;
        let tick_nanos = number()?;
        let bytes = number()?..number()?;
        let lines = number()?;
        let frames_len = usize::try_from(number()?).ok()?;
        let counts_len = usize::try_from(number()?).ok()?;
        let low_steps_len = usize::try_from(number()?).ok()?;
        let (frames, rest) = content.split_at_checked(frames_len)?;
        let (counts, rest) = rest.split_at_checked(counts_len)?;
        let (low_steps, high_steps) = rest.split_at_checked(low_steps_len)?;
        Some(Self {
            hour,
            tick_nanos,
            bytes,
            lines,
            frames: frames.to_vec(),
            counts: counts.to_vec(),
            low_steps: low_steps.to_vec(),
            high_steps: high_steps.to_vec(),
        })
    }

    /// Returns the number of line feeds of each frame of the lines, in their order.
    pub(in crate::archive) fn frame_lines(&self) -> impl Iterator<Item = u64> {
        let mut frames = self.frames.as_slice();
        std::iter::from_fn(move || varint::take(&mut frames))
    }

    /// Returns the records, in the order of the lines. They end before the first that is damaged.
    pub(in crate::archive) fn records(&self) -> impl Iterator<Item = LineRecord> {
        let mut counts = self.counts.as_slice();
        let mut low_steps = self.low_steps.iter();
        let mut high_steps = self.high_steps.as_slice();
        let mut ticks: i64 = 0;
        std::iter::from_fn(move || {
            let count = varint::take(&mut counts)?;
            let lines = count >> 1;
            if count & 1 == 1 {
                return Some(LineRecord { lines, received: None });
            }
            let low = u64::from(*low_steps.next()?);
            let high = varint::take(&mut high_steps)?;
            ticks = ticks.wrapping_add(varint::unzigzag(high.checked_mul(256)? | low));
            let received = Some(time(self.hour, ticks, self.tick_nanos));
            Some(LineRecord { lines, received })
        })
    }
}
