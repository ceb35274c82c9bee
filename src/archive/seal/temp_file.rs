//! The temporary file of a seal: it is written, and read back, before it gets its name.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::seal_target::SealTarget;
use crate::archive::compress::{
    Compression, FrameOutput, LineRange, compress_range, write_line_feed_frame,
};
use crate::archive::decode::{SealedDigest, decode_and_digest, decode_and_hash};
use crate::archive::digest::{self, Digester, LinesDigest};
use crate::archive::disk::{self, FileError};
use crate::archive::disk_space::DiskSpace;
use crate::archive::file_info::FileInfo;
use crate::archive::file_name::FileKind;
use crate::archive::journal::{SealRecord, SealedPart};
use crate::archive::progress::Progress;
use crate::archive::read_ahead::for_each_chunk;
use crate::archive::read_block::BLOCK_BYTES;
use crate::archive::seal_error::SealError;
use crate::archive::seek_table::SeekTable;
use crate::archive::time_index::{SealedTimes, SealedTimesBuilder, TimesFile};

/// Part of the disk that a seal leaves free, as a divisor of its size: a recorder writes to it,
/// too.
const RESERVE_DIVISOR: u64 = 100;
/// Most bytes that a seal leaves free. Little, since sealing is what makes room.
const MAX_RESERVE_BYTES: u64 = 16 << 20;

/// Sealed file to which the lines are added.
pub(super) struct SealBase {
    /// Bytes at the start of the lines that are in it already.
    pub(super) skip_bytes: u64,
    /// Content of the sealed file that is extended; `None` for a new file.
    pub(super) record: Option<SealRecord>,
}

/// Compresses the lines to the temporary file, syncs it and reads it back. Returns its content, and
/// the digest of the lines that are new in it.
///
/// # Errors
/// [`SealError`]; the temporary file is to be removed.
pub(super) fn write_and_verify(
    target: SealTarget<'_>,
    lines: &File,
    info: FileInfo,
    base: &SealBase,
    compression: Compression,
    progress: &Progress,
) -> Result<(SealRecord, LinesDigest), SealError> {
    let path = target.lines_path();
    let sealed = target.path(FileKind::Sealed);
    let temp = target.path(FileKind::SealingTemp);
    let file = disk::create(&temp)?;
    let output = FrameOutput { file: &file, path: &temp };
    let SealBase { skip_bytes: skip, record: base } = base;
    if let Some(base) = base {
        copy_prefix(&sealed, base.stored_bytes, output, progress)?;
        if base.torn {
            write_line_feed_frame(output)?;
        }
    }
    let before_frame = || check_free_space(target.dir);
    let range = *skip..info.bytes;
    let range = LineRange { file: lines, path: &path, bytes: range };
    // Lines whose times cannot be read are sealed without them.
    let times = TimesFile::read(&target.times_path(), target.hour).unwrap_or_default();
    let mut times = SealedTimesBuilder::new(target.hour, times.ranges, *skip);
    let part = compress_range(range, &mut times, output, compression, progress, before_frame)?;
    let raw_start = base.as_ref().map_or(0, |base| base.raw_bytes + u64::from(base.torn));
    append_index(times.finish(raw_start..raw_start + part.bytes), output)
        .map_err(FileError::from_io("compress into", &temp))?;
    disk::copy_metadata(&file, &temp, lines)?;
    disk::sync(&file, &temp)?;
    let verified = match base {
        None => verify_lines(file, &temp, lines, &part, progress),
        Some(base) => verify_extended(file, &temp, &sealed, base, &part, progress),
    };
    let decoded = verified.map_err(|error| error.with_path("read back", &temp))?;
    let sha256 = if *skip == 0 {
        part.sha256
    } else {
        digest::digest_prefix(lines, info.bytes).map_err(FileError::from_io("read", &path))?.sha256
    };
    // All lines of the `.jsonl`, not only the new ones: after a crash the next run compares these
    // with the `.jsonl` that it finds.
    let sealed_part = SealedPart {
        number: target.part_number(),
        bytes: info.bytes,
        sha256,
        inode: info.inode,
        modified: info.modified,
        created: info.created,
    };
    Ok((SealRecord { part: Some(sealed_part), ..SealRecord::from(decoded) }, part))
}

