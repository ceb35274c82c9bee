//! The comparison of a time index with the lines.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use crate::archive::time_index::{IndexedFrame, IndexedLines};
use crate::base::time::Hour;

/// Counts lines in one pass, and compares their number with the time index at the end of each frame.
#[derive(Debug, Default)]
pub(super) struct IndexCheck {
    /// Frames that were not compared yet, in the order of the lines.
    frames: VecDeque<IndexedFrame>,
    /// Number of bytes that were passed so far.
    position: u64,
    /// Number of line feeds of the first frame so far.
    found: u64,
    mismatch: Option<String>,
}

impl IndexCheck {
    /// Reads the time indexes of the file, and compares their times with the hour.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn new(file: &File, hour: Hour) -> io::Result<Self> {
        let indexed = match IndexedLines::read_all(file) {
            Ok(indexed) => indexed,
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            // The lines tell more of damage, if it is theirs.
            Err(error) => {
                let mismatch = format!("its time index cannot be used: {error}");
                return Ok(Self { mismatch: Some(mismatch), ..Self::default() });
            }
        };
        let is_outside = |lines: &IndexedLines| {
            let mut times = lines.times.records().filter_map(|record| record.received);
            times.any(|time| Hour::containing(time) != hour)
        };
        let mismatch = indexed.iter().any(is_outside);
        let mismatch = mismatch.then(|| "its time index has times of another hour".to_owned());
        let frames = indexed.into_iter().flat_map(|lines| lines.frames).collect();
        Ok(Self { frames, mismatch, ..Self::default() })
    }

    /// Counts the next lines, which may end anywhere.
    pub(super) fn update(&mut self, mut chunk: &[u8]) {
        while let Some(IndexedFrame { extent, lines }) = self.frames.front() {
            if extent.raw.end == self.position {
                let found = self.found;
                if found != *lines {
                    let range = &extent.raw;
                    self.mismatch.get_or_insert_with(|| {
                        let from = range.start;
                        let to = range.end;
                        format!("its bytes {from} to {to} have {found} lines, and its time index says {lines}")
                    });
                }
                self.found = 0;
                self.frames.pop_front();
                continue;
            }
            if chunk.is_empty() {
                return;
            }
            let is_before = self.position < extent.raw.start;
            let border = if is_before { extent.raw.start } else { extent.raw.end };
            let length = usize::try_from(border - self.position).unwrap_or(usize::MAX);
            let (part, rest) = chunk.split_at(length.min(chunk.len()));
            if !is_before {
                self.found += memchr::memchr_iter(b'\n', part).count() as u64;
            }
            self.position += part.len() as u64;
            chunk = rest;
        }
    }

    /// Returns what is wrong with the index, in words for people.
    pub(super) fn into_mismatch(self) -> Option<String> {
        let missing = self.frames.front().map(|frame| frame.extent.raw.end);
        self.mismatch.or_else(|| {
            missing
                .map(|end| format!("its time index is of lines up to byte {end}, which it lacks"))
        })
    }
}
