//! Lines that wait in memory for their file.

use std::time::{Duration, Instant};

use crate::archive::receipt_runs::{ReceiptRun, ReceiptRuns};
use crate::archive::received_lines::ReceivedLines;
use crate::base::failure_log::FAILURE_LOG_INTERVAL;
use crate::base::time::{Hour, Receipt, UnixNanos};

/// Time for which a locked file counts as one that is in use for a moment: a seal holds the lock
/// for a rename and two syncs.
const LOCK_GRACE: Duration = Duration::from_secs(5);
/// Pause after the first failed attempt to write. Each further pause is twice as long.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Longest pause between two attempts.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Complete lines of one hour of one writer, whose file cannot be written while others can.
#[derive(Debug)]
pub(super) struct HeldLines {
    hour: Hour,
    bytes: Vec<u8>,
    messages: u64,
    runs: ReceiptRuns,
    last_receipt: Receipt,
    /// Receipt of the first message that waited.
    first_receipt: Receipt,
    failing_since: Instant,
    /// Last failure, in words.
    error: String,
    is_lock_held: bool,
    retry_delay: Duration,
    retry_at: Instant,
    /// `true` once the log and the journal say that lines wait.
    is_reported: bool,
    discarded: Discarded,
}

/// Messages that found no room in memory and are not in the journal yet.
#[derive(Debug, Default)]
struct Discarded {
    messages: u64,
    since: UnixNanos,
    /// `true` from the first such message on: what comes later does not overtake it.
    has_begun: bool,
    reported_at: Option<Instant>,
}

/// A report on messages that were given up, for the journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DiscardReport {
    pub(super) messages: u64,
    pub(super) since: UnixNanos,
    /// `true` for the first report since the file could be written.
    pub(super) is_first: bool,
}

impl HeldLines {
    /// Returns an empty list for the hour. The first message that waits has the receipt `first`.
    pub(super) fn new(hour: Hour, first: Receipt) -> Self {
        let now = Instant::now();
        Self {
            hour,
            bytes: Vec::new(),
            messages: 0,
            runs: ReceiptRuns::default(),
            last_receipt: first,
            first_receipt: first,
            failing_since: now,
            error: String::new(),
            is_lock_held: false,
            retry_delay: MIN_RETRY_DELAY,
            retry_at: now,
            is_reported: false,
            discarded: Discarded::default(),
        }
    }

    /// Returns the hour to which the lines belong.
    pub(super) fn hour(&self) -> Hour {
        self.hour
    }

    /// Returns the receipt of the last line.
    pub(super) fn last_receipt(&self) -> Receipt {
        self.last_receipt
    }

    /// Returns the receipts of the lines that wait.
    pub(super) fn runs(&self) -> &[ReceiptRun] {
        self.runs.as_slice()
    }

    /// Returns the time at which the first message that waited was received.
    pub(super) fn since(&self) -> UnixNanos {
        self.first_receipt.received
    }

    /// Sets the last failure, in words.
    pub(super) fn set_error(&mut self, error: String) {
        self.error = error;
    }

    /// Returns whether the log and the journal say that lines wait.
    pub(super) fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// Returns the last failure, in words.
    pub(super) fn error(&self) -> &str {
        &self.error
    }

    /// Returns the lines that wait.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the number of the lines that wait.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// Returns whether the next attempt to write is due.
    pub(super) fn is_retry_due(&self) -> bool {
        Instant::now() >= self.retry_at
    }

    /// Records a failed attempt. Returns whether the log and the journal should say so: they do
    /// once, and for a locked file only if it stays locked.
    pub(super) fn record_failure(&mut self, error: String, is_lock_held: bool) -> bool {
        self.error = error;
        self.is_lock_held = is_lock_held;
        self.retry_at = Instant::now() + self.retry_delay;
        self.retry_delay = (self.retry_delay * 2).min(MAX_RETRY_DELAY);
        let is_momentary = is_lock_held && self.failing_since.elapsed() < LOCK_GRACE;
        !is_momentary && !std::mem::replace(&mut self.is_reported, true)
    }

    /// Appends the lines of a batch as far as `room` bytes allow. Returns the number of those that
    /// are discarded: from the first such line on all are, so that the gap is one piece.
    pub(super) fn push(&mut self, received: ReceivedLines<'_>, room: usize) -> u64 {
        let ReceivedLines { bytes: lines, receipt, runs, .. } = received;
        let within = lines.get(..room).unwrap_or(lines);
        let fitting = match memchr::memrchr(b'\n', within) {
            Some(last) if !self.discarded.has_begun => last + 1,
            _ => 0,
        };
        let (held, discarded) = lines.split_at(fitting);
        self.bytes.extend_from_slice(held);
        self.messages += count_lines(held);
        let mut left = held.len();
        for run in runs {
            let bytes = run.bytes.min(left);
            left -= bytes;
            self.runs.push(run.receipt, bytes);
        }
        if !held.is_empty() {
            self.last_receipt = receipt;
        }
        self.discard(receipt.sent_since(), count_lines(discarded))
    }

