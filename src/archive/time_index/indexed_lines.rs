//! Sealed lines and their time index.

use std::fs::File;
use std::io;

use super::sealed_times::SealedTimes;
use crate::archive::read_block::read_range;
use crate::archive::seek_table::{FrameExtent, SeekTable};
use crate::archive::zstd_frame::skippable_content;

/// The lines of one seal that have a time index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::archive) struct IndexedLines {
    pub(in crate::archive) times: SealedTimes,
    /// The frames of the lines, each with the number of its line feeds.
    pub(in crate::archive) frames: Vec<IndexedFrame>,
}

/// A frame of lines that have a time index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::archive) struct IndexedFrame {
    pub(in crate::archive) extent: FrameExtent,
    /// Number of line feeds, by the index.
    pub(in crate::archive) lines: u64,
}

impl IndexedLines {
    /// Reads the time indexes of a sealed file, in the order of the lines. A file of an older version,
    /// or of another program, has none.
    ///
    /// # Errors
    /// The file cannot be read, or an index is damaged.
    pub(in crate::archive) fn read_all(file: &File) -> io::Result<Vec<Self>> {
        let Some(table) = SeekTable::read(file)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        let mut buffer = Vec::new();
        for frame in table.frames.iter().filter(|frame| frame.raw.is_empty()) {
            let start = frame.stored.start..frame.stored.end.min(frame.stored.start + 16);
            if !SealedTimes::is_one(skippable_content(read_range(file, start, &mut buffer)?)) {
                continue;
            }
            let stored = read_range(file, frame.stored.clone(), &mut buffer)?;
            if let Some(times) = SealedTimes::decode(skippable_content(stored))? {
                all.push(Self::new(times, &table)?);
            }
        }
        Ok(all)
    }

    fn new(times: SealedTimes, table: &SeekTable) -> io::Result<Self> {
        let is_inside = |frame: &&FrameExtent| {
            !frame.raw.is_empty()
                && frame.raw.start >= times.bytes.start
                && frame.raw.end <= times.bytes.end
        };
        let extents: Vec<&FrameExtent> = table.frames.iter().filter(is_inside).collect();
        let lines: Vec<u64> = times.frame_lines().collect();
        let is_of_frames = extents.len() == lines.len()
            && extents.first().is_some_and(|first| first.raw.start == times.bytes.start)
            && extents.last().is_some_and(|last| last.raw.end == times.bytes.end);
        if !is_of_frames {
            let message = "the time index is of other lines";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let frames = extents.into_iter().zip(lines);
        let frames = frames.map(|(extent, lines)| IndexedFrame { extent: extent.clone(), lines });
        let frames = frames.collect();
        Ok(Self { times, frames })
    }
}
