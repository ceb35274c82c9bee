//! Complete lines, with the times at which they were received.

use super::receipt_runs::ReceiptRun;
use crate::base::time::Receipt;

/// Complete lines of one hour that are appended together.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedLines<'a> {
    /// The lines, each with its line feed.
    pub bytes: &'a [u8],
    /// Number of the lines.
    pub messages: u64,
    /// Receipt of the last line.
    pub receipt: Receipt,
    /// Receipts of all lines, in their order. They may go on beyond the end of the lines.
    pub runs: &'a [ReceiptRun],
}

impl<'a> ReceivedLines<'a> {
    /// Returns lines that one read received.
    pub fn of_run(bytes: &'a [u8], messages: u64, run: &'a ReceiptRun) -> Self {
        Self { bytes, messages, receipt: run.receipt, runs: std::slice::from_ref(run) }
    }
}
