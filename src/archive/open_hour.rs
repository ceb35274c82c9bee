//! The hour that is being recorded: its lines and its journal, written by one hand.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::disk::FileError;
use super::hour_file::{Found, HourFile};
use super::journal::{self, Closed, Event, Mark, Open, Writer};
use super::layout::{Kind, Stem};
use super::recover::Claims;
use crate::clock::{Hour, UnixNanos};

/// Ticks come about once a second: one that is early by this much counts.
const SLACK: Duration = Duration::from_millis(200);

/// Where an hour is written, and how.
#[derive(Debug, Clone)]
pub struct Place {
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
pub struct OpenHour {
    hour: Hour,
    lines: Option<HourFile>,
    journal: Writer,
    /// The failure of the journal that was not told yet.
    journal_error: Option<FileError>,
    marked: u64,
    last_mark: Instant,
    last_sync: Instant,
    /// When the bytes that are durable were so.
    synced_at: UnixNanos,
    first: Option<UnixNanos>,
    last: Option<UnixNanos>,
    durable: bool,
}

impl OpenHour {
    /// Opens the hour. What a run before left torn is mended.
    ///
    /// # Errors
    /// Its lines, which exist, cannot be opened.
    pub fn open(
        place: &Place,
        hour: Hour,
        now: UnixNanos,
        opening: Open,
    ) -> Result<(Self, Option<Found>), FileError> {
        let journal = place.stem.path(&place.dir, hour, Kind::Journal);
        let mut open = Self {
            hour,
            lines: None,
            journal: Writer::new(journal, place.mode),
            journal_error: None,
            marked: 0,
            last_mark: Instant::now(),
            last_sync: Instant::now(),
            synced_at: now,
            first: None,
            last: None,
            durable: true,
        };
        let lines = place.stem.path(&place.dir, hour, Kind::Lines);
        let exists = lines.try_exists().map_err(FileError::of("look for", &lines))?;
        let found = if exists {
            Some(open.open_lines(place, now)?)
        } else {
            open.miss_lines(now);
            None
        };
        let (bytes, messages) = open.totals();
        open.marked = bytes;
        open.note(
            now,
            Event::Open(Box::new(Open { v: journal::VERSION, bytes, messages, ..opening })),
        );
        Ok((open, found))
    }

    /// Says so when there were lines, and their file is gone. (Who seals an hour says that first.)
    fn miss_lines(&mut self, now: UnixNanos) {
        let claims = Claims::of(&journal::read(self.journal.path()).unwrap_or_default());
        let lost = claims.lost(0, 0);
        if lost.lost > 0 {
            self.note(now, Event::Recovered(lost));
        }
    }

    fn open_lines(&mut self, place: &Place, now: UnixNanos) -> Result<Found, FileError> {
        let (file, found) = HourFile::open(&place.dir, &place.stem, self.hour, place.mode)?;
        self.lines = Some(file);
        if let Some(recovered) = found.recovered {
            self.note(now, Event::Recovered(recovered));
        }
        Ok(found)
    }

    /// The hour.
    pub fn hour(&self) -> Hour {
        self.hour
    }

    /// The lines, once there are any.
    pub fn lines(&self) -> Option<&HourFile> {
        self.lines.as_ref()
    }

    /// Appends whole lines, received then: so many. Gives what was found when the file had to be
    /// opened for them.
    ///
    /// # Errors
    /// Nothing of them is in the file.
    pub fn append(
        &mut self,
        place: &Place,
        received: UnixNanos,
        lines: &[u8],
        messages: u64,
    ) -> Result<Option<Found>, FileError> {
        let opened = self.lines.is_none();
        let found = opened.then(|| self.open_lines(place, received)).transpose()?;
        if let Some(file) = &mut self.lines {
            file.append(lines, messages)?;
        }
        self.first.get_or_insert(received);
        self.last = Some(received);
        Ok(found)
    }

    /// Notes an event in the journal.
    pub fn note(&mut self, at: UnixNanos, event: Event) {
        let noted = self.journal.note(at, event);
        self.journal_error = noted.err().or(self.journal_error.take());
    }

