//! The scan of lines that their recorder did not close: a crash may have torn the last line, and a
//! power cut may have taken or zeroed what was not durable yet.
//!
//! The scan relies on the journal for what was durable, and reads only what follows.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use memchr::memmem::Finder;

use super::checkpoints::Checkpoints;
use super::digest::count_line_feeds;
use super::disk::FileError;
use super::journal::RecoveredEvent;
use super::line_position::LinePosition;
use super::read_block::{BLOCK_BYTES, read_block};
use super::tail_repair::{FileTail, TailRepair, find_last_line_end, is_complete_json};

/// Shortest run of zero bytes that may be damage: a sector.
const ZERO_RUN: [u8; 512] = [0; 512];
/// Largest block of a file system that is expected. A block is written as a whole or not at all.
const MAX_BLOCK_BYTES: u64 = 4096;

/// Findings of a scan.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TailScan {
    tail: FileTail,
    /// Number of the complete lines.
    messages: u64,
    /// `true` if zeros follow the complete lines.
    has_zeros: bool,
    /// `true` if no scan was needed, since the recorder closed the file.
    vouched: bool,
}

/// State of a file after its repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    /// Length and number of the lines.
    pub(super) position: LinePosition,
    /// Repair of the last line.
    pub(super) repair: Option<TailRepair>,
    /// Event for the journal; `None` if the recorder closed the file and it is as it was.
    pub(super) recovered: Option<RecoveredEvent>,
}

impl TailScan {
    /// Scans the part of the file that the journal does not vouch for.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn scan(file: &File, checkpoints: &Checkpoints) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let last = checkpoints.last().unwrap_or_default();
        let vouched = checkpoints.is_closed() && checkpoints.last_durable(length).bytes == length;
        if last.bytes == length && (vouched || checkpoints.is_empty()) {
            let tail = FileTail::intact(length);
            return Ok(Self { tail, messages: last.messages, has_zeros: false, vouched: true });
        }
        let from = checkpoints.last_durable(length);
        let zeros = if checkpoints.is_as_written() {
            // The process alone ended: all that it wrote is there as it was written.
            None
        } else {
            find_zeroed_blocks(file, from.bytes..length)?
        };
        let end = zeros.unwrap_or(length);
        let lines_end = find_last_line_end(file, from.bytes..end)?.unwrap_or(from.bytes);
        let messages = from.messages + count_lines(file, from.bytes..lines_end)?;
        let lacks_line_feed =
            end == length && lines_end < length && is_complete_json(file, lines_end..length)?;
        Ok(Self {
            tail: FileTail {
                length,
                lines_end,
                cut_lines: count_lines(file, lines_end..length)?,
                lacks_line_feed,
            },
            messages,
            has_zeros: zeros.is_some(),
            vouched: false,
        })
    }

    /// Returns whether the file consists of complete lines.
    pub(super) fn is_intact(&self) -> bool {
        self.tail.is_intact()
    }

    /// Describes damage that a crash does not explain, in words for the user. `messages` is the
    /// number of lines in the file.
    pub(super) fn describe_damage(
        &self,
        checkpoints: &Checkpoints,
        messages: u64,
    ) -> Option<String> {
        let stated = checkpoints.last().unwrap_or_default();
        if stated.bytes > self.tail.length || stated.messages > messages {
            let stated = stated.messages;
            return Some(format!(
                "its journal says that {stated} messages were written, and it holds {messages}"
            ));
        }
        // A torn last line alone is normal: while the file is written, and after a crash.
        let from_end = self.tail.length - self.tail.lines_end;
        (self.has_zeros)
            .then(|| format!("zeros stand where lines should be, {from_end} bytes from the end"))
    }

    /// Repairs the end of the file. The file must be open for appending unless it is intact.
    ///
    /// # Errors
    /// [`FileError`]: what is cut off is in the `.torn` file before it is cut off.
    pub(super) fn repair(
        &self,
        file: &File,
        path: &Path,
        torn: &Path,
        checkpoints: &Checkpoints,
    ) -> Result<Recovery, FileError> {
        let (bytes, repair) = self.tail.repair(file, path, torn)?;
        let (added, cut) = match &repair {
            None => (0, 0),
            Some(TailRepair::LineFeedAdded) => (1, 0),
            Some(TailRepair::Truncated { bytes, .. }) => (0, *bytes),
        };
        let position = LinePosition { bytes, messages: self.messages + added };
        let loss = checkpoints.assess_loss(position);
        // The bytes up to the first line feed are what zeros left of at least one line.
        let lost = loss.lost.max(self.tail.cut_lines);
        let event = RecoveredEvent { cut, lost, ..loss };
        // A file that was closed needs the event only when it is not as it was.
        let changed = repair.is_some() || event.lost > 0;
        let needs_event = !self.vouched && (changed || !checkpoints.is_closed());
        Ok(Recovery { position, repair, recovered: needs_event.then_some(event) })
    }
}

