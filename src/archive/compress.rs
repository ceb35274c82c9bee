//! Lines to zstd frames (RFC 8878) and back.

use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};
use zstd::stream::read::Decoder;

use super::ahead::{CHUNK, fill_from, read_ahead};
use super::digest::{Digest, Digester, Hash, Hashing};
use super::disk::{self, FileError};
use super::progress::Progress;
use super::seal::SealError;
use super::tail::{line_end_after, line_end_before};

/// Raw bytes of a frame, at most, unless one line is longer. A reader that seeks decodes half of
/// one on average, a damaged file loses one; larger frames gain nothing in ratio (BENCHMARKS.md).
pub const FRAME: u64 = 8 << 20;
/// The same with long-distance matching, which has nothing to find in small frames.
const LONG_FRAME: u64 = 128 << 20;
/// The window of long-distance matching, as a power of two: the largest that every reader takes
/// without being told to.
const LONG_WINDOW_LOG: u32 = 27;

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// zstd's level, 1 to 19.
    pub level: i32,
    /// Whether to look for repetitions over 128 MiB.
    pub long_distance: bool,
}

/// Where frames are written.
pub(super) struct Output<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
}

/// Compresses a range of the file `lines` into frames that end at line ends. `each_frame` is asked
/// before every frame.
pub(super) fn compress(
    lines: &File,
    path: &Path,
    range: Range<u64>,
    out: &Output<'_>,
    compression: Compression,
    progress: &Progress,
    mut each_frame: impl FnMut() -> Result<(), SealError>,
) -> Result<Digest, SealError> {
    let mut frames = Frames::new(out, compression).map_err(FileError::of("compress", path))?;
    let mut digester = Digester::new();
    let mut position = range.start;
    let end = range.end;
    // Hashed where they are read, beside the compression.
    let fill = |buffer: &mut [u8]| {
        let length = (end - position).min(buffer.len() as u64);
        let buffer = buffer.get_mut(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
        lines.read_exact_at(buffer, position)?;
        position += length;
        digester.update(buffer);
        Ok(buffer.len())
    };
    let (mut taken, mut frame_end) = (range.start, range.start);
    let fail = FileError::of;
    read_ahead(fill, |mut chunk| {
        progress.advance(chunk.len())?;
        while !chunk.is_empty() {
            if taken == frame_end {
                each_frame()?;
                frame_end = frames.end(lines, taken, end).map_err(fail("read", path))?;
                frames.begin(frame_end - taken).map_err(fail("compress", path))?;
            }
            let left = usize::try_from(frame_end - taken).unwrap_or(usize::MAX);
            let (part, rest) = chunk.split_at(left.min(chunk.len()));
            frames.feed(part)?;
            taken += part.len() as u64;
            chunk = rest;
            if taken == frame_end {
                frames.finish()?;
            }
        }
        Ok::<(), SealError>(())
    })
    .map_err(|error| error.at("read", path))?;
    if range.is_empty() {
        // An empty file is an empty frame: no tool takes a file of no bytes.
        frames.begin(0).map_err(fail("compress", path))?;
        frames.finish()?;
    }
    Ok(digester.finish())
}

struct Frames<'a> {
    encoder: Encoder<'static>,
    buffer: Vec<u8>,
    out: &'a Output<'a>,
    size: u64,
}

impl<'a> Frames<'a> {
    fn new(out: &'a Output<'a>, compression: Compression) -> io::Result<Self> {
        let mut encoder = Encoder::new(compression.level)?;
        encoder.set_parameter(CParameter::ChecksumFlag(true))?;
        encoder.set_parameter(CParameter::ContentSizeFlag(true))?;
        if compression.long_distance {
            encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
            encoder.set_parameter(CParameter::WindowLog(LONG_WINDOW_LOG))?;
        }
        let size = if compression.long_distance { LONG_FRAME } else { FRAME };
        Ok(Self { encoder, buffer: vec![0; CHUNK], out, size })
    }

    /// Where the frame that starts at `start` ends.
    fn end(&self, lines: &File, start: u64, end: u64) -> io::Result<u64> {
        let most = end.min(start + self.size);
        if most == end {
            return Ok(end);
        }
        match line_end_before(lines, start, most)? {
            Some(line_end) => Ok(line_end),
            None => line_end_after(lines, most, end),
        }
    }

    fn begin(&mut self, raw_bytes: u64) -> io::Result<()> {
        self.encoder.reinit()?;
        self.encoder.set_pledged_src_size(Some(raw_bytes))
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), SealError> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            let mut output = OutBuffer::around(self.buffer.as_mut_slice());
            self.encoder
                .run(&mut input, &mut output)
                .map_err(FileError::of("compress into", self.out.path))?;
            disk::write(self.out.file, self.out.path, output.as_slice())?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SealError> {
        loop {
            let mut output = OutBuffer::around(self.buffer.as_mut_slice());
            let left = self
                .encoder
                .finish(&mut output, false)
                .map_err(FileError::of("compress into", self.out.path))?;
            disk::write(self.out.file, self.out.path, output.as_slice())?;
            if left == 0 {
                return Ok(());
            }
        }
    }
}

/// What a sealed file holds, and what it is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) lines: Digest,
    pub(super) stored_sha256: Hash,
    pub(super) stored_bytes: u64,
}

/// Decodes a sealed file to its end, hands every chunk on, and takes the digests. The frames'
/// checksums are compared on the way.
pub(super) fn decode<E: From<io::Error>>(
    file: File,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Decoded, E> {
    let mut decoder = Decoder::with_buffer(BufReader::with_capacity(CHUNK, Hashing::new(file)))?;
    let mut digester = Digester::new();
    read_ahead(
        |buffer| fill_from(&mut decoder, buffer),
        |chunk| {
            digester.update(chunk);
            each(chunk)
        },
    )?;
    let (stored_sha256, stored_bytes) = decoder.finish().into_inner().finish();
    Ok(Decoded { lines: digester.finish(), stored_sha256, stored_bytes })
}

/// Whether the error says that the bytes are no good, rather than that they cannot be read.
pub(super) fn is_corrupt(error: &io::Error) -> bool {
    error.raw_os_error().is_none()
}
