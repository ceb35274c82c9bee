//! Lines that their recorder did not close: a crash may have torn the last one, and a power cut may
//! have taken or zeroed what was not yet durable.
//!
//! What the journal says was durable is believed; only what came after it is looked through.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use memchr::memmem::Finder;

use super::digest::count_lines;
use super::disk::{self, FileError};
use super::journal::{Entry, Event, Mark, Recovered, since_removal};
use super::tail::{Mended, is_document, keep_aside, line_end_before};

/// So many zero bytes in a row are no text that somebody sent: file systems leave them, by blocks,
/// for what had its place but was not written when the power went. A sector is the least.
const ZEROS: [u8; 512] = [0; 512];
const BLOCK: usize = 256 << 10;

/// What the journal says of the `.jsonl` that is there now.
#[derive(Debug, Default)]
pub struct Claims {
    /// How far the lines had come, and when.
    marks: Vec<(u64, Mark)>,
    /// Whether the recorder left it by its own will after the last mark, or it was recovered.
    closed: bool,
    /// The first byte of which it is not known whether the disk has it: a sync failed.
    doubt: Option<u64>,
}

impl Claims {
    /// Reads them out of the journal of the hour.
    pub fn of(entries: &[Entry]) -> Self {
        let mut claims = Self::default();
        for Entry { t, event } in since_removal(entries) {
            match event {
                Event::Open(open) => {
                    let mark = Mark { bytes: open.bytes, messages: open.messages, synced: None };
                    if claims.marks.is_empty() || open.bytes == 0 {
                        claims = Self { marks: vec![(*t, mark)], ..Self::default() };
                    }
                    claims.closed = false;
                }
                Event::Mark(mark) => {
                    claims.marks.push((*t, *mark));
                    claims.closed = false;
                }
                Event::Recovered(found) => {
                    let (bytes, messages) = (found.bytes, found.messages);
                    let mark = Mark { bytes, messages, synced: None };
                    // Whoever looked has seen to it.
                    claims = Self { marks: vec![(*t, mark)], closed: true, doubt: None };
                }
                Event::Closed(closed) => {
                    let (bytes, messages) = (closed.bytes, closed.messages);
                    let synced =
                        if closed.durable { None } else { Some(claims.durable(bytes).bytes) };
                    claims.marks.push((*t, Mark { bytes, messages, synced }));
                    claims.closed = true;
                }
                Event::SyncFailed { from, .. } => {
                    claims.doubt = Some(claims.doubt.map_or(*from, |doubt| doubt.min(*from)));
                }
                // Its lines are gone, or about to go; what is there later is another file.
                Event::Sealed(_) => claims = Self::default(),
                _ => {}
            }
        }
        claims
    }

    /// Whether a recorder wrote of it at all.
    pub(super) fn are_any(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Whether it says that there were more bytes than these.
    pub(super) fn are_more_than(&self, bytes: u64) -> bool {
        self.last().is_some_and(|last| last.bytes > bytes)
    }

    /// The furthest mark all of whose bytes were durable, within this length.
    fn durable(&self, length: u64) -> Mark {
        let most = self.doubt.unwrap_or(u64::MAX).min(length);
        let held = |mark: &Mark| mark.bytes <= most && mark.synced.is_none_or(|s| s >= mark.bytes);
        let marks = self.marks.iter().rev().map(|(_, mark)| *mark);
        marks.into_iter().find(held).unwrap_or_default()
    }

    /// What was said last.
    pub(super) fn last(&self) -> Option<Mark> {
        self.marks.last().map(|(_, mark)| *mark)
    }

    /// How many bytes and lines there were, mark by mark.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        self.marks.iter().map(|(_, mark)| (mark.bytes, mark.messages))
    }

    /// What is lost when so much is there.
    pub(super) fn lost(&self, bytes: u64, messages: u64) -> Recovered {
        let said = self.last().unwrap_or_default();
        // More bytes than are there are a line at least.
        let gone = said.messages.saturating_sub(messages).max(1);
        let lost = if said.bytes > bytes { gone } else { 0 };
        // When the lines were last known to reach no further than this.
        let within = self.marks.iter().rev().find(|(_, mark)| mark.bytes <= bytes);
        let since = within.or(self.marks.first()).map_or(0, |(t, _)| *t);
        Recovered { bytes, messages, cut: 0, lost, since }
    }
}