    /// Makes lines durable and marks how far they have come, when that is due; marks not before
    /// `mark_interval` has passed.
    ///
    /// # Errors
    /// Lines could not be made durable. The journal says so.
    pub fn tick(
        &mut self,
        place: &Place,
        now: UnixNanos,
        mark_interval: Duration,
    ) -> Result<(), FileError> {
        let due = |last: Instant, interval| last.elapsed() + SLACK >= interval;
        let moved = self.totals().0 != self.marked;
        let mark = moved && due(self.last_mark, mark_interval);
        let sync = place.sync_interval.is_some_and(|interval| due(self.last_sync, interval));
        let synced = if sync { self.sync(now) } else { Ok(()) };
        if mark {
            self.mark(now);
        }
        let written = self.journal.write();
        let journalled =
            written.and_then(|()| place.sync_interval.map_or(Ok(()), |_| self.journal.sync()));
        self.journal_error = journalled.err().or(self.journal_error.take());
        synced
    }

    fn mark(&mut self, now: UnixNanos) {
        let (bytes, messages) = self.totals();
        let synced = self.lines.as_ref().map_or(0, HourFile::synced);
        let synced = (synced < bytes).then_some(synced);
        // A time of receipt: with it the journal finds the lines of a minute.
        let at = self.last.unwrap_or(now);
        self.note(at, Event::Mark(Mark { bytes, messages, synced }));
        self.marked = bytes;
        self.last_mark = Instant::now();
    }

    /// Whether there is something that is not known to be durable.
    pub fn is_dirty(&self) -> bool {
        self.has_unsynced_lines() || self.journal.is_dirty()
    }

    fn has_unsynced_lines(&self) -> bool {
        self.lines.as_ref().is_some_and(|file| file.synced() < file.length())
    }

    /// Takes note of a sync of the whole file system: the error, where it failed.
    pub fn synced_together(&mut self, now: UnixNanos, error: Option<&FileError>) {
        if self.has_unsynced_lines()
            && let Some(file) = &mut self.lines
        {
            let (from, to) = (file.synced(), file.length());
            file.synced_together(error.is_none());
            self.note_sync(now, from, to, error);
        }
        if error.is_none() {
            self.journal.synced_together();
        }
    }

    fn sync(&mut self, now: UnixNanos) -> Result<(), FileError> {
        let Some(file) = self.lines.as_mut().filter(|file| file.synced() < file.length()) else {
            return Ok(());
        };
        let (from, to) = (file.synced(), file.length());
        let synced = file.sync();
        self.note_sync(now, from, to, synced.as_ref().err());
        synced
    }

    fn note_sync(&mut self, now: UnixNanos, from: u64, to: u64, error: Option<&FileError>) {
        self.last_sync = Instant::now();
        if let Some(error) = error {
            let (since, error) = (self.synced_at.nanos(), error.source.to_string());
            self.note(now, Event::SyncFailed { from, to, since, error });
            self.durable = false;
        }
        self.synced_at = now;
    }

    /// Closes the handles until they are needed again.
    pub fn rest(&mut self) {
        if let Some(file) = &mut self.lines {
            file.rest();
        }
        self.journal.rest();
    }

    /// Leaves the hour: lines are made durable, and the journal says that it is whole. Its own last
    /// words are made durable unless `together` says that somebody else does it.
    ///
    /// # Errors
    /// Lines could not be made durable. They are with the kernel.
    pub fn close(mut self, place: &Place, now: UnixNanos, stop: bool, together: bool) -> Left {
        let synced = if place.sync_interval.is_some() { self.sync(now) } else { Ok(()) };
        let (bytes, messages) = self.totals();
        let nanos = |time: Option<UnixNanos>| time.map(UnixNanos::nanos);
        let (first, last) = (nanos(self.first), nanos(self.last));
        let durable = self.durable && place.sync_interval.is_some();
        self.note(now, Event::Closed(Closed { bytes, messages, first, last, stop, durable }));
        let sync = place.sync_interval.is_some() && !together;
        let journalled = if sync { self.journal.sync() } else { Ok(()) };
        let journal = journalled.err().or(self.journal_error);
        Left { lines: synced, journal }
    }

    /// Bytes and number of the lines.
    fn totals(&self) -> (u64, u64) {
        self.lines.as_ref().map_or((0, 0), |file| (file.length(), file.messages()))
    }

    /// What went wrong with the journal since this was last asked.
    pub fn journal_trouble(&mut self) -> Option<FileError> {
        self.journal_error.take()
    }

    /// Whether the names of the files still lead to them: nobody has removed or moved them.
    pub fn is_in_place(&self) -> bool {
        self.lines.as_ref().is_none_or(HourFile::is_in_place) && self.journal.is_in_place()
    }
}

/// What went wrong at the end of an hour.
#[derive(Debug)]
pub struct Left {
    /// Lines could not be made durable. They are with the kernel.
    pub lines: Result<(), FileError>,
    /// The journal could not be written.
    pub journal: Option<FileError>,
}
