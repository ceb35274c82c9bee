//! Compression of lines to zstd frames (RFC 8878).

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
use super::time_index::SealedTimesBuilder;

/// Largest number of raw bytes in a frame. A reader that seeks decodes half of one on average, and
/// a damaged file loses one; larger frames gain nothing in ratio (docs/benchmarks.md).
pub const FRAME_BYTES: usize = 4 << 20;
/// Window of long-distance matching, as a power of two. Every decoder accepts it without an
/// option.
const LONG_WINDOW_LOG: u32 = 26;
/// Largest number of raw bytes in a frame with long-distance matching, which finds nothing in
/// frames that are smaller than its window.
const LONG_FRAME_BYTES: usize = 1 << LONG_WINDOW_LOG;
/// Buffers between reading and compressing: one is filled while the other is compressed.
const FRAMES_IN_FLIGHT: usize = 2;

/// Settings of the compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// Level of zstd, 1 to 19.
    pub level: i32,
    /// `true` to search for repetitions within 64 MiB (long-distance matching).
    pub long_distance: bool,
}

/// Lines of a file that are to be compressed.
#[derive(Debug, Clone)]
pub(super) struct LineRange<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    pub(super) bytes: Range<u64>,
}

/// File to which frames are appended.
#[derive(Clone, Copy)]
pub(super) struct FrameOutput<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
}

/// Compresses the lines into frames, and returns their digest. Frames end at line ends, unless a
/// line is longer than a frame. The lines are passed to `times`. `before_frame` is called before
/// every frame and may end the work.
///
/// # Errors
/// [`SealError`]: the lines cannot be read or the frames not written, or the error of
/// `before_frame`, or a stop was requested.
pub(super) fn compress_range(
    lines: LineRange<'_>,
    times: &mut SealedTimesBuilder,
    output: FrameOutput<'_>,
    compression: Compression,
    progress: &Progress,
    mut before_frame: impl FnMut() -> Result<(), SealError>,
) -> Result<LinesDigest, SealError> {
    let LineRange { file: lines, path, bytes: range } = lines;
    let compress_error = || FileError::from_io("compress", path);
    let frame_bytes = if compression.long_distance { LONG_FRAME_BYTES } else { FRAME_BYTES };
    let mut compressor = new_compressor(compression).map_err(compress_error())?;
    let mut stored = Vec::new();
    let mut write_frame = |frame: &[u8]| {
        before_frame()?;
        stored.clear();
        stored.reserve(compress_bound(frame.len()));
        compressor.compress_to_buffer(frame, &mut stored).map_err(compress_error())?;
        disk::write_all(output.file, output.path, &stored)?;
        Ok(progress.advance(frame.len())?)
    };
    if range.is_empty() {
        // No lines are an empty frame: many tools refuse a file of no bytes.
        write_frame(&[])?;
    }
    let mut digester = Digester::new();
    let mut position = range.start;
    // The hash is computed on the thread that reads, beside the compression.
    let fill = |frame: &mut Vec<u8>| {
        fill_frame(lines, position..range.end, frame_bytes, frame)?;
        position += frame.len() as u64;
        digester.update(frame);
        times.update(frame);
        Ok(())
    };
    read_ahead(FRAMES_IN_FLIGHT, fill, write_frame)
        .map_err(|error: SealError| error.with_path("read", path))?;
    Ok(digester.finish())
}

/// Writes a frame that consists of a line feed, so that the next frame begins with a new line.
pub(super) fn write_line_feed_frame(output: FrameOutput<'_>) -> Result<(), FileError> {
    let compression = Compression { level: 1, long_distance: false };
    let frame = new_compressor(compression)
        .and_then(|mut compressor| compressor.compress(b"\n"))
        .map_err(FileError::from_io("compress into", output.path))?;
    disk::write_all(output.file, output.path, &frame)
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

/// Reads the lines that end within the first `frame_bytes` of the range, or `frame_bytes` of a line
/// that is longer: memory stays bounded for a file without line feeds.
fn fill_frame(
    lines: &File,
    range: Range<u64>,
    frame_bytes: usize,
    frame: &mut Vec<u8>,
) -> io::Result<()> {
    let remaining = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    frame.resize(frame_bytes.min(remaining), 0);
    lines.read_exact_at(frame, range.start)?;
    if remaining > frame_bytes
        && let Some(line_feed) = memrchr(b'\n', frame)
    {
        frame.truncate(line_feed + 1);
    }
    Ok(())
}
