//! The hours of one stem, one after the other.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::archive::disk::FileError;
use crate::archive::hour_file::Found;
use crate::archive::journal::{Event, Open, Waiting};
use crate::archive::open_hour::{Left, OpenHour, Place};
use crate::archive::tail::Mended;
use crate::clock::{Hour, UnixNanos};
use crate::errors::error_chain;
use crate::plugin::BoxError;
use crate::stats::Stats;

/// What is written under one stem.
pub(super) struct Track {
    pub(super) place: Place,
    topic: Option<String>,
    /// Whether the topic is spelled as it was asked for, so that it is told of that alone.
    pub(super) is_asked_for: bool,
    /// Whether the log would be full of it.
    one_of_many: bool,
    current: Option<OpenHour>,
    /// What every journal says of this recording.
    opening: Open,
    /// Events that came while no hour could be opened.
    waiting: Waiting,
    /// Since when and why lines cannot be written, while that is so.
    stall: Option<Stall>,
    /// Messages set aside and not yet in the journal.
    pub(super) rejected: u64,
    /// When it was last needed, as the sink counts; and whether it has files open.
    pub(super) used: u64,
    pub(super) awake: bool,
}

struct Stall {
    since: UnixNanos,
    error: String,
    /// Whether the journal has it. There is none where the hour cannot be opened.
    noted: bool,
}

impl Track {
    pub(super) fn new(
        place: Place,
        topic: Option<String>,
        opening: Open,
        one_of_many: bool,
    ) -> Self {
        Self {
            place,
            topic,
            is_asked_for: false,
            one_of_many,
            current: None,
            opening,
            waiting: Waiting::default(),
            stall: None,
            rejected: 0,
            used: 0,
            awake: false,
        }
    }

