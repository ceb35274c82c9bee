//! The assembly of lines from blocks of bytes that are cut anywhere.

use memchr::memchr;

/// Maximum number of bytes of a line.
const MAX_LINE_BYTES: usize = 64 << 20;

/// A splitter that assembles lines from blocks of bytes.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    /// Beginning of the line whose line feed is not yet received.
    partial_line: Vec<u8>,
}

/// The error for a line that is too long.
#[derive(Debug, thiserror::Error)]
#[error("a line is longer than {MAX_LINE_BYTES} bytes")]
pub(crate) struct LineTooLong;

impl LineSplitter {
    /// Calls `take` with every line that is complete with this block, without its line feed.
    ///
    /// # Errors
    /// The last line is too long. All lines before it were taken.
    pub(crate) fn push_block(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), LineTooLong> {
        while let Some(feed) = memchr(b'\n', block) {
            let (line, rest) = block.split_at(feed);
            if self.partial_line.is_empty() {
                take(line);
            } else {
                self.partial_line.extend_from_slice(line);
                take(&self.partial_line);
                self.partial_line.clear();
            }
            block = rest.get(1..).unwrap_or_default();
        }
        if self.partial_line.len() + block.len() > MAX_LINE_BYTES {
            return Err(LineTooLong);
        }
        self.partial_line.extend_from_slice(block);
        Ok(())
    }

    /// Removes and returns the last line, if it has no line feed.
    pub(crate) fn take_partial_line(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.partial_line)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_not_depend_on_block_boundaries() {
        let text = b"one\n\ntwo\r\nthree";
        for cut in 0..text.len() {
            let mut splitter = LineSplitter::default();
            let mut lines = Vec::new();
            let (first, second) = text.split_at(cut);
            for block in [first, second] {
                splitter.push_block(block, |line| lines.push(line.to_vec())).unwrap();
            }
            lines.extend(splitter.take_partial_line());
            assert_eq!(lines, [b"one".as_slice(), b"", b"two\r", b"three"], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_fails_at_the_size_limit() {
        let mut splitter = LineSplitter::default();
        let block = vec![b'x'; 1 << 20];
        let failed = (0..100).position(|_| splitter.push_block(&block, |_| {}).is_err());
        assert_eq!(failed, Some(64));
    }
}
