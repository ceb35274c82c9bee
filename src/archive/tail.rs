//! The end of a file of lines: a last line without its line feed, as a crash or a power cut leaves
//! it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::disk::{self, FileError};

/// How much is read at a time when looking for a line feed.
const BLOCK: u64 = 64 << 10;
/// Longer last lines are not looked at as JSON.
const MAX_LINE: u64 = 16 << 20;

/// What was done about a last line without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// It is a whole JSON document: only the line feed was missing, and was added.
    FeedAdded,
    /// It is torn, and was moved aside.
    Cut {
        /// Its length.
        bytes: u64,
        /// Where it is kept.
        kept_in: PathBuf,
    },
}

/// Makes the file, which is open for appending, end with a line feed. Gives the file's length.
pub(super) fn mend(
    file: &File,
    path: &Path,
    torn: &Path,
) -> Result<(u64, Option<Mended>), FileError> {
    let length = file.metadata().map_err(FileError::of("read the size of", path))?.len();
    let whole = line_end_before(file, 0, length).map_err(FileError::of("read", path))?;
    let whole = whole.unwrap_or(0);
    if whole == length {
        return Ok((length, None));
    }
    if is_document(file, whole, length).map_err(FileError::of("read", path))? {
        disk::write(file, path, b"\n")?;
        return Ok((length + 1, Some(Mended::FeedAdded)));
    }
    keep_aside(file, path, whole, length, torn)?;
    disk::set_len(file, path, whole)?;
    Ok((whole, Some(Mended::Cut { bytes: length - whole, kept_in: torn.to_owned() })))
}

/// Where the last line that lies within `from..to` ends; `None` when none ends there.
pub(super) fn line_end_before(file: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut block = vec![0; usize::try_from(BLOCK.min(to - from)).unwrap_or(0)];
    let mut end = to;
    while end > from {
        let start = end.saturating_sub(BLOCK).max(from);
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
pub(super) fn is_document(file: &File, from: u64, to: u64) -> io::Result<bool> {
    if to - from > MAX_LINE {
        return Ok(false);
    }
    let mut line = vec![0; usize::try_from(to - from).unwrap_or(0)];
    file.read_exact_at(&mut line, from)?;
    let closed = matches!(line.first(), Some(b'{' | b'[' | b'"'));
    Ok(closed && serde_json::from_slice::<IgnoredAny>(&line).is_ok())
}

/// Appends `from..to` to the `.torn` file, with a line feed, and makes it durable.
pub(super) fn keep_aside(
    file: &File,
    path: &Path,
    from: u64,
    to: u64,
    torn: &Path,
) -> Result<(), FileError> {
    let mode = file.metadata().map_err(FileError::of("read the mode of", path))?.mode() & 0o777;
    let kept = disk::append_as(torn, mode)?;
    let mut block = vec![0; usize::try_from(BLOCK.min(to - from)).unwrap_or(0)];
    let mut start = from;
    while start < to {
        let size = usize::try_from((to - start).min(BLOCK)).unwrap_or(block.len());
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, start).map_err(FileError::of("read", path))?;
        disk::write(&kept, torn, part)?;
        start += size as u64;
    }
    disk::write(&kept, torn, b"\n")?;
    disk::sync(&kept, torn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mended(text: &str) -> (Option<Mended>, String, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let (path, torn) = (dir.path().join("f"), dir.path().join("torn"));
        fs::write(&path, text).unwrap();
        let file = disk::append(&path).unwrap();
        let (length, mended) = mend(&file, &path, &torn).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(length, text.len() as u64);
        let mended = mended.map(|mended| match mended {
            Mended::Cut { bytes, .. } => Mended::Cut { bytes, kept_in: PathBuf::new() },
            other @ Mended::FeedAdded => other,
        });
        (mended, text, fs::read_to_string(torn).ok())
    }

    #[test]
    fn whole_files_stay() {
        assert_eq!(mended(""), (None, String::new(), None));
        assert_eq!(mended("a\nb\n"), (None, "a\nb\n".to_owned(), None));
    }

    #[test]
    fn a_torn_last_line_is_moved_aside() {
        let cut = |bytes| Some(Mended::Cut { bytes, kept_in: PathBuf::new() });
        assert_eq!(mended("{}\n{\"a\":"), (cut(5), "{}\n".into(), Some("{\"a\":\n".into())));
        assert_eq!(mended("{"), (cut(1), String::new(), Some("{\n".into())));
        // The number may have been longer.
        assert_eq!(mended("1\n2"), (cut(1), "1\n".into(), Some("2\n".into())));
        let long = "x".repeat(200_000);
        let expected = (cut(200_000), "{}\n".to_owned(), Some(format!("{long}\n")));
        assert_eq!(mended(&format!("{{}}\n{long}")), expected);
    }

    #[test]
    fn a_whole_document_gets_its_line_feed() {
        assert_eq!(
            mended("{}\n{\"a\":1}"),
            (Some(Mended::FeedAdded), "{}\n{\"a\":1}\n".into(), None)
        );
    }

    #[test]
    fn lines_end_where_their_feeds_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let long = "x".repeat(150_000);
        fs::write(&path, format!("ab\n{long}\ncd")).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(line_end_before(&file, 0, 150_006).unwrap(), Some(150_004));
        assert_eq!(line_end_before(&file, 0, 150_003).unwrap(), Some(3));
        assert_eq!(line_end_before(&file, 3, 150_003).unwrap(), None);
    }
}