    /// The topic of its lines, if they have one.
    pub(super) fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Whether this hour is open.
    pub(super) fn is_at(&self, hour: Hour) -> bool {
        self.current.as_ref().is_some_and(|current| current.hour() == hour)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// Opens the hour of this time; none must be open.
    pub(super) fn open(&mut self, time: UnixNanos, stats: &Stats) -> Result<(), FileError> {
        let opening = Open { part: self.opening.part + 1, ..self.opening.clone() };
        let hour = Hour::containing(time);
        let (mut open, found) = OpenHour::open(&self.place, hour, time, opening)?;
        self.opening.part += 1;
        report(&open, found, self.one_of_many);
        for (t, event) in self.waiting.all() {
            open.note(t, event);
        }
        self.waiting.clear();
        self.current = Some(open);
        self.mind_journal(stats);
        Ok(())
    }

    /// Makes the open hour durable and closes it, also when the first fails: the lines are with
    /// the kernel already.
    pub(super) fn close(
        &mut self,
        now: UnixNanos,
        stop: bool,
        together: bool,
        stats: &Stats,
    ) -> Result<(), FileError> {
        self.note_rejected(now);
        let Some(open) = self.current.take() else { return Ok(()) };
        if let Some(lines) = open.lines() {
            let (bytes, messages) = (lines.length(), lines.messages());
            let file = lines.path().display();
            if self.one_of_many {
                debug!(%file, bytes, messages, "hour closed");
            } else {
                info!(%file, bytes, messages, "hour closed");
            }
        }
        let Left { lines, journal } = open.close(&self.place, now, stop, together);
        if let Some(error) = journal {
            stats.journal_failed(&error);
        }
        lines
    }

    /// The same to go on in another hour: what fails is reported, and no reason to hold that up.
    pub(super) fn leave(&mut self, now: UnixNanos, together: bool, stats: &Stats) {
        if let Err(error) = self.close(now, false, together, stats) {
            warn!(%error, cause = %error.source, "hour may not be durable");
        }
    }

    /// When somebody removed or moved away what is open, lines would go where nobody finds them:
    /// then the next message begins a new file.
    pub(super) fn ensure_in_place(&mut self) {
        if let Some(open) = &self.current
            && !open.is_in_place()
        {
            let (dir, hour) = (self.place.dir.display(), open.hour());
            error!(%dir, %hour, "a file of the open hour was removed or moved away, a new one will be begun");
            self.current = None;
        }
    }

    /// A journal that cannot be written holds nothing up, but is told of.
    pub(super) fn mind_journal(&mut self, stats: &Stats) {
        if let Some(error) = self.current.as_mut().and_then(OpenHour::journal_trouble) {
            stats.journal_failed(&error);
        }
    }

    /// Notes the event in the open hour; without one it waits.
    pub(super) fn note(&mut self, at: UnixNanos, event: Event) {
        match &mut self.current {
            Some(open) => open.note(at, event),
            None => self.waiting.push(at, event),
        }
    }

    /// Whether the source is connected, from the next hour on.
    pub(super) fn set_connected(&mut self, connected: bool) {
        self.opening.connected = connected;
    }

    /// Of which of several topics nothing comes, from the next hour on.
    pub(super) fn set_topics_down(&mut self, topics: Vec<String>) {
        self.opening.topics_down = topics;
    }

    /// Appends lines to the open hour.
    pub(super) fn append(
        &mut self,
        received: UnixNanos,
        lines: &[u8],
        messages: u64,
    ) -> Result<(), BoxError> {
        let Some(open) = &mut self.current else { return Ok(()) };
        if let Some(found) = open.append(&self.place, received, lines, messages)? {
            report(open, Some(found), self.one_of_many);
        }
        Ok(())
    }

    /// Notes that lines cannot be written, or can again.
    pub(super) fn end_write(
        &mut self,
        written: Result<(), BoxError>,
        now: UnixNanos,
    ) -> Result<(), BoxError> {
        match (written, self.stall.take()) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(stall)) => {
                if let Some(open) = &mut self.current {
                    if !stall.noted {
                        open.note(stall.since, Event::Stall { error: stall.error });
                    }
                    open.note(now, Event::Resume);
                }
                Ok(())
            }
            (Err(error), stall) => {
                self.stall = Some(stall.unwrap_or_else(|| self.stalls(&*error, now)));
                Err(error)
            }
        }
    }

    /// Lines cannot be written from now on.
    fn stalls(&mut self, error: &(dyn std::error::Error + 'static), since: UnixNanos) -> Stall {
        let error = error_chain(error);
        let noted = self.current.is_some();
        if let Some(open) = &mut self.current {
            open.note(since, Event::Stall { error: error.clone() });
        }
        Stall { since, error, noted }
    }

    /// Marks and syncs what is due.
    pub(super) fn tick(
        &mut self,
        now: UnixNanos,
        mark_interval: Duration,
        stats: &Stats,
    ) -> Result<(), FileError> {
        self.note_rejected(now);
        let Some(open) = &mut self.current else { return Ok(()) };
        let synced = open.tick(&self.place, now, mark_interval);
        self.mind_journal(stats);
        synced
    }

    fn note_rejected(&mut self, now: UnixNanos) {
        let messages = std::mem::take(&mut self.rejected);
        if messages > 0 {
            self.note(now, Event::Rejected { messages });
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.current.as_ref().is_some_and(OpenHour::is_dirty)
    }

    pub(super) fn synced_together(&mut self, now: UnixNanos, error: Option<&FileError>) {
        if let Some(open) = &mut self.current {
            open.synced_together(now, error);
        }
    }

    /// Closes its files until they are needed again.
    pub(super) fn rest(&mut self) {
        self.awake = false;
        if let Some(open) = &mut self.current {
            open.rest();
        }
    }
}

/// Tells in the log of an hour that was opened.
fn report(open: &OpenHour, found: Option<Found>, one_of_many: bool) {
    let Some(lines) = open.lines() else { return };
    let file = lines.path().display();
    let found = found.unwrap_or_default();
    match found.mended {
        Some(Mended::Cut { bytes, kept_in }) => {
            let kept_in = kept_in.display();
            warn!(%file, bytes, %kept_in, "torn last line cut");
        }
        Some(Mended::FeedAdded) => warn!(%file, "line feed added to the last line"),
        None => {}
    }
    if let Some(recovered) = found.recovered.filter(|recovered| recovered.lost > 0) {
        let since = UnixNanos::new(recovered.since);
        error!(%file, messages = recovered.lost, %since, "lines that were written are gone");
    }
    let (bytes, messages) = (lines.length(), lines.messages());
    if one_of_many {
        debug!(%file, bytes, messages, "hour opened");
    } else {
        info!(%file, bytes, messages, "hour opened");
    }
}
