//! The writer of one hour: its lines and its journal, which records how far the lines have come.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::checkpoints::Checkpoints;
use super::disk::{FailureScope, FileError, Support};
use super::file_name::{FileKind, Stem};
use super::found_lines::FoundLines;
use super::hour_file::{HourFile, OpenReport};
use super::journal::{
    self, ClosedEvent, ContinuedEvent, JournalEntry, JournalEvent, JournalWriter, Mark, OpenEvent,
    PendingEvents,
};
use super::line_position::LinePosition;
use super::locked_handle::Placement;
use super::parts::{next_part_number, rename_to_part};
use super::received_lines::ReceivedLines;
use super::recorded_lines::RecordedLines;
use super::time_index::TimesWriter;
use crate::base::time::{Hour, Receipt, SystemClock, UnixNanos};

/// Time by which a tick may come early and still count. Ticks come about once a second: without the
/// slack, an interval of whole seconds would often wait for one more tick.
pub(crate) const TICK_SLACK: Duration = Duration::from_millis(200);

/// Location, mode and durability of the files of an hour.
#[derive(Debug, Clone)]
pub struct HourWriterOptions {
    /// Directory of the archive.
    pub dir: PathBuf,
    /// First part of the file names.
    pub stem: Stem,
    /// Mode of new files.
    pub mode: u32,
    /// Interval at which lines are made durable; `None` leaves it to the system.
    pub sync_interval: Option<Duration>,
    /// Recording of the times of receipt.
    pub time_index: TimeIndexing,
}

/// Recording of the times at which lines are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeIndexing {
    /// In a `.times` file.
    On,
    /// Not at all: the journal has them at each mark.
    Off,
}

/// Reason for which an hour is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The recorder goes on in another hour.
    Rolled,
    /// The recorder stops.
    Stopped,
}

/// Moment at which the journal's `closed` event becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalSync {
    /// At once.
    Now,
    /// Later, by a sync of the whole file system for which the caller is responsible.
    Deferred,
}

/// An open hour. Lines go to its `.jsonl`, which is created with the first line, and events to its
/// `.journal`.
#[derive(Debug)]
pub struct HourWriter {
    options: HourWriterOptions,
    hour: Hour,
    /// `None` until the first line.
    lines: Option<HourFile>,
    /// Length and number of the lines, by the journal, while their file exists and cannot be
    /// opened.
    unopened: LinePosition,
    /// `None` where the times of receipt are not recorded.
    times: Option<TimesWriter>,
    journal: JournalWriter,
    /// Latest failure of the journal or the time index, until [`HourWriter::take_journal_error`].
    journal_error: Option<FileError>,
    /// Length of the lines at the last mark.
    marked_bytes: u64,
    last_mark: Instant,
    last_sync: Instant,
    /// Time of the last sync, from which on lines are in doubt when the next sync fails.
    synced_at: UnixNanos,
    first_received: Option<UnixNanos>,
    last_received: Option<UnixNanos>,
    /// Time until which everything that had arrived is among the lines.
    complete_until: Option<UnixNanos>,
    /// Cleared when a sync fails.
    all_synced: bool,
    /// Length from which on lines do not fit into an empty file, once that is known.
    too_large_from: usize,
}

