//! The hour that is being recorded: its lines and its journal, written by one hand.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::disk::FileError;
use super::file_name::{FileKind, Stem};
use super::hour_file::{HourFile, OpenReport};
use super::journal;
use super::journal::{ClosedEvent, JournalEvent, JournalWriter, Mark, OpenEvent};
use super::tail_scan::Checkpoints;
use crate::base::time::{Hour, UnixNanos};

/// Ticks come about once a second: one that is early by this much counts.
const TICK_SLACK: Duration = Duration::from_millis(200);

/// Where an hour is written, and how.
#[derive(Debug, Clone)]
pub struct HourWriterOptions {
    /// The directory.
    pub dir: PathBuf,
    /// The first part of the file names.
    pub stem: Stem,
    /// The mode of new files.
    pub mode: u32,
    /// How often lines are made durable; `None` leaves it to the system.
    pub sync_interval: Option<Duration>,
}

/// An hour that is open: lines go to its `.jsonl`, which exists once there are any, and what happens
/// goes to its `.journal`.
#[derive(Debug)]
pub struct HourWriter {
    hour: Hour,
    lines: Option<HourFile>,
    journal: JournalWriter,
    /// The failure of the journal that was not told yet.
    journal_error: Option<FileError>,
    marked_bytes: u64,
    last_mark: Instant,
    last_sync: Instant,
    /// When the bytes that are durable were so.
    synced_at: UnixNanos,
    first_received: Option<UnixNanos>,
    last_received: Option<UnixNanos>,
    all_synced: bool,
}

impl HourWriter {
    /// Opens the hour. What a run before left torn is mended.
    ///
    /// # Errors
    /// Its lines, which exist, cannot be opened.
    pub fn open(
        place: &HourWriterOptions,
        hour: Hour,
        now: UnixNanos,
        opening: OpenEvent,
    ) -> Result<(Self, Option<OpenReport>), FileError> {
        let journal = place.stem.path(&place.dir, hour, FileKind::Journal);
        let mut open = Self {
            hour,
            lines: None,
            journal: JournalWriter::new(journal, place.mode),
            journal_error: None,
            marked_bytes: 0,
            last_mark: Instant::now(),
            last_sync: Instant::now(),
            synced_at: now,
            first_received: None,
            last_received: None,
            all_synced: true,
        };
        let lines = place.stem.path(&place.dir, hour, FileKind::Lines);
        let exists = lines.try_exists().map_err(FileError::from_io("look for", &lines))?;
        let found = if exists {
            Some(open.open_lines(place, now)?)
        } else {
            open.report_missing_lines(now);
            None
        };
        let (bytes, messages) = open.position();
        open.marked_bytes = bytes;
        open.record_event(
            now,
            JournalEvent::Open(Box::new(OpenEvent {
                v: journal::FORMAT_VERSION,
                bytes,
                messages,
                ..opening
            })),
        );
        Ok((open, found))
    }

    /// Says so when there were lines, and their file is gone. (Who seals an hour says that first.)
    fn report_missing_lines(&mut self, now: UnixNanos) {
        let claims =
            Checkpoints::from_journal(&journal::read(self.journal.path()).unwrap_or_default());
        let lost = claims.assess_loss(0, 0);
        if lost.lost > 0 {
            self.record_event(now, JournalEvent::Recovered(lost));
        }
    }

    fn open_lines(
        &mut self,
        place: &HourWriterOptions,
        now: UnixNanos,
    ) -> Result<OpenReport, FileError> {
        let (file, found) = HourFile::open(&place.dir, &place.stem, self.hour, place.mode)?;
        self.lines = Some(file);
        if let Some(recovered) = found.recovered {
            self.record_event(now, JournalEvent::Recovered(recovered));
        }
        Ok(found)
    }

    /// The hour.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// The lines, once there are any.
    pub fn lines_file(&self) -> Option<&HourFile> {
        self.lines.as_ref()
    }

    /// Appends whole lines, received then: so many. Gives what was found when the file had to be
    /// opened for them.
    ///
    /// # Errors
    /// Nothing of them is in the file.
    pub fn append(
        &mut self,
        place: &HourWriterOptions,
        received: UnixNanos,
        lines: &[u8],
        messages: u64,
    ) -> Result<Option<OpenReport>, FileError> {
        let opened = self.lines.is_none();
        let found = opened.then(|| self.open_lines(place, received)).transpose()?;
        if let Some(file) = &mut self.lines {
            file.append(lines, messages)?;
        }
        self.first_received.get_or_insert(received);
        self.last_received = Some(received);
        Ok(found)
    }

    /// Notes an event in the journal.
    pub fn record_event(&mut self, at: UnixNanos, event: JournalEvent) {
        let noted = self.journal.append(at, event);
        self.journal_error = noted.err().or(self.journal_error.take());
    }

