//! The lines that the journal of an hour records, file by file, and those of them that the files do
//! not have.

use std::collections::{BTreeMap, BTreeSet};

use super::checkpoints::Checkpoints;
use super::file_name::FileKind;
use super::found_lines::{FoundLines, SealedContent};
use super::journal::{
    ClosedEvent, ContinuedEvent, JournalEntry, JournalEvent, SealRecord, entries_since_removal,
};
use super::line_position::LinePosition;
use super::missing_lines::MissingLines;
use crate::base::time::UnixNanos;

/// The lines of an hour that its journal records.
#[derive(Debug, Default)]
pub(super) struct RecordedLines {
    /// Lines of the sealed file; `None` if no seal is recorded.
    sealed: Option<RecordedFile>,
    /// Lines of the parts that are not sealed, by their numbers.
    parts: BTreeMap<u16, RecordedFile>,
    /// Statements on the `.jsonl`.
    lines: Checkpoints,
    /// Numbers of the parts that were sealed.
    sealed_parts: BTreeSet<u16>,
    /// Lines that were gone when their file was sealed, or opened again.
    lost: Vec<MissingLines>,
    /// `true` if the recorder closed the `.jsonl`, durably, and nothing was written to it since.
    is_closed: bool,
}

/// The lines of one file, as far as they are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RecordedFile {
    end: LinePosition,
    /// Positions that the lines had reached, in the order of time.
    reached: Vec<TimedPosition>,
}

/// A position that the lines of a file had reached at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimedPosition {
    t: UnixNanos,
    position: LinePosition,
}

impl RecordedFile {
    fn from_checkpoints(checkpoints: &Checkpoints) -> Self {
        let reached =
            checkpoints.timed_positions().map(|(t, position)| TimedPosition { t, position });
        let end = checkpoints.positions().last().unwrap_or_default();
        Self { end, reached: reached.collect() }
    }

    /// Adds the lines of a file behind those that are here.
    fn append(&mut self, file: &Self, end: LinePosition) {
        let start = self.end;
        self.reached.extend(file.reached.iter().map(|TimedPosition { t, position }| {
            TimedPosition {
                t: *t,
                position: LinePosition {
                    bytes: start.bytes + position.bytes,
                    messages: start.messages + position.messages,
                },
            }
        }));
        self.end = end;
    }

    /// Returns the lines that are missing if the file has `found_bytes`.
    fn missing(&self, kind: FileKind, found_bytes: u64) -> Option<MissingLines> {
        if self.end.bytes <= found_bytes {
            return None;
        }
        let within =
            self.reached.iter().rev().find(|reached| reached.position.bytes <= found_bytes);
        let since = within.or(self.reached.first()).map_or(UnixNanos::default(), |first| first.t);
        let until = self.reached.last().map_or(since, |last| last.t);
        let LinePosition { bytes, messages } = self.end;
        let start = (found_bytes == 0).then(LinePosition::default);
        let cut_at = within.map(|reached| reached.position).filter(|it| it.bytes == found_bytes);
        let lost = start.or(cut_at).map(|start| messages.saturating_sub(start.messages));
        let is_recorded = false;
        Some(MissingLines { kind, found_bytes, bytes, messages, lost, since, until, is_recorded })
    }
}

impl RecordedLines {
    /// Reads what the journal records since the hour was last removed.
    pub(super) fn from_journal(journal: &[JournalEntry]) -> Self {
        let mut recorded = Self::default();
        for entry in entries_since_removal(journal) {
            match &entry.event {
                JournalEvent::Closed(ClosedEvent { durable, .. }) => recorded.is_closed = *durable,
                JournalEvent::Open(_) | JournalEvent::Mark(_) => recorded.is_closed = false,
                // A crash explains the loss of a file that was not closed. Here, somebody cut it off.
                JournalEvent::Recovered(found) if found.lost > 0 && recorded.is_closed => {
                    let missing = recorded.lines_file().missing(FileKind::Lines, found.bytes);
                    let missing = missing.map(|it| MissingLines { is_recorded: true, ..it });
                    recorded.lost.extend(missing);
                }
                JournalEvent::Continued(continued) => recorded.continue_lines(entry.t, *continued),
                JournalEvent::Sealed(record) => recorded.seal_lines(record),
                _ => {}
            }
            recorded.lines.record(entry);
        }
        recorded
    }

    fn lines_file(&self) -> RecordedFile {
        RecordedFile::from_checkpoints(&self.lines)
    }

    /// Makes the lines of the `.jsonl` those of a part.
    fn continue_lines(
        &mut self,
        t: UnixNanos,
        ContinuedEvent { part, bytes, messages }: ContinuedEvent,
    ) {
        let end = LinePosition { bytes, messages };
        let mut file = self.lines_file();
        file.reached.push(TimedPosition { t, position: end });
        file.end = end;
        self.parts.insert(part, file);
    }