impl HourWriter {
    /// Opens the hour and repairs what the run before left incomplete.
    ///
    /// The hour opens also when the trouble of its lines is theirs alone, so that its journal
    /// records what happens. Each append then tries again to open the lines.
    ///
    /// # Errors
    /// The file of its lines exists and cannot be opened, for a reason that concerns the disk.
    pub fn open(
        options: &HourWriterOptions,
        hour: Hour,
        now: UnixNanos,
        open_event: OpenEvent,
    ) -> Result<(Self, Option<OpenReport>), FileError> {
        let journal_path = options.stem.path(&options.dir, hour, FileKind::Journal);
        let mut writer = Self {
            options: options.clone(),
            hour,
            lines: None,
            unopened: LinePosition::default(),
            times: new_times_writer(options, hour),
            journal: JournalWriter::new(journal_path, options.mode),
            journal_error: None,
            marked_bytes: 0,
            last_mark: Instant::now(),
            last_sync: Instant::now(),
            synced_at: now,
            first_received: None,
            last_received: None,
            complete_until: None,
            all_synced: true,
            too_large_from: usize::MAX,
        };
        let lines_path = options.stem.path(&options.dir, hour, FileKind::Lines);
        let report = match lines_path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                writer.report_missing_lines(now);
                None
            }
            _ => match writer.open_lines(now) {
                Ok((_, report)) => report,
                Err(error) if error.scope() == FailureScope::File => {
                    writer.set_unopened();
                    None
                }
                Err(error) => return Err(error),
            },
        };
        let LinePosition { bytes, messages } = writer.position();
        writer.marked_bytes = bytes;
        writer.record_event(
            now,
            JournalEvent::Open(Box::new(OpenEvent {
                v: journal::FORMAT_VERSION,
                booted: Some(SystemClock.booted()),
                bytes,
                messages,
                ..open_event
            })),
        );
        Ok((writer, report))
    }

    /// Records a `recovered` event when the journal says that there were lines and their file is
    /// gone. (A seal or a removal records that it takes the file, before it does.)
    fn report_missing_lines(&mut self, now: UnixNanos) {
        match journal::read(self.journal.path()) {
            Ok(entries) => {
                let checkpoints = Checkpoints::from_journal(&entries);
                if checkpoints.is_empty() {
                    // A new hour, as most. The look for parts below asks for each of their names.
                    return;
                }
                if let Some(part) = self.find_unrecorded_part(&entries) {
                    let Mark { bytes, messages, .. } = checkpoints.last().unwrap_or_default();
                    self.record_part(now, ContinuedEvent { part, bytes, messages });
                    return;
                }
                let loss = checkpoints.assess_loss(LinePosition::default());
                if loss.lost > 0 {
                    self.record_event(now, JournalEvent::Recovered(loss));
                }
            }
            Err(error) => {
                self.journal_error = Some(FileError::from_io("read", self.journal.path())(error));
            }
        }
    }

    /// Returns the number of the part that the lines became just before a crash.
    fn find_unrecorded_part(&self, journal: &[JournalEntry]) -> Option<u16> {
        let HourWriterOptions { dir, stem, .. } = &self.options;
        let path = stem.path(dir, self.hour, FileKind::Lines);
        let last = next_part_number(&path, FileKind::Part).ok()?.checked_sub(1)?;
        let part = FileKind::Part(last);
        let length = stem.path(dir, self.hour, part).metadata().ok()?.len();
        let found = FoundLines { unsealed: [(part, length)].into(), ..FoundLines::default() };
        RecordedLines::from_journal(journal).unrecorded_part(&found)
    }

    /// Takes over what the journal says of lines that cannot be opened.
    fn set_unopened(&mut self) {
        // A journal that cannot be read says nothing.
        let journal = journal::read(self.journal.path()).unwrap_or_default();
        let last = Checkpoints::from_journal(&journal).last().unwrap_or_default();
        self.unopened = LinePosition { bytes: last.bytes, messages: last.messages };
        self.all_synced = false;
    }

    /// Returns the file of the lines. Opens it, and records what was recovered, if it is not open.
    fn open_lines(
        &mut self,
        now: UnixNanos,
    ) -> Result<(&mut HourFile, Option<OpenReport>), FileError> {
        match &mut self.lines {
            Some(file) => Ok((file, None)),
            unopened @ None => {
                let HourWriterOptions { dir, stem, mode, .. } = &self.options;
                let (file, report) = HourFile::open(dir, stem, self.hour, *mode)?;
                if let Some(recovered) = report.recovered {
                    let event = JournalEvent::Recovered(recovered);
                    append_event(&mut self.journal, &mut self.journal_error, now, event);
                }
                Ok((unopened.insert(file), Some(report)))
            }
        }
    }

    /// Returns the hour.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// Returns the file of the lines; `None` as long as there are no lines.
    pub fn lines_file(&self) -> Option<&HourFile> {
        self.lines.as_ref()
    }

    /// Appends the lines. Returns a report when the file had to be opened.
    ///
    /// # Errors
    /// [`FileError`]: none of the lines is in the file.
    pub fn append(&mut self, received: ReceivedLines<'_>) -> Result<Option<OpenReport>, FileError> {
        let ReceivedLines { bytes: lines, messages, receipt, runs } = received;
        let Receipt { received, complete_until } = receipt;
        let syncs = self.options.sync_interval.is_some();
        let (file, mut report) = self.open_lines(received)?;
        match file.append(lines, messages) {
            Ok(()) if syncs => file.start_writeback(),
            Ok(()) => {}
            Err(error) if error.is_too_large() && file.is_clean() => {
                let is_empty = file.length() == 0;
                // Lines that are longer than files may be need no new one.
                if is_empty || lines.len() >= self.too_large_from {
                    self.too_large_from = self.too_large_from.min(lines.len());
                    return Err(error);
                }
                report = Some(self.begin_next_file(received)?);
                let appended = self.open_lines(received)?.0.append(lines, messages);
                if let Err(error) = appended {
                    self.too_large_from = lines.len();
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        if let Some(times) = &mut self.times
            && let Some(file) = &self.lines
        {
            let end = file.length();
            times.record(end - lines.len() as u64, end, runs);
        }
        self.first_received.get_or_insert(received);
        self.last_received = Some(received);
        // Of two connections that deliver the same, the one that is ahead counts. What lies ahead of
        // the receipt is from before the clock was set back.
        let ahead = self.complete_until.filter(|ahead| *ahead <= received);
        self.complete_until = ahead.max(Some(complete_until));
        Ok(report)
    }

    /// Makes the file of the lines, which can take no more, a part of the hour, and opens a new one.
    ///
    /// # Durability
    /// The lines are durable before the rename, and the event before there is a new file. After a
    /// crash in between the part is recognized by its length.
    fn begin_next_file(&mut self, now: UnixNanos) -> Result<OpenReport, FileError> {
        if self.options.sync_interval.is_some() {
            // A failure is in the journal.
            drop(self.sync_lines(now));
        }
        let HourWriterOptions { dir, stem, .. } = &self.options;
        let path = stem.path(dir, self.hour, FileKind::Lines);
        let number = next_part_number(&path, FileKind::Part)?;
        self.end_times(FileKind::TimesPart(number));
        rename_to_part(&path, FileKind::Part(number))?;
        let LinePosition { bytes, messages } = self.position();
        self.lines = None;
        self.record_part(now, ContinuedEvent { part: number, bytes, messages });
        let (_, report) = self.open_lines(now)?;
        Ok(OpenReport { continues: Some(number), ..report.unwrap_or_default() })
    }

    /// Records that the `.jsonl` has become a part.
    fn record_part(&mut self, now: UnixNanos, event: ContinuedEvent) {
        self.marked_bytes = 0;
        self.record_event(now, JournalEvent::Continued(event));
        if self.options.sync_interval.is_some()
            && let Err(error) = self.journal.sync()
        {
            self.journal_error = Some(error);
        }
    }

    /// Makes the time index that of a part of the hour, and begins a new one. A failure is kept for
    /// [`HourWriter::take_journal_error`].
    fn end_times(&mut self, part: FileKind) {
        let Some(times) = &mut self.times else { return };
        let path = self.options.stem.path(&self.options.dir, self.hour, FileKind::Times);
        let written = times.write();
        let ended = written.and_then(|()| rename_to_part(&path, part));
        self.times = new_times_writer(&self.options, self.hour);
        self.journal_error = ended.err().or(self.journal_error.take());
    }

    /// Appends an event to the journal. A failure is kept for [`HourWriter::take_journal_error`].
    pub fn record_event(&mut self, at: UnixNanos, event: JournalEvent) {
        append_event(&mut self.journal, &mut self.journal_error, at, event);
    }

    /// Syncs the lines if the sync interval has passed, records a mark if lines were appended and
    /// `mark_interval` has passed since the last mark, and writes the time index if `times_interval`
    /// has passed.
    ///
    /// # Errors
    /// The sync of the lines failed. A `sync_failed` event in the journal says so.
    pub fn sync_and_mark_due(
        &mut self,
        now: UnixNanos,
        mark_interval: Duration,
        times_interval: Duration,
    ) -> Result<(), FileError> {
        let is_due = |last: Instant, interval| last.elapsed() + TICK_SLACK >= interval;
        let sync_interval = self.options.sync_interval;
        let has_new_lines = self.position().bytes != self.marked_bytes;
        let mark_due = has_new_lines && is_due(self.last_mark, mark_interval);
        let sync_due = sync_interval.is_some_and(|interval| is_due(self.last_sync, interval));
        let lines_synced = if sync_due { self.sync_lines(now) } else { Ok(()) };
        if mark_due {
            self.write_mark(now);
        }
        let indexed = self
            .times
            .as_mut()
            .map_or(Ok(()), |times| times.write_due(times_interval.saturating_sub(TICK_SLACK)));
        let flushed = self.journal.flush();
        let journaled =
            flushed.and_then(|()| sync_interval.map_or(Ok(()), |_| self.journal.sync()));
        self.journal_error = journaled.err().or(indexed.err()).or(self.journal_error.take());
        lines_synced
    }

    fn write_mark(&mut self, now: UnixNanos) {
        let LinePosition { bytes, messages } = self.position();
        let synced = self.lines.as_ref().map_or(0, HourFile::sync_watermark);
        let synced = (synced < bytes).then_some(synced);
        // Not the time now: a run that is killed loses what it had not read or written.
        let at = self.complete_until.unwrap_or(now);
        self.record_event(at, JournalEvent::Mark(Mark { bytes, messages, synced }));
        self.marked_bytes = bytes;
        self.last_mark = Instant::now();
    }

    /// Returns whether there is something to mark, to sync or to write.
    pub fn needs_tick(&self) -> bool {
        let syncs = self.options.sync_interval.is_some();
        self.position().bytes != self.marked_bytes
            || (syncs && self.is_dirty())
            || self.has_pending_events()
            || self.times.as_ref().is_some_and(TimesWriter::has_pending)
    }

    /// Returns whether there are events that the journal has not taken.
    pub fn has_pending_events(&self) -> bool {
        self.journal.has_pending() || self.journal_error.is_some()
    }

    /// Returns whether there are lines or events that are not known to be durable.
    pub fn is_dirty(&self) -> bool {
        self.has_unsynced_lines() || self.journal.needs_sync()
    }

    fn has_unsynced_lines(&self) -> bool {
        self.lines.as_ref().is_some_and(|file| file.sync_watermark() < file.length())
    }

    /// Records a sync of the whole file system, with its error if it failed.
    pub fn record_file_system_sync(&mut self, now: UnixNanos, error: Option<&FileError>) {
        if let Some(file) = self.lines.as_mut().filter(|file| file.sync_watermark() < file.length())
        {
            let range = file.sync_watermark()..file.length();
            match error {
                None => file.record_file_system_sync(),
                Some(_) => file.record_failed_file_system_sync(),
            }
            self.record_sync(now, range, error);
        }
        if error.is_none() {
            self.journal.mark_synced();
        }
    }

    /// Syncs the lines. Without lines, or without new ones, there is nothing to sync.
    fn sync_lines(&mut self, now: UnixNanos) -> Result<(), FileError> {
        let Some(file) = self.lines.as_mut().filter(|file| file.sync_watermark() < file.length())
        else {
            return Ok(());
        };
        let range = file.sync_watermark()..file.length();
        match file.sync() {
            Ok(Support::Done) => {
                self.record_sync(now, range, None);
                Ok(())
            }
            Ok(Support::Missing) => {
                self.last_sync = Instant::now();
                self.all_synced = false;
                Ok(())
            }
            // Nothing was attempted, and the next tick tries again.
            Err(error) if error.is_shortage_of_descriptors() => Err(error),
            Err(error) => {
                self.record_sync(now, range, Some(&error));
                Err(error)
            }
        }
    }

    /// Records that this range of the lines was synced, or that its sync failed.
    fn record_sync(&mut self, now: UnixNanos, range: Range<u64>, error: Option<&FileError>) {
        self.last_sync = Instant::now();
        if let Some(error) = error {
            let Range { start: from, end: to } = range;
            let since = self.synced_at;
            let error = error.source.to_string();
            self.record_event(now, JournalEvent::SyncFailed { from, to, since, error });
            self.all_synced = false;
        }
        self.synced_at = now;
    }

    /// Closes the file handles until they are needed again.
    pub fn close_handles(&mut self) {
        if let Some(file) = &mut self.lines {
            file.close_handle();
        }
        self.journal.close_handle();
    }

    /// Gives the hour up without a `closed` event. Returns what of its journal is not written.
    pub fn give_up(mut self) -> UnwrittenJournal {
        if let Some(times) = &mut self.times {
            // Lines without a record are known by the marks.
            drop(times.write());
        }
        UnwrittenJournal {
            carried_over: self.journal.take_carried_over(),
            is_whole: !self.journal.has_written(),
        }
    }

    /// Syncs the lines and records a `closed` event, which says that the hour is complete. Returns
    /// the failures: the lines are in the file nevertheless, but may not be durable.
    pub fn close(
        mut self,
        now: UnixNanos,
        reason: CloseReason,
        journal_sync: JournalSync,
    ) -> CloseErrors {
        let syncs = self.options.sync_interval.is_some();
        let lines_synced = if syncs { self.sync_lines(now) } else { Ok(()) };
        if self.lines.is_none() && self.unopened != LinePosition::default() {
            // Whoever had locked the lines may have sealed them.
            self.set_unopened();
        }
        let LinePosition { bytes, messages } = self.position();
        self.record_event(
            now,
            JournalEvent::Closed(ClosedEvent {
                bytes,
                messages,
                first: self.first_received,
                last: self.last_received,
                stop: reason == CloseReason::Stopped,
                durable: syncs && self.all_synced,
            }),
        );
        let journaled = match journal_sync {
            JournalSync::Now if syncs => self.journal.sync(),
            JournalSync::Now | JournalSync::Deferred => Ok(()),
        };
        let indexed = match &mut self.times {
            Some(times) if syncs && journal_sync == JournalSync::Now => times.sync(),
            Some(times) => times.write(),
            None => Ok(()),
        };
        CloseErrors {
            lines: lines_synced.err(),
            journal: journaled.err().or(indexed.err()).or(self.journal_error.take()),
            unwritten: self.give_up(),
        }
    }

    /// Returns the length and the number of the lines.
    fn position(&self) -> LinePosition {
        self.lines.as_ref().map_or(self.unopened, HourFile::position)
    }

    /// Takes the latest failure of the journal since the last call.
    pub fn take_journal_error(&mut self) -> Option<FileError> {
        self.journal_error.take()
    }

    /// Returns whether the names of the files still lead to them, and whether the lines are as they
    /// were written.
    pub fn placement(&self) -> Placement {
        if !self.journal.is_in_place() {
            return Placement::Gone;
        }
        self.lines.as_ref().map_or(Placement::InPlace, HourFile::placement)
    }
}

fn new_times_writer(options: &HourWriterOptions, hour: Hour) -> Option<TimesWriter> {
    let HourWriterOptions { dir, stem, mode, time_index, .. } = options;
    match time_index {
        TimeIndexing::On => {
            Some(TimesWriter::new(stem.path(dir, hour, FileKind::Times), *mode, hour))
        }
        TimeIndexing::Off => None,
    }
}

fn append_event(
    journal: &mut JournalWriter,
    journal_error: &mut Option<FileError>,
    at: UnixNanos,
    event: JournalEvent,
) {
    if let Err(error) = journal.append(at, event) {
        *journal_error = Some(error);
    }
}

/// Failures at the end of an hour.
#[derive(Debug)]
pub struct CloseErrors {
    /// The lines could not be made durable. They are in the file.
    pub lines: Option<FileError>,
    /// The journal could not be written.
    pub journal: Option<FileError>,
    /// The part of the journal that is not written.
    pub unwritten: UnwrittenJournal,
}

/// The part of an hour's journal that could not be written.
#[derive(Debug)]
pub struct UnwrittenJournal {
    /// Events for the next journal, which tell of those that this one lacks.
    pub carried_over: PendingEvents,
    /// True if no event was written, so that no file shows that the recorder opened the hour.
    pub is_whole: bool,
}
