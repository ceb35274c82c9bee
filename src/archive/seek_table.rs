//! The extents of the frames of a sealed file, which its last frame lists, so that a reader finds
//! the lines that it needs without reading those before them.
//!
//! The format is the zstd seekable format 0.1.0 (`contrib/seekable_format` of the zstd source): a
//! skippable frame of pairs of sizes, which ends with their number and a magic number.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::read_block::read_range;
use super::zstd_frame::{ZstdFrame, parse_frame, skippable_frame};

/// Low half of the first byte of the skippable frame.
const FRAME_KIND: u8 = 0xE;
/// Last bytes of the frame.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Length of what ends the frame: the number of entries, a descriptor, and the magic number.
const FOOTER_BYTES: usize = 9;
/// Length of a skippable frame's header.
const HEADER_BYTES: usize = 8;
/// Bit of the descriptor that says that each entry has a checksum.
const CHECKSUM_FLAG: u8 = 0x80;
/// Bits of the descriptor that must be 0.
const RESERVED_BITS: u8 = 0x7C;

/// A frame of a sealed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameExtent {
    /// Bytes of the file.
    pub(super) stored: Range<u64>,
    /// Bytes of the lines; empty for a skippable frame.
    pub(super) raw: Range<u64>,
}

/// The frames of a sealed file, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SeekTable {
    pub(super) frames: Vec<FrameExtent>,
}

impl SeekTable {
    /// Returns the frames of the file: as its last frame lists them, or, where it does not, from the
    /// headers of all frames. Returns `None` if a frame does not say how long its lines are.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        match Self::read_last_frame(file)? {
            Some(table) => Ok(Some(table)),
            None => Self::scan(file),
        }
    }

    /// Returns the frames of the file, from their headers. Returns `None` if a frame does not say how
    /// long its lines are.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn scan(file: &File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let mut table = Self::default();
        let mut position = 0;
        while position < length {
            let ZstdFrame { end, content_len, skippable } = parse_frame(file, position, length)?;
            let raw_len = if skippable { Some(0) } else { content_len };
            let Some(raw_len) = raw_len else { return Ok(None) };
            table.push(end - position, raw_len);
            position = end;
        }
        Ok(Some(table))
    }

    fn push(&mut self, stored_len: u64, raw_len: u64) {
        let stored = self.frames.last().map_or(0, |last| last.stored.end);
        let raw = self.frames.last().map_or(0, |last| last.raw.end);
        let stored = stored..stored + stored_len;
        self.frames.push(FrameExtent { stored, raw: raw..raw + raw_len });
    }

    /// Returns the frame that lists the frames before it, or `None` if one of them is too large.
    ///
    /// # Errors
    /// There are too many frames.
    pub(super) fn encode(&self) -> io::Result<Option<Vec<u8>>> {
        let mut entries = Vec::new();
        for FrameExtent { stored, raw } in &self.frames {
            for length in [stored.end - stored.start, raw.end - raw.start] {
                let Ok(length) = u32::try_from(length) else { return Ok(None) };
                entries.extend(length.to_le_bytes());
            }
        }
        let count = u32::try_from(self.frames.len()).map_err(io::Error::other)?;
        let no_checksums = [0];
        let magic = SEEKABLE_MAGIC.to_le_bytes();
        let parts = [entries.as_slice(), &count.to_le_bytes(), &no_checksums, &magic];
        skippable_frame(FRAME_KIND, &parts).map(Some)
    }

    /// Returns what the last frame of the file lists; `None` if it is no such list, or one that does
    /// not fit the file.
    fn read_last_frame(file: &File) -> io::Result<Option<Self>> {
        let length = file.metadata()?.len();
        let Some(footer_start) = length.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_start)?;
        let [c0, c1, c2, c3, descriptor, magic @ ..] = footer;
        if u32::from_le_bytes(magic) != SEEKABLE_MAGIC || descriptor & RESERVED_BITS != 0 {
            return Ok(None);
        }
        let entry_bytes: usize = if descriptor & CHECKSUM_FLAG == 0 { 8 } else { 12 };
        let entries_len = u64::from(u32::from_le_bytes([c0, c1, c2, c3])) * entry_bytes as u64;
        let start = footer_start.checked_sub(entries_len);
        let Some(frame_start) = start.and_then(|start| start.checked_sub(HEADER_BYTES as u64))
        else {
            return Ok(None);
        };
        let mut buffer = Vec::new();
        let frame = read_range(file, frame_start..footer_start, &mut buffer)?;
        let expected_len =
            u32::try_from(entries_len + FOOTER_BYTES as u64).map_err(io::Error::other)?;
        let expected = skippable_frame(FRAME_KIND, &[])?;
        let Some((header, entries)) = frame.split_at_checked(HEADER_BYTES) else {
            return Ok(None);
        };
        if header.get(..4) != expected.get(..4)
            || header.get(4..) != Some(&expected_len.to_le_bytes())
        {
            return Ok(None);
        }
        let mut table = Self::default();
        for entry in entries.chunks_exact(entry_bytes) {
            let [s0, s1, s2, s3, r0, r1, r2, r3, ..] = *entry else { return Ok(None) };
            let stored_len = u32::from_le_bytes([s0, s1, s2, s3]);
            let raw_len = u32::from_le_bytes([r0, r1, r2, r3]);
            table.push(u64::from(stored_len), u64::from(raw_len));
        }
        let end = table.frames.last().map_or(0, |last| last.stored.end);
        Ok((end == frame_start).then_some(table))
    }
}
