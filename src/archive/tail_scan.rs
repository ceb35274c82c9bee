//! Lines that their recorder did not close: a crash may have torn the last one, and a power cut may
//! have taken or zeroed what was not yet durable.
//!
//! What the journal says was durable is believed; only what came after it is looked through.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use super::digest::count_line_feeds;
use super::disk;
use super::disk::FileError;
use super::journal::{JournalEntry, JournalEvent, Mark, RecoveredEvent, entries_since_removal};
use super::tail_repair::{TailRepair, append_to_torn_file, find_last_line_end, is_complete_json};

/// So many zero bytes in a row are no text that somebody sent: file systems leave them, by blocks,
/// for what had its place but was not written when the power went. A sector is the least.
const ZERO_RUN: [u8; 512] = [0; 512];
const BLOCK_BYTES: usize = 256 << 10;

/// What the journal says of the `.jsonl` that is there now.
#[derive(Debug, Default)]
pub struct Checkpoints {
    /// How far the lines had come, and when.
    marks: Vec<(u64, Mark)>,
    /// Whether the recorder left it by its own will after the last mark, or it was recovered.
    closed: bool,
    /// The first byte of which it is not known whether the disk has it: a sync failed.
    unsynced_from: Option<u64>,
}

impl Checkpoints {
    /// Reads them out of the journal of the hour.
    pub fn from_journal(entries: &[JournalEntry]) -> Self {
        let mut claims = Self::default();
        for JournalEntry { t, event } in entries_since_removal(entries) {
            match event {
                JournalEvent::Open(open) => {
                    let mark = Mark { bytes: open.bytes, messages: open.messages, synced: None };
                    if claims.marks.is_empty() || open.bytes == 0 {
                        claims = Self { marks: vec![(*t, mark)], ..Self::default() };
                    }
                    claims.closed = false;
                }
                JournalEvent::Mark(mark) => {
                    claims.marks.push((*t, *mark));
                    claims.closed = false;
                }
                JournalEvent::Recovered(found) => {
                    let (bytes, messages) = (found.bytes, found.messages);
                    let mark = Mark { bytes, messages, synced: None };
                    // Whoever looked has seen to it.
                    claims = Self { marks: vec![(*t, mark)], closed: true, unsynced_from: None };
                }
                JournalEvent::Closed(closed) => {
                    let (bytes, messages) = (closed.bytes, closed.messages);
                    let synced =
                        if closed.durable { None } else { Some(claims.last_durable(bytes).bytes) };
                    claims.marks.push((*t, Mark { bytes, messages, synced }));
                    claims.closed = true;
                }
                JournalEvent::SyncFailed { from, .. } => {
                    claims.unsynced_from =
                        Some(claims.unsynced_from.map_or(*from, |doubt| doubt.min(*from)));
                }
                // Its lines are gone, or about to go; what is there later is another file.
                JournalEvent::Sealed(_) => claims = Self::default(),
                _ => {}
            }
        }
        claims
    }

    /// Whether a recorder wrote of it at all.
    pub(super) fn has_any(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Whether it says that there were more bytes than these.
    pub(super) fn has_beyond(&self, bytes: u64) -> bool {
        self.last().is_some_and(|last| last.bytes > bytes)
    }

    /// The furthest mark all of whose bytes were durable, within this length.
    fn last_durable(&self, length: u64) -> Mark {
        let most = self.unsynced_from.unwrap_or(u64::MAX).min(length);
        let held = |mark: &Mark| mark.bytes <= most && mark.synced.is_none_or(|s| s >= mark.bytes);
        let marks = self.marks.iter().rev().map(|(_, mark)| *mark);
        marks.into_iter().find(held).unwrap_or_default()
    }

    /// What was said last.
    pub(super) fn last(&self) -> Option<Mark> {
        self.marks.last().map(|(_, mark)| *mark)
    }

    /// How many bytes and lines there were, mark by mark.
    pub(super) fn positions(&self) -> impl Iterator<Item = (u64, u64)> {
        self.marks.iter().map(|(_, mark)| (mark.bytes, mark.messages))
    }

    /// What is lost when so much is there.
    pub(super) fn assess_loss(&self, bytes: u64, messages: u64) -> RecoveredEvent {
        let said = self.last().unwrap_or_default();
        // More bytes than are there are a line at least.
        let gone = said.messages.saturating_sub(messages).max(1);
        let lost = if said.bytes > bytes { gone } else { 0 };
        // When the lines were last known to reach no further than this.
        let within = self.marks.iter().rev().find(|(_, mark)| mark.bytes <= bytes);
        let since = within.or(self.marks.first()).map_or(0, |(t, _)| *t);
        RecoveredEvent { bytes, messages, cut: 0, lost, since }
    }
}

/// What is found in a file of lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TailScan {
    /// Its length.
    length: u64,
    /// Where its whole lines end.
    lines_end: u64,
    /// The number of these lines.
    messages: u64,
    /// Whether what comes then is a whole line but for its line feed.
    lacks_line_feed: bool,
    /// Whether zeros follow instead of lines.
    has_zeros: bool,
    /// Whether there was nothing to look for: the recorder closed it.
    vouched: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    /// Bytes of its lines.
    pub(super) bytes: u64,
    /// The number of its lines.
    pub(super) messages: u64,
    /// What was done about its end.
    pub(super) repair: Option<TailRepair>,
    /// What the journal should say of it; nothing where its recorder closed it.
    pub(super) recovered: Option<RecoveredEvent>,
}

