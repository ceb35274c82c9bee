//! The `.times` file of an hour that is not sealed.

use std::io::{ErrorKind, Read as _};
use std::path::Path;

use super::received_range::ReceivedRange;
use super::times_block::TimesBlock;
use crate::archive::disk::{self, FileError};
use crate::base::time::Hour;

/// The content of a `.times` file, as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::archive) struct TimesFile {
    /// The records, in the order of the lines. Lines between them have none.
    pub(in crate::archive) ranges: Vec<ReceivedRange>,
    /// Length of the file up to its last complete block.
    pub(super) valid_len: usize,
}

impl TimesFile {
    /// Reads the file. One that does not exist has no records.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(in crate::archive) fn read(path: &Path, hour: Hour) -> Result<Self, FileError> {
        let mut file = match disk::open_regular(path) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(FileError::from_io("read", path))?;
        Ok(Self::parse(&bytes, hour))
    }

    /// Parses the blocks up to the first that is incomplete or altered.
    pub(super) fn parse(bytes: &[u8], hour: Hour) -> Self {
        let mut ranges: Vec<ReceivedRange> = Vec::new();
        let mut rest = bytes;
        while let Some(block) = TimesBlock::take(&mut rest, hour) {
            // A block that begins before the end of others is of lines that were written anew.
            if let Some(first) = block.first() {
                remove_from(&mut ranges, first.bytes.start);
            }
            ranges.extend(block);
        }
        Self { ranges, valid_len: bytes.len() - rest.len() }
    }
}

/// Removes what the ranges say of the lines from `start` on.
fn remove_from(ranges: &mut Vec<ReceivedRange>, start: u64) {
    while ranges.last().is_some_and(|last| last.bytes.start >= start) {
        ranges.pop();
    }
    if let Some(last) = ranges.last_mut() {
        last.bytes.end = last.bytes.end.min(start);
    }
}