/// Returns the start of the first zeros in the range that a power cut left: blocks that were
/// allocated and not written. The range begins with a line and ends with the file.
///
/// Such zeros begin at the border of a block, or behind the lines that were written to a block
/// before, and end at a border, or with the file. A run of NULs within a line is what was sent.
///
/// A line of NULs that fills exactly some blocks looks the same. So the caller looks for zeros only
/// where the machine may have been restarted.
fn find_zeroed_blocks(file: &File, range: Range<u64>) -> io::Result<Option<u64>> {
    let block = file.metadata()?.blksize().clamp(ZERO_RUN.len() as u64, MAX_BLOCK_BYTES);
    let mut start = range.start;
    while let Some(run) = find_zero_run(file, start..range.end)? {
        let is_damage = run.end == range.end
            || (run.end.is_multiple_of(block)
                && (run.start.is_multiple_of(block) || is_line_start(file, run.start)?));
        if is_damage {
            return Ok(Some(run.start));
        }
        start = run.end;
    }
    Ok(None)
}

/// Returns whether a line begins at this position.
fn is_line_start(file: &File, position: u64) -> io::Result<bool> {
    let Some(before) = position.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, before)?;
    Ok(byte == *b"\n")
}

/// Returns the first run of zeros in the range that is at least as long as [`ZERO_RUN`].
fn find_zero_run(file: &File, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let finder = Finder::new(&ZERO_RUN);
    let mut buffer = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let block = read_block(file, start..range.end, &mut buffer)?;
        if let Some(offset) = finder.find(block) {
            let run_start = start + offset as u64;
            return Ok(Some(run_start..find_non_zero(file, run_start..range.end)?));
        }
        // The blocks overlap, since a run may begin in one and end in the next.
        let step =
            if block.len() == BLOCK_BYTES { BLOCK_BYTES - ZERO_RUN.len() } else { block.len() };
        start += step as u64;
    }
    Ok(None)
}

/// Returns the position of the first byte in the range that is not zero; the end if there is none.
fn find_non_zero(file: &File, range: Range<u64>) -> io::Result<u64> {
    let mut buffer = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let block = read_block(file, start..range.end, &mut buffer)?;
        if let Some(offset) = block.iter().position(|byte| *byte != 0) {
            return Ok(start + offset as u64);
        }
        start += block.len() as u64;
    }
    Ok(range.end)
}