impl TailScan {
    /// Looks through what the journal does not vouch for.
    pub(super) fn scan(file: &File, claims: &Checkpoints) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let last = claims.last().unwrap_or_default();
        let vouched = claims.closed && claims.last_durable(length).bytes == length;
        if last.bytes == length && (vouched || !claims.has_any()) {
            let messages = last.messages;
            return Ok(Self {
                length,
                lines_end: length,
                messages,
                lacks_line_feed: false,
                has_zeros: false,
                vouched: true,
            });
        }
        let from = claims.last_durable(length);
        let zeros = find_zero_run(file, from.bytes, length)?;
        let (zeroed, end) = (zeros.is_some(), zeros.unwrap_or(length));
        let whole = find_last_line_end(file, from.bytes, end)?.unwrap_or(from.bytes);
        let messages = from.messages + count_lines_between(file, from.bytes, whole)?;
        let document = end == length && whole < length && is_complete_json(file, whole, length)?;
        Ok(Self {
            length,
            lines_end: whole,
            messages,
            lacks_line_feed: document,
            has_zeros: zeroed,
            vouched: false,
        })
    }

    /// Whether nothing is to be done.
    pub(super) fn is_intact(&self) -> bool {
        self.lines_end == self.length
    }

    /// What is wrong with these lines, so many, that a crash does not explain; in words.
    pub(super) fn describe_damage(&self, claims: &Checkpoints, messages: u64) -> Option<String> {
        let said = claims.last().unwrap_or_default();
        if said.bytes > self.length || said.messages > messages {
            let said = said.messages;
            return Some(format!(
                "its journal says that {said} messages were written, and it holds {messages}"
            ));
        }
        // A last line that is torn is a matter of course while it is written, and after a crash.
        let cut = self.length - self.lines_end;
        (self.has_zeros)
            .then(|| format!("zeros stand where lines should be, {cut} bytes from the end"))
    }

    /// Does what is to be done about the end of the file, which is open for appending. Gives what
    /// is there then.
    pub(super) fn repair(
        &self,
        file: &File,
        path: &Path,
        torn: &Path,
        claims: &Checkpoints,
    ) -> Result<Recovery, FileError> {
        let (mut bytes, mut messages, mut mended) = (self.lines_end, self.messages, None);
        if self.lacks_line_feed {
            disk::write_all(file, path, b"\n")?;
            (bytes, messages) = (self.length + 1, messages + 1);
            mended = Some(TailRepair::LineFeedAdded);
        } else if !self.is_intact() {
            append_to_torn_file(file, path, self.lines_end, self.length, torn)?;
            disk::truncate(file, path, self.lines_end)?;
            let kept_in = PathBuf::from(torn);
            mended = Some(TailRepair::Truncated { bytes: self.length - self.lines_end, kept_in });
        }
        let cut = if self.lacks_line_feed { 0 } else { self.length - self.lines_end };
        let found = RecoveredEvent { bytes, messages, cut, ..claims.assess_loss(bytes, messages) };
        // What was closed is worth a word only when it is not what it was.
        let changed = !self.is_intact() || found.lost > 0;
        let found = (!self.vouched && (changed || !claims.closed)).then_some(found);
        Ok(Recovery { bytes, messages, repair: mended, recovered: found })
    }
}