    /// Takes `length` bytes, which are whole lines, off the front.
    pub(super) fn remove_front(&mut self, length: usize) {
        self.messages -= count_lines(self.bytes.get(..length).unwrap_or_default());
        self.bytes.drain(..length);
        self.runs.remove_front(length);
    }

    /// Discards all lines that wait. Returns their number.
    pub(super) fn discard_all(&mut self) -> u64 {
        self.bytes.clear();
        self.runs.clear();
        let messages = std::mem::take(&mut self.messages);
        let since = self.first_receipt.sent_since();
        self.discard(since, messages)
    }

    /// Discards the first line, which no file can take.
    pub(super) fn discard_first(&mut self) {
        let length = memchr::memchr(b'\n', &self.bytes).map_or(self.bytes.len(), |end| end + 1);
        self.remove_front(length);
        let since = self.first_receipt.sent_since();
        let begun = self.discarded.has_begun;
        self.discard(since, 1);
        // Lines that wait behind it are written.
        self.discarded.has_begun = begun;
    }

    fn discard(&mut self, since: UnixNanos, messages: u64) -> u64 {
        if messages > 0 {
            if self.discarded.messages == 0 {
                self.discarded.since = since;
            }
            self.discarded.messages += messages;
            self.discarded.has_begun = true;
        }
        messages
    }

    /// Returns whether a report on discarded messages is due: at once, and then once a minute.
    pub(super) fn is_report_due(&self) -> bool {
        let is_old = |at: Instant| at.elapsed() >= FAILURE_LOG_INTERVAL;
        self.discarded.messages > 0 && self.discarded.reported_at.is_none_or(is_old)
    }

    /// Takes the report on the discarded messages, if there are any.
    pub(super) fn take_report(&mut self) -> Option<DiscardReport> {
        let messages = std::mem::take(&mut self.discarded.messages);
        if messages == 0 {
            return None;
        }
        let is_first = self.discarded.reported_at.replace(Instant::now()).is_none();
        Some(DiscardReport { messages, since: self.discarded.since, is_first })
    }
}

fn count_lines(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> HeldLines {
        HeldLines::new(Hour::starting_at(3600).unwrap(), UnixNanos::from_seconds(3600).into())
    }

    fn push(held: &mut HeldLines, seconds: u64, bytes: &[u8], room: usize) -> u64 {
        let receipt = UnixNanos::from_seconds(seconds).into();
        let run = ReceiptRun { receipt, bytes: bytes.len() };
        held.push(ReceivedLines::of_run(bytes, count_lines(bytes), &run), room)
    }

    #[test]
    fn what_finds_no_room_is_discarded_by_lines_and_nothing_later_is_kept() {
        let mut held = held();
        let at = UnixNanos::from_seconds;
        assert_eq!(push(&mut held, 3601, b"a\nbb\n", 100), 0);
        assert_eq!(push(&mut held, 3602, b"c\nddd\ne\n", 4), 2);
        assert_eq!(push(&mut held, 3603, b"f\n", 100), 1, "it would overtake what was discarded");
        assert_eq!((held.bytes(), held.messages()), (b"a\nbb\nc\n".as_slice(), 3));
        assert_eq!(held.last_receipt(), at(3602).into());
        let report = DiscardReport { messages: 3, since: at(3602), is_first: true };
        assert!(held.is_report_due());
        assert_eq!((held.take_report(), held.take_report()), (Some(report), None));
        held.remove_front(2);
        assert_eq!((held.bytes(), held.messages()), (b"bb\nc\n".as_slice(), 2));
        assert_eq!((held.discard_all(), held.messages()), (2, 0));
        assert!(!held.is_report_due(), "not twice a minute");
        assert_eq!(held.take_report().unwrap().messages, 2);
    }

    #[test]
    fn a_failure_is_reported_once_and_a_momentary_lock_not_at_all() {
        let mut held = held();
        assert!(!held.record_failure("locked".to_owned(), true));
        assert!(held.record_failure("is a directory".to_owned(), false));
        assert!(!held.record_failure("is a directory".to_owned(), false));
        assert!(!held.is_retry_due());
    }
}