/// Counts the line feeds within the range.
fn count_lines(file: &File, range: Range<u64>) -> io::Result<u64> {
    let mut buffer = Vec::new();
    let mut start = range.start;
    let mut lines = 0;
    while start < range.end {
        let block = read_block(file, start..range.end, &mut buffer)?;
        lines += count_line_feeds(block);
        start += block.len() as u64;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::disk;
    use crate::archive::journal::{ClosedEvent, JournalEntry, JournalEvent, Mark, OpenEvent};
    use crate::base::time::{SystemClock, UnixNanos};

    fn mark(t: u64, bytes: u64, messages: u64) -> JournalEntry {
        JournalEntry {
            t: UnixNanos::new(t),
            event: JournalEvent::Mark(Mark { bytes, messages, synced: None }),
        }
    }

    fn recovered(entries: &[JournalEntry], content: &[u8]) -> (Recovery, Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let torn = dir.path().join("torn");
        std::fs::write(&path, content).unwrap();
        let file = disk::open_append(&path).unwrap();
        let checkpoints = Checkpoints::from_journal(entries);
        let scan = TailScan::scan(&file, &checkpoints).unwrap();
        let recovery = scan.repair(&file, &path, &torn, &checkpoints).unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!(recovery.position.bytes, content.len() as u64);
        assert_eq!(
            recovery.position.messages,
            count_line_feeds(&content),
            "the count is that of the file"
        );
        (recovery, content, std::fs::read(&torn).unwrap_or_default())
    }

    #[test]
    fn a_durably_closed_file_is_not_scanned() {
        let closed = ClosedEvent { bytes: 4, messages: 2, durable: true, ..ClosedEvent::default() };
        let entries = [
            mark(1, 2, 1),
            JournalEntry { t: UnixNanos::new(2), event: JournalEvent::Closed(closed) },
        ];
        let (recovery, left, _) = recovered(&entries, b"a\nb\n");
        assert_eq!((recovery.recovered, left), (None, b"a\nb\n".to_vec()));
    }

    #[test]
    fn zeroed_pages_and_all_bytes_after_them_move_to_the_torn_file() {
        let mut content = b"{}\n".repeat(1_000);
        content.extend(b"{}\n".repeat(2_000));
        content[4_096..8_192].fill(0);
        let (recovery, left, torn) = recovered(&[mark(5, 300, 100)], &content);
        assert_eq!(left, b"{}\n".repeat(1_365));
        assert_eq!(torn.len(), 4_905 + 1);
        let found = recovery.recovered.unwrap();
        let behind = count_line_feeds(&content[8_192..]);
        assert_eq!((found.cut, found.lost, found.since.nanos()), (4_905, behind, 5));
        // A single zero may have been sent, and what was durable is not scanned.
        let (recovery, ..) = recovered(&[mark(5, 300, 100)], b"a\0\n".repeat(1_000).as_slice());
        assert_eq!(recovery.position.messages, 1_000);
        let (recovery, ..) = recovered(&[mark(5, 3_000, 1_000)], &b"{}\n".repeat(1_000));
        assert_eq!((recovery.position.messages, recovery.recovered.unwrap().lost), (1_000, 0));
    }

    #[test]
    fn nuls_within_a_line_are_what_was_sent() {
        for nuls in [512, 4_096, 10_000, 600_000] {
            let line = [b"{\"a\":\"", vec![0; nuls].as_slice(), b"\"}\n"].concat();
            let content = [b"{}\n".repeat(1_000), line, b"{}\n".repeat(1_000)].concat();
            let (recovery, left, torn) = recovered(&[mark(5, 300, 100)], &content);
            assert!(left == content && torn.is_empty(), "{nuls}");
            assert_eq!(recovery.position.messages, 2_001, "{nuls}");
            // The zeros of a power cut behind such a line are found.
            let mut damaged = content.clone();
            let border = (content.len() - 2_000) / 4_096 * 4_096 + 4_096;
            damaged.resize(border + 4_096, b' ');
            damaged[border..].fill(0);
            let (recovery, left, _) = recovered(&[mark(5, 300, 100)], &damaged);
            assert!(left.len() <= border && left.len() > content.len() - 4_096, "{nuls}");
            assert!(content.starts_with(&left) && recovery.recovered.unwrap().cut > 0, "{nuls}");
        }
    }

    #[test]
    fn many_lines_of_nuls_are_what_was_sent() {
        for nuls in [512, 1_000, 5_000] {
            // Lines of all lengths, so that some run of NULs begins at each position of a block.
            let line = |n: usize| {
                [b"{\"a\":\"", vec![b'x'; n % 97].as_slice(), &vec![0; nuls], b"\"}\n"].concat()
            };
            let content: Vec<u8> = (0..3_000).flat_map(line).collect();
            let (recovery, left, torn) = recovered(&[mark(5, 0, 0)], &content);
            assert!(left == content && torn.is_empty(), "{nuls}");
            assert_eq!((recovery.position.messages, recovery.recovered.unwrap().lost), (3_000, 0));
        }
    }

    #[test]
    fn lines_of_whole_blocks_of_nuls_stay_unless_the_machine_was_restarted() {
        let block = [b"{}\n".as_slice(), &vec![b' '; 4_093], &vec![0; 4_096], b"\n{}\n"].concat();
        let opened = |boot: &str| JournalEntry {
            t: UnixNanos::new(4),
            event: JournalEvent::Open(Box::new(OpenEvent {
                boot: boot.to_owned(),
                ..OpenEvent::default()
            })),
        };
        let (_, left, torn) = recovered(&[opened(&SystemClock::boot_id()), mark(5, 0, 0)], &block);
        assert!(left == block && torn.is_empty());
        let (recovery, left, _) = recovered(&[opened("other"), mark(5, 0, 0)], &block);
        assert_eq!(left, b"{}\n");
        // The journal counts none of the lines, but they were there.
        assert_eq!(recovery.recovered.unwrap().lost, 2);
        let lines = |repair| match repair {
            Some(TailRepair::Truncated { lines, .. }) => lines,
            _ => 0,
        };
        assert_eq!(lines(recovery.repair), 2);
    }

    #[test]
    fn zeros_behind_the_lines_that_a_block_had_before_are_damage() {
        // The block has the lines up to byte 3,000, and was not written again.
        let mut content = b"{}\n".repeat(2_000);
        content[3_000..4_096].fill(0);
        let (_, left, _) = recovered(&[mark(5, 300, 100)], &content);
        assert_eq!(left, b"{}\n".repeat(1_000));
        let mut content = b"{}\n".repeat(2_000);
        content[3_000..].fill(0);
        let (_, left, _) = recovered(&[mark(5, 300, 100)], &content);
        assert_eq!(left, b"{}\n".repeat(1_000));
    }

    #[test]
    fn lost_lines_are_counted_and_dated() {
        let entries = [mark(1, 30, 10), mark(2, 60, 20), mark(3, 90, 30)];
        let (recovery, left, _) = recovered(&entries, &b"{}\n".repeat(22));
        assert_eq!(left.len(), 66);
        let found = recovery.recovered.unwrap();
        assert_eq!((found.messages, found.lost, found.since.nanos()), (22, 8, 2));
        let (recovery, ..) = recovered(&entries, b"");
        assert_eq!((recovery.recovered.unwrap().lost, recovery.position.messages), (30, 0));
    }

    #[test]
    fn the_scan_starts_at_the_last_durable_mark() {
        let mut content = b"{}\n".repeat(1_000);
        content[1_500..].fill(0);
        let unsynced = Mark { bytes: 3_000, messages: 1_000, synced: Some(300) };
        let entries = [
            mark(1, 300, 100),
            JournalEntry { t: UnixNanos::new(2), event: JournalEvent::Mark(unsynced) },
        ];
        let (recovery, ..) = recovered(&entries, &content);
        let found = recovery.recovered.unwrap();
        assert_eq!((found.messages, found.lost, found.since.nanos()), (500, 500, 1));
    }
}