    /// Moves the lines of a file to the sealed file, as far as they were there to be sealed.
    fn seal_lines(&mut self, record: &SealRecord) {
        let number = record.part.as_ref().and_then(|part| part.number);
        let file = match number {
            Some(number) => self.parts.remove(&number).unwrap_or_default(),
            None => self.lines_file(),
        };
        self.sealed_parts.extend(number);
        let end = LinePosition { bytes: record.raw_bytes, messages: record.messages };
        if let Some(part) = &record.part {
            let kind = number.map_or(FileKind::Lines, FileKind::Part);
            let sealed = end.messages.saturating_sub(self.sealed_end().messages);
            let lost = Some(file.end.messages.saturating_sub(sealed));
            let missing = file.missing(kind, part.bytes);
            self.lost.extend(missing.map(|lines| MissingLines { lost, ..lines }));
        } else {
            // Another program sealed them.
            let mut added = end.bytes.saturating_sub(self.sealed_end().bytes);
            while let Some(part) = self.parts.first_entry()
                && let Some(rest) = added.checked_sub(part.get().end.bytes)
            {
                added = rest;
                part.remove();
            }
        }
        self.sealed.get_or_insert_default().append(&file, end);
    }

    /// Returns the end of the lines of the sealed file; the start if no seal is recorded.
    pub(super) fn sealed_end(&self) -> LinePosition {
        self.sealed.as_ref().map_or(LinePosition::default(), |sealed| sealed.end)
    }

    /// Returns the end of the lines of a file, if the journal has it.
    pub(super) fn end(&self, kind: FileKind) -> Option<LinePosition> {
        match kind {
            FileKind::Sealed => self.sealed.as_ref().map(|sealed| sealed.end),
            FileKind::Part(number) => self.parts.get(&number).map(|part| part.end),
            FileKind::Lines => Some(self.lines_file().end),
            _ => None,
        }
    }

    /// Returns the files with lines that are not sealed.
    pub(super) fn unsealed_kinds(&self) -> impl Iterator<Item = FileKind> {
        self.parts.keys().map(|number| FileKind::Part(*number)).chain([FileKind::Lines])
    }

    /// Returns whether the journal records lines.
    pub(super) fn has_lines(&self) -> bool {
        self.sealed_end().bytes > 0
            || !self.parts.is_empty()
            || self.lines.has_beyond(0)
            || !self.lost.is_empty()
    }

    /// Returns the number of the part that the `.jsonl` became, if the recorder could not record
    /// that any more: one that the journal does not know, and that has all lines of the `.jsonl`.
    pub(super) fn unrecorded_part(&self, found: &FoundLines) -> Option<u16> {
        let end = self.lines.last().map_or(0, |last| last.bytes);
        found.unsealed.iter().find_map(|(kind, bytes)| match kind {
            FileKind::Part(number)
                if end > 0
                    && *bytes >= end
                    && !self.parts.contains_key(number)
                    && !self.sealed_parts.contains(number) =>
            {
                Some(*number)
            }
            _ => None,
        })
    }

    /// Returns the lines that the files do not have, in the order of the lines.
    pub(super) fn missing(&self, found: &FoundLines) -> Vec<MissingLines> {
        let mut missing = self.lost.clone();
        let sealed_end = self.sealed_end().bytes;
        // Another program may have sealed lines that the journal has as unsealed.
        let (sealed, mut surplus) = match found.sealed {
            SealedContent::Absent => (0, 0),
            SealedContent::Decompressed(_) => (sealed_end, 0),
            SealedContent::Unknown => (sealed_end, u64::MAX),
            SealedContent::Bytes(bytes) => (bytes, bytes.saturating_sub(sealed_end)),
        };
        missing
            .extend(self.sealed.iter().filter_map(|file| file.missing(FileKind::Sealed, sealed)));
        let mut files: Vec<_> = self
            .parts
            .iter()
            .map(|(number, file)| (FileKind::Part(*number), file.clone()))
            .collect();
        if self.unrecorded_part(found).is_none() {
            files.push((FileKind::Lines, self.lines_file()));
        }
        for (kind, file) in files {
            let length = found.unsealed.get(&kind).copied().unwrap_or(0);
            let is_decompressed = found.sealed == SealedContent::Decompressed(kind);
            let found_bytes = length - if is_decompressed { sealed_end.min(length) } else { 0 };
            let Some(lines) = file.missing(kind, found_bytes) else { continue };
            match surplus.checked_sub(lines.bytes - found_bytes) {
                Some(rest) => surplus = rest,
                None => missing.push(lines),
            }
        }
        missing
    }
}