/// What is found in a file of lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Its length.
    length: u64,
    /// Where its whole lines end.
    whole: u64,
    /// The number of these lines.
    messages: u64,
    /// Whether what comes then is a whole line but for its line feed.
    document: bool,
    /// Whether zeros follow instead of lines.
    zeroed: bool,
    /// Whether there was nothing to look for: the recorder closed it.
    clean: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovery {
    /// Bytes of its lines.
    pub(super) bytes: u64,
    /// The number of its lines.
    pub(super) messages: u64,
    /// What was done about its end.
    pub(super) mended: Option<Mended>,
    /// What the journal should say of it; nothing where its recorder closed it.
    pub(super) found: Option<Recovered>,
}

impl Finding {
    /// Looks through what the journal does not vouch for.
    pub(super) fn look(file: &File, claims: &Claims) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let last = claims.last().unwrap_or_default();
        let vouched = claims.closed && claims.durable(length).bytes == length;
        if last.bytes == length && (vouched || !claims.are_any()) {
            let messages = last.messages;
            return Ok(Self {
                length,
                whole: length,
                messages,
                document: false,
                zeroed: false,
                clean: true,
            });
        }
        let from = claims.durable(length);
        let zeros = zeros(file, from.bytes, length)?;
        let (zeroed, end) = (zeros.is_some(), zeros.unwrap_or(length));
        let whole = line_end_before(file, from.bytes, end)?.unwrap_or(from.bytes);
        let messages = from.messages + lines_between(file, from.bytes, whole)?;
        let document = end == length && whole < length && is_document(file, whole, length)?;
        Ok(Self { length, whole, messages, document, zeroed, clean: false })
    }

    /// Whether nothing is to be done.
    pub(super) fn is_whole(&self) -> bool {
        self.whole == self.length
    }

    /// What is wrong with these lines, so many, that a crash does not explain; in words.
    pub(super) fn trouble(&self, claims: &Claims, messages: u64) -> Option<String> {
        let said = claims.last().unwrap_or_default();
        if said.bytes > self.length || said.messages > messages {
            let said = said.messages;
            return Some(format!(
                "its journal says that {said} messages were written, and it holds {messages}"
            ));
        }
        // A last line that is torn is a matter of course while it is written, and after a crash.
        let cut = self.length - self.whole;
        (self.zeroed)
            .then(|| format!("zeros stand where lines should be, {cut} bytes from the end"))
    }

    /// Does what is to be done about the end of the file, which is open for appending. Gives what
    /// is there then.
    pub(super) fn mend(
        &self,
        file: &File,
        path: &Path,
        torn: &Path,
        claims: &Claims,
    ) -> Result<Recovery, FileError> {
        let (mut bytes, mut messages, mut mended) = (self.whole, self.messages, None);
        if self.document {
            disk::write(file, path, b"\n")?;
            (bytes, messages) = (self.length + 1, messages + 1);
            mended = Some(Mended::FeedAdded);
        } else if !self.is_whole() {
            keep_aside(file, path, self.whole, self.length, torn)?;
            disk::set_len(file, path, self.whole)?;
            let kept_in = PathBuf::from(torn);
            mended = Some(Mended::Cut { bytes: self.length - self.whole, kept_in });
        }
        let cut = if self.document { 0 } else { self.length - self.whole };
        let found = Recovered { bytes, messages, cut, ..claims.lost(bytes, messages) };
        // What was closed is worth a word only when it is not what it was.
        let changed = !self.is_whole() || found.lost > 0;
        let found = (!self.clean && (changed || !claims.closed)).then_some(found);
        Ok(Recovery { bytes, messages, mended, found })
    }
}

/// Where the first long run of zeros within `from..to` begins.
fn zeros(file: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let finder = Finder::new(&ZEROS);
    let mut at = from;
    let mut block = vec![0; BLOCK];
    while at < to {
        let size = usize::try_from(to - at).unwrap_or(BLOCK).min(BLOCK);
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, at)?;
        if let Some(found) = finder.find(part) {
            return Ok(Some(at + found as u64));
        }
        // A run may go on in the next block.
        let step = if size == BLOCK { BLOCK - ZEROS.len() } else { size };
        at += step as u64;
    }
    Ok(None)
}

