//! Reads of a range of a file that is open at the same time for other purposes: no function here
//! moves the position of the handle.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Bytes that are read from a file at a time.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Largest piece of a file that is held in memory as a whole: a line, or a frame.
pub(super) const MAX_BUFFERED_BYTES: u64 = 16 << 20;

/// Reads the first [`BLOCK_BYTES`] of a range of the file, or all of a shorter range, into `buffer`
/// and returns them.
///
/// # Errors
/// The range cannot be read; [`io::ErrorKind::UnexpectedEof`] if the file ends before it does.
pub(super) fn read_block<'a>(
    file: &File,
    range: Range<u64>,
    buffer: &'a mut Vec<u8>,
) -> io::Result<&'a [u8]> {
    // A length that is no `usize` is longer than a block.
    let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    buffer.resize(length.min(BLOCK_BYTES), 0);
    file.read_exact_at(buffer, range.start)?;
    Ok(buffer)
}

/// Reads a range of the file as a whole into `buffer` and returns it. The caller bounds its length.
///
/// # Errors
/// The range cannot be read; [`io::ErrorKind::UnexpectedEof`] if the file ends before it does.
pub(super) fn read_range<'a>(
    file: &File,
    range: Range<u64>,
    buffer: &'a mut Vec<u8>,
) -> io::Result<&'a [u8]> {
    let length = usize::try_from(range.end.saturating_sub(range.start))
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    buffer.resize(length, 0);
    file.read_exact_at(buffer, range.start)?;
    Ok(buffer)
}