/// Appends the time index of the new lines, if there is one, and the list of all frames.
fn append_index(times: Option<SealedTimes>, output: FrameOutput<'_>) -> io::Result<()> {
    let write = |frame: &[u8]| {
        disk::write_all(output.file, output.path, frame).map_err(|error| error.source)
    };
    if let Some(times) = times {
        write(&times.encode()?)?;
    }
    if let Some(table) = SeekTable::scan(output.file)?
        && let Some(frame) = table.encode()?
    {
        write(&frame)?;
    }
    Ok(())
}

/// Decodes the temporary file and compares every byte with the lines that went into it.
fn verify_lines(
    mut file: File,
    temp: &Path,
    lines: &File,
    part: &LinesDigest,
    progress: &Progress,
) -> Result<SealedDigest, SealError> {
    let mismatch = || SealError::ReadBackMismatch(temp.to_owned());
    file.rewind()?;
    let mut position = 0;
    let mut same = true;
    let mut buffer = vec![0; BLOCK_BYTES];
    let stored = decode_and_hash(file, |chunk| {
        progress.advance(chunk.len())?;
        let end = position + chunk.len() as u64;
        let original = buffer.get_mut(..chunk.len()).filter(|_| end <= part.bytes);
        let original = original.ok_or_else(mismatch)?;
        lines.read_exact_at(original, position)?;
        same &= original == chunk;
        position = end;
        Ok::<(), SealError>(())
    })?;
    if same && position == part.bytes {
        Ok(SealedDigest { lines: *part, stored })
    } else {
        Err(mismatch())
    }
}

/// Decodes the temporary file and compares the hash of the lines that were sealed before, and the
/// digest of the new ones.
fn verify_extended(
    mut file: File,
    temp: &Path,
    sealed: &Path,
    base: &SealRecord,
    part: &LinesDigest,
    progress: &Progress,
) -> Result<SealedDigest, SealError> {
    file.rewind()?;
    let mut old_lines = Digester::new();
    let mut new_lines = Digester::new();
    // The frame that separates the two, if the last line had no line feed.
    let mut separator_bytes = usize::from(base.torn);
    let decoded = decode_and_digest(file, |chunk| {
        progress.advance(chunk.len())?;
        let old_left = usize::try_from(base.raw_bytes - old_lines.bytes()).unwrap_or(usize::MAX);
        let (old, rest) = chunk.split_at(old_left.min(chunk.len()));
        old_lines.update(old);
        let (separator, new) = rest.split_at(separator_bytes.min(rest.len()));
        separator_bytes -= separator.len();
        new_lines.update(new);
        Ok::<(), SealError>(())
    })?;
    if old_lines.finish().sha256 != base.raw_sha256 {
        return Err(SealError::BaseMismatch(sealed.to_owned()));
    }
    if new_lines.finish() != *part {
        return Err(SealError::ReadBackMismatch(temp.to_owned()));
    }
    Ok(decoded)
}

/// Copies the first `length` bytes of a file.
fn copy_prefix(
    from: &Path,
    length: u64,
    to: FrameOutput<'_>,
    progress: &Progress,
) -> Result<(), SealError> {
    let file = disk::open_regular(from)?;
    for_each_chunk(file.take(length), |chunk| {
        progress.check_stopped()?;
        Ok(disk::write_all(to.file, to.path, chunk)?)
    })
    .map_err(|error: SealError| error.with_path("read", from))
}

/// Checks that the disk has more free space than the reserve.
fn check_free_space(dir: &Path) -> Result<(), SealError> {
    let DiskSpace { available, total } = DiskSpace::query(dir)?;
    let reserve = (total / RESERVE_DIVISOR).min(MAX_RESERVE_BYTES);
    if available > reserve {
        return Ok(());
    }
    Err(SealError::NoSpace { dir: dir.to_owned(), available, reserve })
}
