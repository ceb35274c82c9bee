//! From blocks of bytes, cut anywhere, to lines.

use memchr::memchr;

/// A line may be so long.
const MAX_LINE: usize = 64 << 20;

/// Puts lines together.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    /// A line without its end.
    rest: Vec<u8>,
}

/// A line that does not end.
#[derive(Debug, thiserror::Error)]
#[error("a line is longer than {MAX_LINE} bytes")]
pub(crate) struct TooLong;

impl LineSplitter {
    /// Gives every line that is complete with this block, without its line feed.
    pub(crate) fn feed(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), TooLong> {
        while let Some(feed) = memchr(b'\n', block) {
            let (line, behind) = block.split_at(feed);
            if self.rest.is_empty() {
                take(line);
            } else {
                self.rest.extend_from_slice(line);
                take(&self.rest);
                self.rest.clear();
            }
            block = behind.get(1..).unwrap_or_default();
        }
        if self.rest.len() + block.len() > MAX_LINE {
            return Err(TooLong);
        }
        self.rest.extend_from_slice(block);
        Ok(())
    }

    /// The last line, if it had no line feed.
    pub(crate) fn finish(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.rest)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\n\ntwo\r\nthree";
        for cut in 0..text.len() {
            let (mut splitter, mut lines) = (LineSplitter::default(), Vec::new());
            let (first, second) = text.split_at(cut);
            for block in [first, second] {
                splitter.feed(block, |line| lines.push(line.to_vec())).unwrap();
            }
            lines.extend(splitter.finish());
            assert_eq!(lines, [b"one".as_slice(), b"", b"two\r", b"three"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_allowed() {
        let mut splitter = LineSplitter::default();
        let block = vec![b'x'; 1 << 20];
        let failed = (0..100).position(|_| splitter.feed(&block, |_| {}).is_err());
        assert_eq!(failed, Some(64));
    }
}
