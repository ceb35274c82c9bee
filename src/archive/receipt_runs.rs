//! The receipts of lines that wait together to be written.

use crate::base::time::Receipt;

/// Bytes of lines that one read received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptRun {
    /// The receipt of the lines.
    pub receipt: Receipt,
    /// Number of bytes of the lines.
    pub bytes: usize,
}

/// The receipts of successive lines, in the order of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiptRuns(Vec<ReceiptRun>);

impl ReceiptRuns {
    /// Appends `bytes` of lines with this receipt.
    pub fn push(&mut self, receipt: Receipt, bytes: usize) {
        match self.0.last_mut() {
            Some(last) if last.receipt == receipt => last.bytes += bytes,
            _ if bytes == 0 => {}
            _ => self.0.push(ReceiptRun { receipt, bytes }),
        }
    }

    /// Removes the receipts of the first `bytes`.
    pub fn remove_front(&mut self, bytes: usize) {
        let mut left = bytes;
        let whole = self.0.iter().take_while(|run| {
            let is_whole = run.bytes <= left;
            left -= if is_whole { run.bytes } else { 0 };
            is_whole
        });
        let whole = whole.count();
        self.0.drain(..whole);
        if let Some(first) = self.0.first_mut() {
            first.bytes -= left;
        }
    }

    /// Removes all receipts.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Releases the memory that the present receipts do not need.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Returns the receipts, in the order of the lines.
    pub fn as_slice(&self) -> &[ReceiptRun] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::UnixNanos;

    #[test]
    fn receipts_are_removed_from_the_front_by_bytes() {
        let at = |seconds| Receipt::from(UnixNanos::from_seconds(seconds));
        let mut runs = ReceiptRuns::default();
        for (seconds, bytes) in [(1, 10), (1, 5), (2, 0), (2, 20), (3, 7)] {
            runs.push(at(seconds), bytes);
        }
        let run = |seconds, bytes| ReceiptRun { receipt: at(seconds), bytes };
        assert_eq!(runs.as_slice(), [run(1, 15), run(2, 20), run(3, 7)]);
        runs.remove_front(4);
        assert_eq!(runs.as_slice(), [run(1, 11), run(2, 20), run(3, 7)]);
        runs.remove_front(11 + 20 + 1);
        assert_eq!(runs.as_slice(), [run(3, 6)]);
        runs.remove_front(6);
        assert_eq!(runs.as_slice(), []);
    }
}
