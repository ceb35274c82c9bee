//! Decoding of a sealed file frame by frame, so that damage costs only the frames that it hit.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::memmem;
use zstd::bulk::Decompressor;

use super::decode::decode_stream;
use super::read_block::{MAX_BUFFERED_BYTES, read_block, read_range};

/// First bytes of a frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// First bytes of a skippable frame; the low half of the first byte may be anything (RFC 8878,
/// 3.1.2).
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
/// Length of the longest frame header (RFC 8878, 3.1.1.1).
const MAX_HEADER_BYTES: u64 = 18;

/// Decodes the frames in order, and passes the lines of each to `each` once its checksum was
/// verified. Damaged frames are left out, and passed to `damaged` as a range of the file and the
/// decoder's reason. Of a frame that is too large to hold in memory, as other programs write them,
/// the lines before the damage are passed on.
///
/// # Errors
/// The file cannot be read, or `each` failed.
pub(super) fn decode_intact_frames<E: From<io::Error>>(
    file: &File,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
    mut damaged: impl FnMut(Range<u64>, String),
) -> Result<(), E> {
    let length = file.metadata()?.len();
    let mut decompressor = Decompressor::new()?;
    let mut stored_buffer = Vec::new();
    let mut lines = Vec::new();
    let mut start = 0;
    while start < length {
        let frame_end = match parse_frame(file, start, length) {
            Ok(frame) if frame.skippable => Ok(frame.end),
            Ok(ZstdFrame { end, content_len: Some(content), .. })
                if content.max(end - start) <= MAX_BUFFERED_BYTES =>
            {
                let stored = read_range(file, start..end, &mut stored_buffer)?;
                lines.clear();
                // The limit above fits any `usize`.
                lines.reserve(usize::try_from(content).unwrap_or(usize::MAX));
                let decoded = decompressor.decompress_to_buffer(stored, &mut lines);
                if decoded.is_ok() {
                    each(&lines)?;
                }
                decoded.map(|_| end)
            }
            Ok(frame) => {
                let mut each_error = None;
                let range = FileRange { file, position: start, end: frame.end };
                let decoded = decode_stream(range, |chunk| {
                    each(chunk).map_err(|error| {
                        each_error = Some(error);
                        io::Error::other("the receiver of the lines failed")
                    })
                });
                if let Some(error) = each_error {
                    return Err(error);
                }
                decoded.map(|()| frame.end)
            }
            Err(error) => Err(error),
        };
        start = match frame_end {
            Ok(end) => end,
            Err(error) if error.raw_os_error().is_some() => return Err(error.into()),
            Err(error) => {
                // The end that a damaged frame claims is not reliable.
                let next = find_next_frame(file, start + 1, length)?;
                damaged(start..next, error.to_string());
                next
            }
        };
    }
    Ok(())
}

