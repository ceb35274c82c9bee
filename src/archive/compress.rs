//! Lines to zstd frames (RFC 8878).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memrchr;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::digest::{Digester, LinesDigest};
use super::disk::{self, FileError};
use super::progress::Progress;
use super::read_ahead::read_ahead;
use super::seal_error::SealError;

/// Raw bytes of a frame, at most. A reader that seeks decodes half of
/// one on average, a damaged file loses one; larger frames gain nothing in ratio (BENCHMARKS.md).
pub const FRAME_BYTES: usize = 4 << 20;
/// The same with long-distance matching, which has nothing to find in small frames.
const LONG_FRAME_BYTES: usize = 64 << 20;
/// The window of long-distance matching, as a power of two: that of its frames, and within what
/// every reader takes without being told to.
const LONG_WINDOW_LOG: u32 = 26;

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// zstd's level, 1 to 19.
    pub level: i32,
    /// Whether to look for repetitions over 64 MiB.
    pub long_distance: bool,
}

/// Where frames are written.
#[derive(Clone, Copy)]
pub(super) struct FrameOutput<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
}

/// Compresses a range of the file `lines` into frames that end at line ends, unless a line is longer than a frame. `each_frame` is asked
/// before every frame.
pub(super) fn compress_range(
    lines: &File,
    path: &Path,
    range: Range<u64>,
    out: FrameOutput<'_>,
    compression: Compression,
    progress: &Progress,
    mut each_frame: impl FnMut() -> Result<(), SealError>,
) -> Result<LinesDigest, SealError> {
    let fail = FileError::from_io;
    let size = if compression.long_distance { LONG_FRAME_BYTES } else { FRAME_BYTES };
    let mut compressor = new_compressor(compression).map_err(fail("compress", path))?;
    let mut stored = Vec::new();
    let mut write_frame = |frame: &[u8]| {
        each_frame()?;
        stored.clear();
        stored.reserve(compress_bound(frame.len()));
        compressor.compress_to_buffer(frame, &mut stored).map_err(fail("compress", path))?;
        disk::write_all(out.file, out.path, &stored)?;
        Ok(progress.advance(frame.len())?)
    };
    if range.is_empty() {
        // An empty file is an empty frame: no tool takes a file of no bytes.
        write_frame(&[])?;
    }
    let mut digester = Digester::new();
    let mut position = range.start;
    // Hashed where they are read, beside the compression.
    let fill = |frame: &mut Vec<u8>| {
        fill_frame(lines, position..range.end, size, frame)?;
        position += frame.len() as u64;
        digester.update(frame);
        Ok(())
    };
    // One is filled while the other is compressed.
    read_ahead(2, fill, write_frame).map_err(|error: SealError| error.with_path("read", path))?;
    Ok(digester.finish())
}

/// Writes a frame that is a line feed: what is behind it begins a line of its own.
pub(super) fn write_line_feed_frame(out: FrameOutput<'_>) -> Result<(), FileError> {
    let compression = Compression { level: 1, long_distance: false };
    let frame = new_compressor(compression).and_then(|mut compressor| compressor.compress(b"\n"));
    disk::write_all(
        out.file,
        out.path,
        &frame.map_err(FileError::from_io("compress into", out.path))?,
    )
}

fn new_compressor(compression: Compression) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(compression.level)?;
    compressor.include_checksum(true)?;
    compressor.include_contentsize(true)?;
    if compression.long_distance {
        compressor.long_distance_matching(true)?;
        compressor.window_log(LONG_WINDOW_LOG)?;
    }
    Ok(compressor)
}

/// Reads the lines that end within the next `size` bytes, or as much of one that is longer: a file
/// without line feeds must not take all memory.
fn fill_frame(lines: &File, range: Range<u64>, size: usize, frame: &mut Vec<u8>) -> io::Result<()> {
    let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    frame.resize(size.min(left), 0);
    lines.read_exact_at(frame, range.start)?;
    if left > size
        && let Some(feed) = memrchr(b'\n', frame)
    {
        frame.truncate(feed + 1);
    }
    Ok(())
}