    /// Makes lines durable and marks how far they have come, when that is due; marks not before
    /// `mark_interval` has passed.
    ///
    /// # Errors
    /// Lines could not be made durable. The journal says so.
    pub fn sync_and_mark_due(
        &mut self,
        place: &HourWriterOptions,
        now: UnixNanos,
        mark_interval: Duration,
    ) -> Result<(), FileError> {
        let due = |last: Instant, interval| last.elapsed() + TICK_SLACK >= interval;
        let moved = self.position().0 != self.marked_bytes;
        let mark = moved && due(self.last_mark, mark_interval);
        let sync = place.sync_interval.is_some_and(|interval| due(self.last_sync, interval));
        let synced = if sync { self.sync_lines(now) } else { Ok(()) };
        if mark {
            self.write_mark(now);
        }
        let written = self.journal.flush();
        let journalled =
            written.and_then(|()| place.sync_interval.map_or(Ok(()), |_| self.journal.sync()));
        self.journal_error = journalled.err().or(self.journal_error.take());
        synced
    }

    fn write_mark(&mut self, now: UnixNanos) {
        let (bytes, messages) = self.position();
        let synced = self.lines.as_ref().map_or(0, HourFile::sync_watermark);
        let synced = (synced < bytes).then_some(synced);
        // A time of receipt: with it the journal finds the lines of a minute.
        let at = self.last_received.unwrap_or(now);
        self.record_event(at, JournalEvent::Mark(Mark { bytes, messages, synced }));
        self.marked_bytes = bytes;
        self.last_mark = Instant::now();
    }

    /// Whether there is something that is not known to be durable.
    pub fn is_dirty(&self) -> bool {
        self.has_unsynced_lines() || self.journal.is_dirty()
    }

    fn has_unsynced_lines(&self) -> bool {
        self.lines.as_ref().is_some_and(|file| file.sync_watermark() < file.length())
    }

    /// Takes note of a sync of the whole file system: the error, where it failed.
    pub fn record_file_system_sync(&mut self, now: UnixNanos, error: Option<&FileError>) {
        if self.has_unsynced_lines()
            && let Some(file) = &mut self.lines
        {
            let (from, to) = (file.sync_watermark(), file.length());
            file.record_file_system_sync(error.is_none());
            self.record_sync(now, from, to, error);
        }
        if error.is_none() {
            self.journal.mark_synced();
        }
    }

    fn sync_lines(&mut self, now: UnixNanos) -> Result<(), FileError> {
        let Some(file) = self.lines.as_mut().filter(|file| file.sync_watermark() < file.length())
        else {
            return Ok(());
        };
        let (from, to) = (file.sync_watermark(), file.length());
        let synced = file.sync();
        self.record_sync(now, from, to, synced.as_ref().err());
        synced
    }

    fn record_sync(&mut self, now: UnixNanos, from: u64, to: u64, error: Option<&FileError>) {
        self.last_sync = Instant::now();
        if let Some(error) = error {
            let (since, error) = (self.synced_at.nanos(), error.source.to_string());
            self.record_event(now, JournalEvent::SyncFailed { from, to, since, error });
            self.all_synced = false;
        }
        self.synced_at = now;
    }

    /// Closes the handles until they are needed again.
    pub fn close_handles(&mut self) {
        if let Some(file) = &mut self.lines {
            file.close_handle();
        }
        self.journal.close_handle();
    }

    /// Leaves the hour: lines are made durable, and the journal says that it is whole. Its own last
    /// words are made durable unless `together` says that somebody else does it.
    ///
    /// # Errors
    /// Lines could not be made durable. They are with the kernel.
    pub fn close(
        mut self,
        place: &HourWriterOptions,
        now: UnixNanos,
        stop: bool,
        together: bool,
    ) -> CloseErrors {
        let synced = if place.sync_interval.is_some() { self.sync_lines(now) } else { Ok(()) };
        let (bytes, messages) = self.position();
        let nanos = |time: Option<UnixNanos>| time.map(UnixNanos::nanos);
        let (first, last) = (nanos(self.first_received), nanos(self.last_received));
        let durable = self.all_synced && place.sync_interval.is_some();
        self.record_event(
            now,
            JournalEvent::Closed(ClosedEvent { bytes, messages, first, last, stop, durable }),
        );
        let sync = place.sync_interval.is_some() && !together;
        let journalled = if sync { self.journal.sync() } else { Ok(()) };
        let journal = journalled.err().or(self.journal_error);
        CloseErrors { lines: synced, journal }
    }

    /// Bytes and number of the lines.
    fn position(&self) -> (u64, u64) {
        self.lines.as_ref().map_or((0, 0), |file| (file.length(), file.messages()))
    }

    /// What went wrong with the journal since this was last asked.
    pub fn take_journal_error(&mut self) -> Option<FileError> {
        self.journal_error.take()
    }

    /// Whether the names of the files still lead to them: nobody has removed or moved them.
    pub fn is_in_place(&self) -> bool {
        self.lines.as_ref().is_none_or(HourFile::is_in_place) && self.journal.is_in_place()
    }
}

/// What went wrong at the end of an hour.
#[derive(Debug)]
pub struct CloseErrors {
    /// Lines could not be made durable. They are with the kernel.
    pub lines: Result<(), FileError>,
    /// The journal could not be written.
    pub journal: Option<FileError>,
}