/// Returns the number of bytes that the frames decode to, by their headers, up to the first damage;
/// `None` if a frame does not state it.
pub(super) fn content_bytes(file: &File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let mut start = 0;
    let mut sum = 0_u64;
    while start < length {
        match parse_frame(file, start, length) {
            Ok(ZstdFrame { end, content_len, skippable }) => {
                let Some(content) = content_len.or(skippable.then_some(0)) else { return Ok(None) };
                sum = sum.saturating_add(content);
                start = end;
            }
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(Some(sum))
}

/// Extent of a frame.
pub(super) struct ZstdFrame {
    pub(super) end: u64,
    /// Number of bytes that it decodes to, if its header states it.
    pub(super) content_len: Option<u64>,
    pub(super) skippable: bool,
}

/// Determines the extent of the frame that begins at `start`, from its header and those of its
/// blocks (RFC 8878, 3.1.1.1 and 3.1.1.2).
pub(super) fn parse_frame(file: &File, start: u64, length: u64) -> io::Result<ZstdFrame> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut buffer = Vec::new();
    let header = read_range(file, start..length.min(start + MAX_HEADER_BYTES), &mut buffer)?;
    let number = |offset: usize, bytes: usize| {
        let field =
            header.get(offset..offset + bytes).ok_or_else(|| invalid("incomplete frame"))?;
        Ok::<u64, io::Error>(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let magic = number(0, 4)?;
    if magic & 0xFFFF_FFF0 == u64::from(SKIPPABLE_MAGIC) {
        let end = start + 8 + number(4, 4)?;
        let frame = ZstdFrame { end, content_len: None, skippable: true };
        return if end <= length { Ok(frame) } else { Err(invalid("incomplete frame")) };
    }
    if magic != u64::from(ZSTD_MAGIC) {
        return Err(invalid("no frame starts here"));
    }
    let descriptor = number(4, 1)?;
    let single_segment = descriptor & 0x20 != 0;
    let window_bytes = usize::from(!single_segment);
    let dictionary_bytes = match descriptor & 3 {
        0 => 0,
        1 => 1,
        2 => 2,
        _ => 4,
    };
    let content_offset = 5 + window_bytes + dictionary_bytes;
    let (content_bytes, content_len) = match (descriptor >> 6, single_segment) {
        (0, false) => (0, None),
        (0, true) => (1, Some(number(content_offset, 1)?)),
        (1, _) => (2, Some(number(content_offset, 2)? + 256)),
        (2, _) => (4, Some(number(content_offset, 4)?)),
        _ => (8, Some(number(content_offset, 8)?)),
    };
    let mut position = start + (content_offset + content_bytes) as u64;
    loop {
        if position + 3 > length {
            return Err(invalid("incomplete frame"));
        }
        let mut block_header = [0; 3];
        file.read_exact_at(&mut block_header, position)?;
        let [low, middle, high] = block_header;
        let block = u32::from_le_bytes([low, middle, high, 0]);
        let stored = match block >> 1 & 3 {
            1 => 1,
            3 => return Err(invalid("a block of no known type")),
            _ => u64::from(block >> 3),
        };
        position += 3 + stored;
        if block & 1 == 1 {
            break;
        }
    }
    let checksum_bytes = if descriptor & 4 != 0 { 4 } else { 0 };
    let end = position + checksum_bytes;
    let frame = ZstdFrame { end, content_len, skippable: false };
    if end <= length { Ok(frame) } else { Err(invalid("incomplete frame")) }
}

/// Returns a skippable frame with these parts as its content. `kind` is the low half of its first
/// byte.
pub(super) fn skippable_frame(kind: u8, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).map_err(io::Error::other)?;
    let mut frame = Vec::new();
    frame.extend((SKIPPABLE_MAGIC | u32::from(kind & 0xF)).to_le_bytes());
    frame.extend(length.to_le_bytes());
    for part in parts {
        frame.extend(*part);
    }
    Ok(frame)
}

/// Returns the content of a frame if it is skippable, else nothing.
pub(super) fn skippable_content(frame: &[u8]) -> &[u8] {
    match frame.split_at_checked(8) {
        Some((&[kind, 0x2A, 0x4D, 0x18, ..], content)) if kind & 0xF0 == 0x50 => content,
        _ => &[],
    }
}

/// Returns the first position from `start` on at which a frame seems to begin; the end of the file
/// when there is none.
fn find_next_frame(file: &File, start: u64, length: u64) -> io::Result<u64> {
    let magic = ZSTD_MAGIC.to_le_bytes();
    let mut buffer = Vec::new();
    let mut position = start;
    while position < length {
        let block = read_block(file, position..length, &mut buffer)?;
        if let Some(offset) = memmem::find(block, &magic) {
            return Ok(position + offset as u64);
        }
        // The blocks overlap, since the magic number may lie across their border.
        position += block.len().saturating_sub(magic.len() - 1).max(1) as u64;
    }
    Ok(length)
}

/// A reader of a range of a file, which leaves the position of the handle alone.
struct FileRange<'a> {
    file: &'a File,
    position: u64,
    end: u64,
}

impl Read for FileRange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let remaining = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let (part, _) = buffer.split_at_mut(remaining.min(buffer.len()));
        let length = self.file.read_at(part, self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    /// Writes three frames, the second of them without checksum and size, as old programs do.
    fn file(change: impl FnOnce(&mut Vec<u8>)) -> (Vec<Vec<u8>>, Vec<u64>, File) {
        let mut stored = Vec::new();
        let mut parts = Vec::new();
        let mut starts = Vec::new();
        for number in 0..3_u8 {
            let line = format!("{{\"frame\":{number},\"text\":\"{}\"}}\n", "xyz".repeat(50));
            let lines = line.repeat(40).into_bytes();
            starts.push(stored.len() as u64);
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(number != 1).unwrap();
            encoder.set_pledged_src_size((number != 1).then_some(lines.len() as u64)).unwrap();
            encoder.write_all(&lines).unwrap();
            stored.extend(encoder.finish().unwrap());
            parts.push(lines);
        }
        change(&mut stored);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&stored).unwrap();
        (parts, starts, file)
    }

    fn decoded(file: &File) -> (Vec<u8>, Vec<Range<u64>>) {
        let mut lines = Vec::new();
        let mut damage = Vec::new();
        let each = |chunk: &[u8]| {
            lines.extend_from_slice(chunk);
            io::Result::Ok(())
        };
        decode_intact_frames(file, each, |range, _| damage.push(range)).unwrap();
        (lines, damage)
    }

    #[test]
    fn an_intact_file_decodes_completely() {
        let (parts, _, whole) = file(|_| {});
        assert_eq!(decoded(&whole), (parts.concat(), vec![]));
        let (parts, _, skippable) = file(|stored| {
            stored.extend([0x5A, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2]);
        });
        assert_eq!(decoded(&skippable), (parts.concat(), vec![]));
        assert_eq!(decoded(&file(Vec::clear).2), (vec![], vec![]));
    }

    #[test]
    fn a_truncated_file_yields_its_complete_frames() {
        let (parts, starts, torn) = file(|stored| stored.truncate(stored.len() - 3));
        let (lines, damage) = decoded(&torn);
        assert_eq!(lines, parts[..2].concat());
        assert_eq!(damage.first().map(|range| range.start), Some(starts[2]));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_loses_only_the_frame_it_is_in(at in 0..100_usize, bit in 0..8) {
            // In the first frame, which has a checksum.
            let (parts, starts, flipped) = file(|stored| {
                let at = at % (stored.len() / 3 - 10);
                stored[at] ^= 1_u8 << bit;
            });
            let (lines, damage) = decoded(&flipped);
            prop_assert!(lines.ends_with(&parts[1..].concat()));
            let first = &lines[..lines.len() - parts[1].len() - parts[2].len()];
            // Some bits of a header mean nothing to a decoder.
            prop_assert!(first == parts[0] || first.is_empty() && !damage.is_empty());
            prop_assert!(damage.iter().all(|range| range.end <= starts[1]), "{damage:?}");
        }

        #[test]
        fn decoding_arbitrary_bytes_terminates(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (_, _, garbage) = file(|stored| *stored = bytes);
            decoded(&garbage);
        }
    }
}
