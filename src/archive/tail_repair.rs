//! The end of a file of lines: an incomplete last line, as a crash or a power cut leaves it, and
//! its repair.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::disk::{self, FileError};
use super::read_block::{BLOCK_BYTES, MAX_BUFFERED_BYTES, read_block, read_range};

/// Repair of a last line without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailRepair {
    /// The line is a complete JSON document; its missing line feed was added.
    LineFeedAdded,
    /// The line is incomplete and was moved out of the file, with all that stands behind it.
    Truncated {
        /// Length of what was moved.
        bytes: u64,
        /// Number of line feeds in it: 0 for a last line that a crash has torn; more where a power
        /// cut left zeros amid the lines.
        lines: u64,
        /// The `.torn` file to which it was appended.
        kept_in: PathBuf,
    },
}

/// Extent of the complete lines in a file of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileTail {
    /// Length of the file.
    pub(super) length: u64,
    /// Length up to the end of the last complete line.
    pub(super) lines_end: u64,
    /// Number of line feeds behind that.
    pub(super) cut_lines: u64,
    /// `true` if the rest is a complete line but for its line feed.
    pub(super) lacks_line_feed: bool,
}

impl FileTail {
    /// Returns the tail of a file that consists of complete lines.
    pub(super) fn intact(length: u64) -> Self {
        Self { length, lines_end: length, cut_lines: 0, lacks_line_feed: false }
    }

    /// Examines the end of the file. Only the last line is read.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let lines_end = find_last_line_end(file, 0..length)?.unwrap_or(0);
        let lacks_line_feed = lines_end < length && is_complete_json(file, lines_end..length)?;
        Ok(Self { length, lines_end, cut_lines: 0, lacks_line_feed })
    }

    /// Returns whether the file consists of complete lines.
    pub(super) fn is_intact(self) -> bool {
        self.lines_end == self.length
    }

    /// Makes the file end with a complete line. The file must be open for appending unless it is
    /// intact. Returns its new length and what was done.
    ///
    /// # Errors
    /// [`FileError`]: what is cut off is in the `.torn` file before it is cut off.
    pub(super) fn repair(
        self,
        file: &File,
        path: &Path,
        torn: &Path,
    ) -> Result<(u64, Option<TailRepair>), FileError> {
        if self.is_intact() {
            return Ok((self.length, None));
        }
        if self.lacks_line_feed {
            disk::write_all(file, path, b"\n")?;
            return Ok((self.length + 1, Some(TailRepair::LineFeedAdded)));
        }
        append_to_torn_file(file, path, self.lines_end..self.length, torn)?;
        disk::truncate(file, path, self.lines_end)?;
        let repair = TailRepair::Truncated {
            bytes: self.length - self.lines_end,
            lines: self.cut_lines,
            kept_in: torn.to_owned(),
        };
        Ok((self.lines_end, Some(repair)))
    }
}

/// Returns the end of the last line that ends within the range; `None` when no line does.
pub(super) fn find_last_line_end(file: &File, range: Range<u64>) -> io::Result<Option<u64>> {
    let mut buffer = Vec::new();
    let mut end = range.end;
    while end > range.start {
        let start = end.saturating_sub(BLOCK_BYTES as u64).max(range.start);
        let block = read_block(file, start..end, &mut buffer)?;
        if let Some(line_feed) = memchr::memrchr(b'\n', block) {
            return Ok(Some(start + line_feed as u64 + 1));
        }
        end = start;
    }
    Ok(None)
}

/// Returns whether the range is one JSON document that is evidently complete. A number is not: it
/// may continue. A document that is too long to hold in memory counts as incomplete.
pub(super) fn is_complete_json(file: &File, range: Range<u64>) -> io::Result<bool> {
    if range.end.saturating_sub(range.start) > MAX_BUFFERED_BYTES {
        return Ok(false);
    }
    let mut buffer = Vec::new();
    let line = read_range(file, range, &mut buffer)?;
    let is_delimited = matches!(line.first(), Some(b'{' | b'[' | b'"'));
    Ok(is_delimited && serde_json::from_slice::<IgnoredAny>(line).is_ok())
}

/// Appends the range and a line feed to the `.torn` file, and makes them durable.
fn append_to_torn_file(
    file: &File,
    path: &Path,
    range: Range<u64>,
    torn: &Path,
) -> Result<(), FileError> {
    let mode =
        file.metadata().map_err(FileError::from_io("read the mode of", path))?.mode() & 0o777;
    let torn_file = disk::open_append_with_mode(torn, mode)?;
    let mut buffer = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let block = read_block(file, start..range.end, &mut buffer)
            .map_err(FileError::from_io("read", path))?;
        disk::write_all(&torn_file, torn, block)?;
        start += block.len() as u64;
    }
    disk::write_all(&torn_file, torn, b"\n")?;
    disk::sync(&torn_file, torn)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn repaired(text: &str) -> (Option<TailRepair>, String, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let torn = dir.path().join("torn");
        fs::write(&path, text).unwrap();
        let file = disk::open_append(&path).unwrap();
        let (length, repair) = FileTail::read(&file).unwrap().repair(&file, &path, &torn).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(length, text.len() as u64);
        let repair = repair.map(|repair| match repair {
            TailRepair::Truncated { bytes, lines, .. } => {
                TailRepair::Truncated { bytes, lines, kept_in: PathBuf::new() }
            }
            other @ TailRepair::LineFeedAdded => other,
        });
        (repair, text, fs::read_to_string(torn).ok())
    }

    #[test]
    fn intact_files_are_not_changed() {
        assert_eq!(repaired(""), (None, String::new(), None));
        assert_eq!(repaired("a\nb\n"), (None, "a\nb\n".to_owned(), None));
    }

    #[test]
    fn a_torn_last_line_is_moved_to_the_torn_file() {
        let cut = |bytes| Some(TailRepair::Truncated { bytes, lines: 0, kept_in: PathBuf::new() });
        assert_eq!(repaired("{}\n{\"a\":"), (cut(5), "{}\n".into(), Some("{\"a\":\n".into())));
        assert_eq!(repaired("{"), (cut(1), String::new(), Some("{\n".into())));
        // The number may have been longer.
        assert_eq!(repaired("1\n2"), (cut(1), "1\n".into(), Some("2\n".into())));
        let long = "x".repeat(600_000);
        let expected = (cut(600_000), "{}\n".to_owned(), Some(format!("{long}\n")));
        assert_eq!(repaired(&format!("{{}}\n{long}")), expected);
    }

    #[test]
    fn a_complete_document_gets_its_missing_line_feed() {
        assert_eq!(
            repaired("{}\n{\"a\":1}"),
            (Some(TailRepair::LineFeedAdded), "{}\n{\"a\":1}\n".into(), None)
        );
    }

    #[test]
    fn the_last_line_end_is_found_across_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let long = "x".repeat(600_000);
        fs::write(&path, format!("ab\n{long}\ncd")).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(find_last_line_end(&file, 0..600_006).unwrap(), Some(600_004));
        assert_eq!(find_last_line_end(&file, 0..600_003).unwrap(), Some(3));
        assert_eq!(find_last_line_end(&file, 3..600_003).unwrap(), None);
    }
}
