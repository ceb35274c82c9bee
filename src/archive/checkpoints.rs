//! The journal's statements on how far the lines of an hour had come, and when.

use super::journal::{JournalEntry, JournalEvent, Mark, RecoveredEvent, entries_since_removal};
use super::line_position::LinePosition;
use crate::base::time::{SystemClock, UnixNanos};

/// Statements of the journal on the `.jsonl` that exists now.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Positions that the lines had reached, in the order of time.
    entries: Vec<Checkpoint>,
    /// `true` if the recorder closed the file, or the file was recovered, after the last mark.
    closed: bool,
    /// First byte that a failed sync leaves in doubt.
    unsynced_from: Option<u64>,
    /// Identifier of the start of the machine under which the file was written last; empty where it
    /// is unknown.
    boot: String,
}

/// A mark, or another event with the same statement.
#[derive(Debug, Clone, Copy)]
struct Checkpoint {
    /// Time of the event, Unix nanoseconds.
    t: UnixNanos,
    mark: Mark,
}

impl Checkpoints {
    /// Reads the statements out of the journal of the hour. Those on a file that was sealed or
    /// removed are left out: what exists now is another file.
    pub(super) fn from_journal(journal: &[JournalEntry]) -> Self {
        let mut found = Self::default();
        for entry in entries_since_removal(journal) {
            found.record(entry);
        }
        found
    }

    /// Adds the statement of the next event, if it makes one.
    pub(super) fn record(&mut self, JournalEntry { t, event }: &JournalEntry) {
        let t = *t;
        match event {
            JournalEvent::Open(open) => {
                let mark = Mark { bytes: open.bytes, messages: open.messages, synced: None };
                if self.is_empty() || open.bytes == 0 {
                    *self = Self::starting_with(Checkpoint { t, mark });
                }
                self.closed = false;
                self.boot.clone_from(&open.boot);
            }
            JournalEvent::Mark(mark) => {
                self.entries.push(Checkpoint { t, mark: *mark });
                self.closed = false;
            }
            JournalEvent::Recovered(RecoveredEvent { bytes, messages, .. }) => {
                let mark = Mark { bytes: *bytes, messages: *messages, synced: None };
                // A recovery scans the file, and syncs it.
                let boot = std::mem::take(&mut self.boot);
                *self = Self { boot, ..Self::starting_with(Checkpoint { t, mark }) };
                self.closed = true;
            }
            JournalEvent::Closed(closed) => {
                let synced = (!closed.durable).then(|| self.last_durable(closed.bytes).bytes);
                let mark = Mark { bytes: closed.bytes, messages: closed.messages, synced };
                self.entries.push(Checkpoint { t, mark });
                self.closed = true;
            }
            JournalEvent::SyncFailed { from, .. } => {
                let first = self.unsynced_from.map_or(*from, |first| first.min(*from));
                self.unsynced_from = Some(first);
            }
            JournalEvent::Continued(_) => {
                let boot = std::mem::take(&mut self.boot);
                let start = Checkpoint { t, mark: Mark::default() };
                *self = Self { boot, ..Self::starting_with(start) };
            }
            // The lines of a part are not those of the file.
            JournalEvent::Sealed(record) if record.is_of_part() => {}
            // The lines of the file are gone with it, or about to go.
            JournalEvent::Sealed(_) => *self = Self::default(),
            _ => {}
        }
    }

    fn starting_with(checkpoint: Checkpoint) -> Self {
        Self { entries: vec![checkpoint], ..Self::default() }
    }

    /// Returns whether the journal says nothing on the file: no recorder of ours wrote it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns whether the recorder closed the file, or the file was recovered, after the last
    /// mark.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns whether the file has all that was written to it, as it was written: the machine was not
    /// restarted since, and no sync failed.
    pub(super) fn is_as_written(&self) -> bool {
        !self.boot.is_empty() && self.unsynced_from.is_none() && self.boot == SystemClock::boot_id()
    }

    /// Returns whether the journal says that there were more than `bytes` bytes.
    pub(super) fn has_beyond(&self, bytes: u64) -> bool {
        self.last().is_some_and(|last| last.bytes > bytes)
    }

    /// Returns the furthest mark within `length` all of whose bytes were durable; the start of the
    /// file when there is none.
    pub(super) fn last_durable(&self, length: u64) -> Mark {
        let limit = self.unsynced_from.unwrap_or(u64::MAX).min(length);
        let is_durable = |mark: &Mark| {
            mark.bytes <= limit && mark.synced.is_none_or(|synced| synced >= mark.bytes)
        };
        let marks = self.entries.iter().rev().map(|checkpoint| checkpoint.mark);
        marks.into_iter().find(is_durable).unwrap_or_default()
    }

    /// Returns the last statement.
    pub(super) fn last(&self) -> Option<Mark> {
        self.entries.last().map(|checkpoint| checkpoint.mark)
    }

    /// Returns the length and the number of the lines at each mark, in the order of time.
    pub(super) fn positions(&self) -> impl Iterator<Item = LinePosition> {
        self.entries.iter().map(|Checkpoint { mark, .. }| LinePosition {
            bytes: mark.bytes,
            messages: mark.messages,
        })
    }

    /// Returns the positions with the times at which they were reached, in the order of time.
    pub(super) fn timed_positions(&self) -> impl Iterator<Item = (UnixNanos, LinePosition)> {
        self.entries.iter().map(|checkpoint| checkpoint.t).zip(self.positions())
    }

    /// Compares the last statement with what the file has. Where the journal says nothing, nothing
    /// is known to be lost, and the time since when is the epoch.
    pub(super) fn assess_loss(&self, found: LinePosition) -> RecoveredEvent {
        let LinePosition { bytes, messages } = found;
        let (Some(first), Some(last)) = (self.entries.first(), self.last()) else {
            return RecoveredEvent { bytes, messages, ..RecoveredEvent::default() };
        };
        // Bytes that are missing are at least one line, even if the journal counts no more lines.
        let missing = last.messages.saturating_sub(messages).max(1);
        let lost = if last.bytes > bytes { missing } else { 0 };
        // The lines were last known to reach no further than this.
        let within = self.entries.iter().rev().find(|checkpoint| checkpoint.mark.bytes <= bytes);
        RecoveredEvent { bytes, messages, cut: 0, lost, since: within.unwrap_or(first).t }
    }
}
