//! The temporary file of a seal: written, and read back.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::{SealError, Target};
use crate::archive::ahead::{CHUNK, each_chunk};
use crate::archive::compress::{Compression, Output, compress, compress_line_feed};
use crate::archive::decode::{Decoded, decode, decode_plain};
use crate::archive::digest::{self, Digest, Digester};
use crate::archive::directory::FileInfo;
use crate::archive::disk::{self, FileError};
use crate::archive::journal::{Part, SealRecord};
use crate::archive::layout::Kind;
use crate::archive::progress::Progress;
use crate::archive::retain::available;
use crate::clock::UnixNanos;

/// The disk is never filled to its end: a recorder writes to it, too. One part in this many stays
/// free, but no more than `MAX_RESERVE`: sealing is what makes room.
const RESERVE_PART: u64 = 100;
const MAX_RESERVE: u64 = 16 << 20;

/// What the lines are added to.
pub(super) struct Replaces {
    /// Bytes of the lines that are in it already.
    pub(super) skip: u64,
    /// The sealed file that gets further frames.
    pub(super) base: Option<SealRecord>,
}

/// Compresses to the temporary file and reads it back; gives what it holds, and what is new in it.
pub(super) fn write_and_check(
    target: Target<'_>,
    lines: &File,
    info: FileInfo,
    replaces: &Replaces,
    compression: Compression,
    progress: &Progress,
) -> Result<(SealRecord, Digest), SealError> {
    let path = target.path(Kind::Lines);
    let tmp = target.path(Kind::Sealing);
    let file = disk::create(&tmp)?;
    let out = Output { file: &file, path: &tmp };
    let Replaces { skip, base } = replaces;
    if let Some(base) = base {
        copy(&target.path(Kind::Sealed), base.stored_bytes, out, progress)?;
        if base.torn {
            compress_line_feed(out)?;
        }
    }
    let room = || has_room(target.dir);
    let part = compress(lines, &path, *skip..info.bytes, out, compression, progress, room)?;
    disk::dress(&file, &tmp, lines)?;
    disk::sync(&file, &tmp)?;
    let checked = match base {
        None => check(file, &tmp, lines, &part, progress),
        Some(base) => check_extended(file, &tmp, base, &part, progress),
    };
    let decoded = checked.map_err(|error| error.at("read back", &tmp))?;
    let sha256 = if *skip == 0 {
        part.sha256
    } else {
        digest::of_start(lines, info.bytes).map_err(FileError::of("read", &path))?.sha256
    };
    // A crash after an extension must find the whole of what is sealed of this file.
    let from = Part {
        bytes: info.bytes,
        sha256,
        inode: info.inode,
        modified: info.modified.nanos(),
        created: info.created.map(UnixNanos::nanos),
    };
    Ok((SealRecord { part: Some(from), ..SealRecord::from(decoded) }, part))
}

/// Decodes the temporary file and compares every byte with the lines that went into it.
fn check(
    mut file: File,
    tmp: &Path,
    lines: &File,
    part: &Digest,
    progress: &Progress,
) -> Result<Decoded, SealError> {
    file.rewind()?;
    let (mut position, mut same) = (0, true);
    let mut own = vec![0; CHUNK];
    let (stored_sha256, stored_bytes) = decode_plain(file, |chunk| {
        progress.advance(chunk.len())?;
        let end = position + chunk.len() as u64;
        let own = own.get_mut(..chunk.len()).filter(|_| end <= part.bytes);
        let Some(own) = own else { return Err(SealError::Differs(tmp.to_owned())) };
        lines.read_exact_at(own, position)?;
        same &= own == chunk;
        position = end;
        Ok::<(), SealError>(())
    })?;
    if same && position == part.bytes {
        Ok(Decoded { lines: *part, stored_sha256, stored_bytes })
    } else {
        Err(SealError::Differs(tmp.to_owned()))
    }
}

/// Decodes the temporary file and compares the hashes of what was sealed before and of what is new.
fn check_extended(
    mut file: File,
    tmp: &Path,
    base: &SealRecord,
    part: &Digest,
    progress: &Progress,
) -> Result<Decoded, SealError> {
    file.rewind()?;
    let (mut before, mut behind) = (Digester::new(), Digester::new());
    let mut feeds = usize::from(base.torn);
    let decoded = decode(file, |chunk| {
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
        return Err(SealError::BaseDiffers(tmp.with_extension("")));
    }
    let same = behind.finish() == *part;
    if same { Ok(decoded) } else { Err(SealError::Differs(tmp.to_owned())) }
}

/// Copies the first `length` bytes of a file.
fn copy(from: &Path, length: u64, to: Output<'_>, progress: &Progress) -> Result<(), SealError> {
    let file = File::open(from).map_err(FileError::of("open", from))?;
    each_chunk(file.take(length), |chunk| {
        progress.check()?;
        Ok(disk::write(to.file, to.path, chunk)?)
    })
    .map_err(|error: SealError| error.at("read", from))
}

/// Whether there is room for another frame.
fn has_room(dir: &Path) -> Result<(), SealError> {
    let (available, total) = available(dir)?;
    let reserve = (total / RESERVE_PART).min(MAX_RESERVE);
    if available > reserve {
        return Ok(());
    }
    Err(SealError::NoSpace { dir: dir.to_owned(), available, reserve })
}
