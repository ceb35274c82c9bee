//! The end of a file of lines: a last line without its line feed, as a crash or a power cut leaves
//! it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::disk;
use super::disk::FileError;

/// How much is read at a time when looking for a line feed.
const READ_BLOCK_BYTES: u64 = 64 << 10;
/// Longer last lines are not looked at as JSON.
const MAX_PARSED_LINE: u64 = 16 << 20;

/// What was done about a last line without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailRepair {
    /// It is a whole JSON document: only the line feed was missing, and was added.
    LineFeedAdded,
    /// It is torn, and was moved aside.
    Truncated {
        /// Its length.
        bytes: u64,
        /// Where it is kept.
        kept_in: PathBuf,
    },
}

/// Makes the file, which is open for appending, end with a line feed. Gives the file's length.
pub(super) fn repair_tail(
    file: &File,
    path: &Path,
    torn: &Path,
) -> Result<(u64, Option<TailRepair>), FileError> {
    let length = file.metadata().map_err(FileError::from_io("read the size of", path))?.len();
    let whole = find_last_line_end(file, 0, length).map_err(FileError::from_io("read", path))?;
    let whole = whole.unwrap_or(0);
    if whole == length {
        return Ok((length, None));
    }
    if is_complete_json(file, whole, length).map_err(FileError::from_io("read", path))? {
        disk::write_all(file, path, b"\n")?;
        return Ok((length + 1, Some(TailRepair::LineFeedAdded)));
    }
    append_to_torn_file(file, path, whole, length, torn)?;
    disk::truncate(file, path, whole)?;
    Ok((whole, Some(TailRepair::Truncated { bytes: length - whole, kept_in: torn.to_owned() })))
}

/// Where the last line that lies within `from..to` ends; `None` when none ends there.
pub(super) fn find_last_line_end(file: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; usize::try_from(READ_BLOCK_BYTES.min(to - from)).unwrap_or(0)];
    let mut end = to;
    while end > from {
        let start = end.saturating_sub(READ_BLOCK_BYTES).max(from);
        let size = usize::try_from(end - start).unwrap_or(block.len());
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok(None)
}

/// Whether `from..to` is one JSON document that can be seen to be whole: a number may go on.
pub(super) fn is_complete_json(file: &File, from: u64, to: u64) -> io::Result<bool> {
    if to - from > MAX_PARSED_LINE {
        return Ok(false);
    }
    let mut line = vec![0; usize::try_from(to - from).unwrap_or(0)];
    file.read_exact_at(&mut line, from)?;
    let closed = matches!(line.first(), Some(b'{' | b'[' | b'"'));
    Ok(closed && serde_json::from_slice::<IgnoredAny>(&line).is_ok())
}

/// Appends `from..to` to the `.torn` file, with a line feed, and makes it durable.
pub(super) fn append_to_torn_file(
    file: &File,
    path: &Path,
    from: u64,
    to: u64,
    torn: &Path,
) -> Result<(), FileError> {
    let mode =
        file.metadata().map_err(FileError::from_io("read the mode of", path))?.mode() & 0o777;
    let kept = disk::open_append_with_mode(torn, mode)?;
    let mut block = vec![0; usize::try_from(READ_BLOCK_BYTES.min(to - from)).unwrap_or(0)];
    let mut start = from;
    while start < to {
        let size = usize::try_from((to - start).min(READ_BLOCK_BYTES)).unwrap_or(block.len());
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, start).map_err(FileError::from_io("read", path))?;
        disk::write_all(&kept, torn, part)?;
        start += size as u64;
    }
    disk::write_all(&kept, torn, b"\n")?;
    disk::sync(&kept, torn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mended(text: &str) -> (Option<TailRepair>, String, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let (path, torn) = (dir.path().join("f"), dir.path().join("torn"));
        fs::write(&path, text).unwrap();
        let file = disk::open_append(&path).unwrap();
        let (length, mended) = repair_tail(&file, &path, &torn).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(length, text.len() as u64);
        let mended = mended.map(|mended| match mended {
            TailRepair::Truncated { bytes, .. } => {
                TailRepair::Truncated { bytes, kept_in: PathBuf::new() }
            }
            other @ TailRepair::LineFeedAdded => other,
        });
        (mended, text, fs::read_to_string(torn).ok())
    }

    #[test]
    fn intact_files_are_not_changed() {
        assert_eq!(mended(""), (None, String::new(), None));
        assert_eq!(mended("a\nb\n"), (None, "a\nb\n".to_owned(), None));
    }

    #[test]
    fn a_torn_last_line_is_moved_to_the_torn_file() {
        let cut = |bytes| Some(TailRepair::Truncated { bytes, kept_in: PathBuf::new() });
        assert_eq!(mended("{}\n{\"a\":"), (cut(5), "{}\n".into(), Some("{\"a\":\n".into())));
        assert_eq!(mended("{"), (cut(1), String::new(), Some("{\n".into())));
        // The number may have been longer.
        assert_eq!(mended("1\n2"), (cut(1), "1\n".into(), Some("2\n".into())));
        let long = "x".repeat(200_000);
        let expected = (cut(200_000), "{}\n".to_owned(), Some(format!("{long}\n")));
        assert_eq!(mended(&format!("{{}}\n{long}")), expected);
    }

    #[test]
    fn a_complete_document_gets_its_missing_line_feed() {
        assert_eq!(
            mended("{}\n{\"a\":1}"),
            (Some(TailRepair::LineFeedAdded), "{}\n{\"a\":1}\n".into(), None)
        );
    }

    #[test]
    fn the_last_line_end_is_found_across_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let long = "x".repeat(150_000);
        fs::write(&path, format!("ab\n{long}\ncd")).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(find_last_line_end(&file, 0, 150_006).unwrap(), Some(150_004));
        assert_eq!(find_last_line_end(&file, 0, 150_003).unwrap(), Some(3));
        assert_eq!(find_last_line_end(&file, 3, 150_003).unwrap(), None);
    }
}