/// The number of line feeds within `from..to`.
fn lines_between(file: &File, from: u64, to: u64) -> io::Result<u64> {
    let (mut at, mut lines) = (from, 0);
    let mut block = vec![0; BLOCK];
    while at < to {
        let size = usize::try_from(to - at).unwrap_or(BLOCK).min(BLOCK);
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, at)?;
        lines += count_lines(part);
        at += size as u64;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(t: u64, bytes: u64, messages: u64) -> Entry {
        Entry { t, event: Event::Mark(Mark { bytes, messages, synced: None }) }
    }

    fn recovered(entries: &[Entry], content: &[u8]) -> (Recovery, Vec<u8>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let (path, torn) = (dir.path().join("f"), dir.path().join("torn"));
        std::fs::write(&path, content).unwrap();
        let file = disk::append(&path).unwrap();
        let claims = Claims::of(entries);
        let finding = Finding::look(&file, &claims).unwrap();
        let recovery = finding.mend(&file, &path, &torn, &claims).unwrap();
        let left = std::fs::read(&path).unwrap();
        assert_eq!(recovery.bytes, left.len() as u64);
        assert_eq!(recovery.messages, count_lines(&left), "the count is that of the file");
        (recovery, left, std::fs::read(&torn).unwrap_or_default())
    }

    #[test]
    fn what_was_closed_is_believed() {
        let closed = Closed { bytes: 4, messages: 2, durable: true, ..Closed::default() };
        let entries = [mark(1, 2, 1), Entry { t: 2, event: Event::Closed(closed) }];
        let (recovery, left, _) = recovered(&entries, b"a\nb\n");
        assert_eq!((recovery.found, left), (None, b"a\nb\n".to_vec()));
    }

    #[test]
    fn zeroed_pages_and_what_follows_them_are_kept_aside() {
        let mut content = b"{}\n".repeat(1_000);
        content[2_000..2_600].fill(0);
        let (recovery, left, torn) = recovered(&[mark(5, 300, 100)], &content);
        assert_eq!(left, b"{}\n".repeat(666));
        assert_eq!(torn.len(), 1_002 + 1);
        let found = recovery.found.unwrap();
        assert_eq!((found.cut, found.lost, found.since), (1_002, 0, 5));
        // A zero that was sent is no sign of anything, and what was durable is not looked at.
        let (recovery, ..) = recovered(&[mark(5, 300, 100)], b"a\0\n".repeat(1_000).as_slice());
        assert_eq!(recovery.messages, 1_000);
        let (recovery, ..) = recovered(&[mark(5, 3_000, 1_000)], &b"{}\n".repeat(1_000));
        assert_eq!((recovery.messages, recovery.found.unwrap().lost), (1_000, 0));
    }

    #[test]
    fn what_is_gone_is_counted_and_dated() {
        let entries = [mark(1, 30, 10), mark(2, 60, 20), mark(3, 90, 30)];
        let (recovery, left, _) = recovered(&entries, &b"{}\n".repeat(22));
        assert_eq!(left.len(), 66);
        let found = recovery.found.unwrap();
        assert_eq!((found.messages, found.lost, found.since), (22, 8, 2));
        let (recovery, ..) = recovered(&entries, b"");
        assert_eq!((recovery.found.unwrap().lost, recovery.messages), (30, 0));
    }

    #[test]
    fn marks_that_were_not_durable_are_looked_behind() {
        let mut content = b"{}\n".repeat(1_000);
        content[1_500..2_100].fill(0);
        let unsynced = Mark { bytes: 3_000, messages: 1_000, synced: Some(300) };
        let entries = [mark(1, 300, 100), Entry { t: 2, event: Event::Mark(unsynced) }];
        let (recovery, ..) = recovered(&entries, &content);
        let found = recovery.found.unwrap();
        assert_eq!((found.messages, found.lost, found.since), (500, 500, 1));
    }

    use crate::archive::journal::Closed;
}
