//! The temporary file of a seal: written, and read back.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::seal_target::SealTarget;
use crate::archive::compress::{Compression, FrameOutput, compress_range, write_line_feed_frame};
use crate::archive::decode::{SealedDigest, decode_and_digest, decode_and_hash};
use crate::archive::digest;
use crate::archive::digest::{Digester, LinesDigest};
use crate::archive::directory::FileInfo;
use crate::archive::disk;
use crate::archive::disk::FileError;
use crate::archive::file_name::FileKind;
use crate::archive::journal::{SealRecord, SealedPart};
use crate::archive::progress::Progress;
use crate::archive::read_ahead::{CHUNK_BYTES, for_each_chunk};
use crate::archive::retention::disk_space;
use crate::archive::seal_error::SealError;
use crate::base::time::UnixNanos;

/// The disk is never filled to its end: a recorder writes to it, too. One part in this many stays
/// free, but no more than `MAX_RESERVE`: sealing is what makes room.
const RESERVE_DIVISOR: u64 = 100;
const MAX_RESERVE_BYTES: u64 = 16 << 20;

/// What the lines are added to.
pub(super) struct SealBase {
    /// Bytes of the lines that are in it already.
    pub(super) skip_bytes: u64,
    /// The sealed file that gets further frames.
    pub(super) record: Option<SealRecord>,
}

/// Compresses to the temporary file and reads it back; gives what it holds, and what is new in it.
pub(super) fn write_and_verify(
    target: SealTarget<'_>,
    lines: &File,
    info: FileInfo,
    replaces: &SealBase,
    compression: Compression,
    progress: &Progress,
) -> Result<(SealRecord, LinesDigest), SealError> {
    let path = target.path(FileKind::Lines);
    let tmp = target.path(FileKind::SealingTemp);
    let file = disk::create(&tmp)?;
    let out = FrameOutput { file: &file, path: &tmp };
    let SealBase { skip_bytes: skip, record: base } = replaces;
    if let Some(base) = base {
        copy_prefix(&target.path(FileKind::Sealed), base.stored_bytes, out, progress)?;
        if base.torn {
            write_line_feed_frame(out)?;
        }
    }
    let room = || check_free_space(target.dir);
    let part = compress_range(lines, &path, *skip..info.bytes, out, compression, progress, room)?;
    disk::copy_metadata(&file, &tmp, lines)?;
    disk::sync(&file, &tmp)?;
    let checked = match base {
        None => verify_lines(file, &tmp, lines, &part, progress),
        Some(base) => verify_extended(file, &tmp, base, &part, progress),
    };
    let decoded = checked.map_err(|error| error.with_path("read back", &tmp))?;
    let sha256 = if *skip == 0 {
        part.sha256
    } else {
        digest::digest_prefix(lines, info.bytes).map_err(FileError::from_io("read", &path))?.sha256
    };
    // A crash after an extension must find the whole of what is sealed of this file.
    let from = SealedPart {
        bytes: info.bytes,
        sha256,
        inode: info.inode,
        modified: info.modified.nanos(),
        created: info.created.map(UnixNanos::nanos),
    };
    Ok((SealRecord { part: Some(from), ..SealRecord::from(decoded) }, part))
}

/// Decodes the temporary file and compares every byte with the lines that went into it.
fn verify_lines(
    mut file: File,
    tmp: &Path,
    lines: &File,
    part: &LinesDigest,
    progress: &Progress,
) -> Result<SealedDigest, SealError> {
    file.rewind()?;
    let (mut position, mut same) = (0, true);
    let mut own = vec![0; CHUNK_BYTES];
    let (stored_sha256, stored_bytes) = decode_and_hash(file, |chunk| {
        progress.advance(chunk.len())?;
        let end = position + chunk.len() as u64;
        let own = own.get_mut(..chunk.len()).filter(|_| end <= part.bytes);
        let Some(own) = own else { return Err(SealError::ReadBackMismatch(tmp.to_owned())) };
        lines.read_exact_at(own, position)?;
        same &= own == chunk;
        position = end;
        Ok::<(), SealError>(())
    })?;
    if same && position == part.bytes {
        Ok(SealedDigest { lines: *part, stored_sha256, stored_bytes })
    } else {
        Err(SealError::ReadBackMismatch(tmp.to_owned()))
    }
}

/// Decodes the temporary file and compares the hashes of what was sealed before and of what is new.
fn verify_extended(
    mut file: File,
    tmp: &Path,
    base: &SealRecord,
    part: &LinesDigest,
    progress: &Progress,
) -> Result<SealedDigest, SealError> {
    file.rewind()?;
    let (mut before, mut behind) = (Digester::new(), Digester::new());
    let mut feeds = usize::from(base.torn);
    let decoded = decode_and_digest(file, |chunk| {
        progress.advance(chunk.len())?;
        let left = usize::try_from(base.raw_bytes - before.bytes()).unwrap_or(usize::MAX);
        let (first, rest) = chunk.split_at(left.min(chunk.len()));
        before.update(first);
        let feed = feeds.min(rest.len());
        feeds -= feed;
        behind.update(rest.get(feed..).unwrap_or_default());
        Ok::<(), SealError>(())
    })?;
    if before.finish().sha256 != base.raw_sha256 {
        return Err(SealError::BaseMismatch(tmp.with_extension("")));
    }
    let same = behind.finish() == *part;
    if same { Ok(decoded) } else { Err(SealError::ReadBackMismatch(tmp.to_owned())) }
}

/// Copies the first `length` bytes of a file.
fn copy_prefix(
    from: &Path,
    length: u64,
    to: FrameOutput<'_>,
    progress: &Progress,
) -> Result<(), SealError> {
    let file = File::open(from).map_err(FileError::from_io("open", from))?;
    for_each_chunk(file.take(length), |chunk| {
        progress.check_stopped()?;
        Ok(disk::write_all(to.file, to.path, chunk)?)
    })
    .map_err(|error: SealError| error.with_path("read", from))
}

/// Whether there is room for another frame.
fn check_free_space(dir: &Path) -> Result<(), SealError> {
    let (available, total) = disk_space(dir)?;
    let reserve = (total / RESERVE_DIVISOR).min(MAX_RESERVE_BYTES);
    if available > reserve {
        return Ok(());
    }
    Err(SealError::NoSpace { dir: dir.to_owned(), available, reserve })
}
