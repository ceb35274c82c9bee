//! A sealed file frame by frame, so that damage costs the frames that it hit and no others.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::memmem;
use zstd::bulk::Decompressor;

use super::decode::decode_stream;
use super::read_ahead::CHUNK_BYTES;

/// The first bytes of a frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The first byte of a skippable frame may differ in its low half (RFC 8878, 3.1.2).
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
/// Larger frames, as other programs write them, are not held in memory.
const MAX_BUFFERED_FRAME: u64 = 16 << 20;

/// Decodes the frames in order and hands on the lines of each once its checksum was compared. What
/// is damaged is left out and told to `damaged`, as bytes of the file.
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
    let (mut stored, mut lines) = (Vec::new(), Vec::new());
    let mut start = 0;
    while start < length {
        let whole = match parse_frame(file, start, length) {
            Ok(frame) if frame.skippable => Ok(frame.end),
            Ok(ZstdFrame { end, content_len: Some(content), .. })
                if content.max(end - start) <= MAX_BUFFERED_FRAME =>
            {
                stored.resize(usize::try_from(end - start).unwrap_or(0), 0);
                file.read_exact_at(&mut stored, start)?;
                lines.clear();
                lines.reserve(usize::try_from(content).unwrap_or(0));
                let decoded = decompressor.decompress_to_buffer(&stored, &mut lines);
                if decoded.is_ok() {
                    each(&lines)?;
                }
                decoded.map(|_| end)
            }
            Ok(frame) => {
                // What is decoded before damage shows is out already.
                let mut untaken = None;
                let part = FileRange { file, position: start, end: frame.end };
                let decoded = decode_stream(part, |chunk| {
                    each(chunk).map_err(|error| {
                        untaken = Some(error);
                        io::Error::other("not taken")
                    })
                });
                if let Some(error) = untaken {
                    return Err(error);
                }
                decoded.map(|()| frame.end)
            }
            Err(error) => Err(error),
        };
        start = match whole {
            Ok(end) => end,
            Err(error) if error.raw_os_error().is_some() => return Err(error.into()),
            Err(error) => {
                // Where the frame seems to end is not to be relied on.
                let next = find_next_frame(file, start + 1, length)?;
                damaged(start..next, error.to_string());
                next
            }
        };
    }
    Ok(())
}

struct ZstdFrame {
    end: u64,
    /// Bytes of its lines, where it says so.
    content_len: Option<u64>,
    skippable: bool,
}

/// The extent of the frame that starts here, by its header and those of its blocks (RFC 8878,
/// 3.1.1.1 and 3.1.1.2).
fn parse_frame(file: &File, start: u64, length: u64) -> io::Result<ZstdFrame> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut header = [0; 18];
    let have = usize::try_from((length - start).min(18)).unwrap_or(0);
    let header = header.get_mut(..have).unwrap_or_default();
    file.read_exact_at(header, start)?;
    let number = |at: usize, bytes: usize| {
        let part = header.get(at..at + bytes).ok_or_else(|| bad("incomplete frame"))?;
        Ok::<u64, io::Error>(part.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let magic = number(0, 4)?;
    if magic & 0xFFFF_FFF0 == u64::from(SKIPPABLE_MAGIC) {
        let end = start + 8 + number(4, 4)?;
        let frame = ZstdFrame { end, content_len: None, skippable: true };
        return if end <= length { Ok(frame) } else { Err(bad("incomplete frame")) };
    }
    if magic != u64::from(u32::from_le_bytes(ZSTD_MAGIC)) {
        return Err(bad("no frame starts here"));
    }
    let descriptor = number(4, 1)?;
    let single_segment = descriptor & 0x20 != 0;
    let window = usize::from(!single_segment);
    let dictionary = [0, 1, 2, 4].get(usize::try_from(descriptor & 3).unwrap_or(0)).copied();
    let content_at = 5 + window + dictionary.unwrap_or(0);
    let (content_bytes, content) = match (descriptor >> 6, single_segment) {
        (0, false) => (0, None),
        (0, true) => (1, Some(number(content_at, 1)?)),
        (1, _) => (2, Some(number(content_at, 2)? + 256)),
        (2, _) => (4, Some(number(content_at, 4)?)),
        _ => (8, Some(number(content_at, 8)?)),
    };
    let mut at = start + (content_at + content_bytes) as u64;
    loop {
        if at + 3 > length {
            return Err(bad("incomplete frame"));
        }
        let mut block = [0; 4];
        file.read_exact_at(block.get_mut(..3).unwrap_or_default(), at)?;
        let block = u32::from_le_bytes(block);
        let stored = match block >> 1 & 3 {
            1 => 1,
            3 => return Err(bad("a block of no known type")),
            _ => u64::from(block >> 3),
        };
        at += 3 + stored;
        if block & 1 == 1 {
            break;
        }
    }
    let end = at + if descriptor & 4 != 0 { 4 } else { 0 };
    let frame = ZstdFrame { end, content_len: content, skippable: false };
    if end <= length { Ok(frame) } else { Err(bad("incomplete frame")) }
}

/// Where the next frame seems to start; the file's end when none does.
fn find_next_frame(file: &File, from: u64, length: u64) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < length {
        let have = usize::try_from((length - at).min(CHUNK_BYTES as u64)).unwrap_or(CHUNK_BYTES);
        let part = chunk.get_mut(..have).unwrap_or_default();
        file.read_exact_at(part, at)?;
        if let Some(found) = memmem::find(part, &ZSTD_MAGIC) {
            return Ok(at + found as u64);
        }
        // It may lie across the end of the chunk.
        at += (have.saturating_sub(ZSTD_MAGIC.len() - 1)).max(1) as u64;
    }
    Ok(length)
}

/// A part of a file, as a reader.
struct FileRange<'a> {
    file: &'a File,
    position: u64,
    end: u64,
}

impl Read for FileRange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left =
            usize::try_from(self.end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let length =
            self.file.read_at(buffer.get_mut(..left).unwrap_or_default(), self.position)?;
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    /// Three frames: with checksum and size, as of old programs without either, with checksum.
    fn file(change: impl FnOnce(&mut Vec<u8>)) -> (Vec<Vec<u8>>, Vec<u64>, File) {
        let mut stored = Vec::new();
        let (mut parts, mut starts) = (Vec::new(), Vec::new());
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
        let (mut lines, mut damage) = (Vec::new(), Vec::new());
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