/// Where the first long run of zeros within `from..to` begins.
fn find_zero_run(file: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let finder = Finder::new(&ZERO_RUN);
    let mut at = from;
    let mut block = vec![0; BLOCK_BYTES];
    while at < to {
        let size = usize::try_from(to - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, at)?;
        if let Some(found) = finder.find(part) {
            return Ok(Some(at + found as u64));
        }
        // A run may go on in the next block.
        let step = if size == BLOCK_BYTES { BLOCK_BYTES - ZERO_RUN.len() } else { size };
        at += step as u64;
    }
    Ok(None)
}

/// The number of line feeds within `from..to`.
fn count_lines_between(file: &File, from: u64, to: u64) -> io::Result<u64> {
    let (mut at, mut lines) = (from, 0);
    let mut block = vec![0; BLOCK_BYTES];
    while at < to {
        let size = usize::try_from(to - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, at)?;
        lines += count_line_feeds(part);
        at += size as u64;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(t: u64, bytes: u64, messages: u64) -> JournalEntry {
        JournalEntry { t, event: JournalEvent::Mark(Mark { bytes, messages, synced: None }) }
    }

    fn recovered(entries: &[JournalEntry], content: &[u8]) -> (Recovery, Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let (path, torn) = (dir.path().join("f"), dir.path().join("torn"));
        std::fs::write(&path, content).unwrap();
        let file = disk::open_append(&path).unwrap();
        let claims = Checkpoints::from_journal(entries);
        let finding = TailScan::scan(&file, &claims).unwrap();
        let recovery = finding.repair(&file, &path, &torn, &claims).unwrap();
        let left = std::fs::read(&path).unwrap();
        assert_eq!(recovery.bytes, left.len() as u64);
        assert_eq!(recovery.messages, count_line_feeds(&left), "the count is that of the file");
        (recovery, left, std::fs::read(&torn).unwrap_or_default())
    }

    #[test]
    fn a_durably_closed_file_is_not_scanned() {
        let closed = ClosedEvent { bytes: 4, messages: 2, durable: true, ..ClosedEvent::default() };
        let entries = [mark(1, 2, 1), JournalEntry { t: 2, event: JournalEvent::Closed(closed) }];
        let (recovery, left, _) = recovered(&entries, b"a\nb\n");
        assert_eq!((recovery.recovered, left), (None, b"a\nb\n".to_vec()));
    }

    #[test]
    fn zeroed_pages_and_all_bytes_after_them_move_to_the_torn_file() {
        let mut content = b"{}\n".repeat(1_000);
        content[2_000..2_600].fill(0);
        let (recovery, left, torn) = recovered(&[mark(5, 300, 100)], &content);
        assert_eq!(left, b"{}\n".repeat(666));
        assert_eq!(torn.len(), 1_002 + 1);
        let found = recovery.recovered.unwrap();
        assert_eq!((found.cut, found.lost, found.since), (1_002, 0, 5));
        // A zero that was sent is no sign of anything, and what was durable is not looked at.
        let (recovery, ..) = recovered(&[mark(5, 300, 100)], b"a\0\n".repeat(1_000).as_slice());
        assert_eq!(recovery.messages, 1_000);
        let (recovery, ..) = recovered(&[mark(5, 3_000, 1_000)], &b"{}\n".repeat(1_000));
        assert_eq!((recovery.messages, recovery.recovered.unwrap().lost), (1_000, 0));
    }

    #[test]
    fn lost_lines_are_counted_and_dated() {
        let entries = [mark(1, 30, 10), mark(2, 60, 20), mark(3, 90, 30)];
        let (recovery, left, _) = recovered(&entries, &b"{}\n".repeat(22));
        assert_eq!(left.len(), 66);
        let found = recovery.recovered.unwrap();
        assert_eq!((found.messages, found.lost, found.since), (22, 8, 2));
        let (recovery, ..) = recovered(&entries, b"");
        assert_eq!((recovery.recovered.unwrap().lost, recovery.messages), (30, 0));
    }

    #[test]
    fn the_scan_starts_at_the_last_durable_mark() {
        let mut content = b"{}\n".repeat(1_000);
        content[1_500..2_100].fill(0);
        let unsynced = Mark { bytes: 3_000, messages: 1_000, synced: Some(300) };
        let entries =
            [mark(1, 300, 100), JournalEntry { t: 2, event: JournalEvent::Mark(unsynced) }];
        let (recovery, ..) = recovered(&entries, &content);
        let found = recovery.recovered.unwrap();
        assert_eq!((found.messages, found.lost, found.since), (500, 500, 1));
    }

    use crate::archive::journal::ClosedEvent;
}
