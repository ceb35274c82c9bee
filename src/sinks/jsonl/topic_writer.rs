//! The hours of one stem, one after the other.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::archive::disk::FileError;
use crate::archive::hour_file::OpenReport;
use crate::archive::hour_writer::{
    CloseErrors, CloseReason, HourWriter, HourWriterOptions, JournalSync,
};
use crate::archive::journal::{JournalEvent, OpenEvent, PendingEvents};
use crate::archive::tail_repair::TailRepair;
use crate::base::error_chain::error_chain;
use crate::base::time::{Hour, UnixNanos};
use crate::metrics::PipelineStats;
use crate::plugin::BoxError;

/// What is written under one stem.
pub(super) struct TopicWriter {
    pub(super) options: HourWriterOptions,
    topic: Option<String>,
    /// Whether the topic is spelled as it was asked for, so that it is told of that alone.
    pub(super) is_subscribed_topic: bool,
    /// Whether the log would be full of it.
    is_one_of_many: bool,
    hour_writer: Option<HourWriter>,
    /// What every journal says of this recording.
    open_event: OpenEvent,
    /// Events that came while no hour could be opened.
    pending_events: PendingEvents,
    /// Since when and why lines cannot be written, while that is so.
    stall: Option<WriteStall>,
    /// Messages set aside and not yet in the journal.
    pub(super) unjournaled_rejects: u64,
    /// When it was last needed, as the sink counts; and whether it has files open.
    pub(super) last_used: u64,
    pub(super) is_open: bool,
}

struct WriteStall {
    since: UnixNanos,
    error: String,
    /// Whether the journal has it. There is none where the hour cannot be opened.
    is_journaled: bool,
}

impl TopicWriter {
    pub(super) fn new(
        place: HourWriterOptions,
        topic: Option<String>,
        opening: OpenEvent,
        one_of_many: bool,
    ) -> Self {
        Self {
            options: place,
            topic,
            is_subscribed_topic: false,
            is_one_of_many: one_of_many,
            hour_writer: None,
            open_event: opening,
            pending_events: PendingEvents::default(),
            stall: None,
            unjournaled_rejects: 0,
            last_used: 0,
            is_open: false,
        }
    }

    /// The topic of its lines, if they have one.
    pub(super) fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Whether this hour is open.
    pub(super) fn is_hour_open(&self, hour: Hour) -> bool {
        self.hour_writer.as_ref().is_some_and(|current| current.hour() == hour)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// Opens the hour of this time; none must be open.
    pub(super) fn open_hour(
        &mut self,
        time: UnixNanos,
        stats: &PipelineStats,
    ) -> Result<(), FileError> {
        let opening = OpenEvent { part: self.open_event.part + 1, ..self.open_event.clone() };
        let hour = Hour::containing(time);
        let (mut open, found) = HourWriter::open(&self.options, hour, time, opening)?;
        self.open_event.part += 1;
        log_opened(&open, found, self.is_one_of_many);
        for (t, event) in self.pending_events.iter() {
            open.record_event(t, event);
        }
        self.pending_events.clear();
        self.hour_writer = Some(open);
        self.report_journal_error(stats);
        Ok(())
    }

    /// Makes the open hour durable and closes it, also when the first fails: the lines are with
    /// the kernel already.
    pub(super) fn close_hour(
        &mut self,
        now: UnixNanos,
        stop: bool,
        together: bool,
        stats: &PipelineStats,
    ) -> Result<(), FileError> {
        self.journal_rejected(now);
        let Some(open) = self.hour_writer.take() else { return Ok(()) };
        if let Some(lines) = open.lines_file() {
            let (bytes, messages) = (lines.length(), lines.messages());
            let file = lines.path().display();
            if self.is_one_of_many {
                debug!(%file, bytes, messages, "hour closed");
            } else {
                info!(%file, bytes, messages, "hour closed");
            }
        }
        let reason = if stop { CloseReason::Stopped } else { CloseReason::Rolled };
        let journal_sync = if together { JournalSync::Deferred } else { JournalSync::Now };
        let CloseErrors { lines, journal } = open.close(now, reason, journal_sync);
        if let Some(error) = journal {
            stats.report_journal_error(&error);
        }
        lines.map_or(Ok(()), Err)
    }

    /// The same to go on in another hour: what fails is reported, and no reason to hold that up.
    pub(super) fn close_hour_or_log(
        &mut self,
        now: UnixNanos,
        together: bool,
        stats: &PipelineStats,
    ) {
        if let Err(error) = self.close_hour(now, false, together, stats) {
            warn!(%error, cause = %error.source, "hour may not be durable");
        }
    }

    /// When somebody removed or moved away what is open, lines would go where nobody finds them:
    /// then the next message begins a new file.
    pub(super) fn ensure_in_place(&mut self) {
        if let Some(open) = &self.hour_writer
            && !open.is_in_place()
        {
            let (dir, hour) = (self.options.dir.display(), open.hour());
            error!(%dir, %hour, "a file of the open hour was removed or moved away, a new one will be begun");
            self.hour_writer = None;
        }
    }

    /// A journal that cannot be written holds nothing up, but is told of.
    pub(super) fn report_journal_error(&mut self, stats: &PipelineStats) {
        if let Some(error) = self.hour_writer.as_mut().and_then(HourWriter::take_journal_error) {
            stats.report_journal_error(&error);
        }
    }

    /// Notes the event in the open hour; without one it waits.
    pub(super) fn record_event(&mut self, at: UnixNanos, event: JournalEvent) {
        match &mut self.hour_writer {
            Some(open) => open.record_event(at, event),
            None => self.pending_events.push(at, event),
        }
    }

    /// Whether the source is connected, from the next hour on.
    pub(super) fn set_connected(&mut self, connected: bool) {
        self.open_event.connected = connected;
    }

    /// Of which of several topics nothing comes, from the next hour on.
    pub(super) fn set_topics_down(&mut self, topics: Vec<String>) {
        self.open_event.topics_down = topics;
    }

    /// Appends lines to the open hour.
    pub(super) fn append(
        &mut self,
        received: UnixNanos,
        lines: &[u8],
        messages: u64,
    ) -> Result<(), BoxError> {
        let Some(open) = &mut self.hour_writer else { return Ok(()) };
        if let Some(found) = open.append(received, lines, messages)? {
            log_opened(open, Some(found), self.is_one_of_many);
        }
        Ok(())
    }

    /// Notes that lines cannot be written, or can again.
    pub(super) fn record_write_result(
        &mut self,
        written: Result<(), BoxError>,
        now: UnixNanos,
    ) -> Result<(), BoxError> {
        match (written, self.stall.take()) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(stall)) => {
                if let Some(open) = &mut self.hour_writer {
                    if !stall.is_journaled {
                        open.record_event(stall.since, JournalEvent::Stall { error: stall.error });
                    }
                    open.record_event(now, JournalEvent::Resume);
                }
                Ok(())
            }
            (Err(error), stall) => {
                self.stall = Some(stall.unwrap_or_else(|| self.begin_stall(&*error, now)));
                Err(error)
            }
        }
    }

    /// Lines cannot be written from now on.
    fn begin_stall(
        &mut self,
        error: &(dyn std::error::Error + 'static),
        since: UnixNanos,
    ) -> WriteStall {
        let error = error_chain(error);
        let noted = self.hour_writer.is_some();
        if let Some(open) = &mut self.hour_writer {
            open.record_event(since, JournalEvent::Stall { error: error.clone() });
        }
        WriteStall { since, error, is_journaled: noted }
    }

    /// Marks and syncs what is due.
    pub(super) fn tick(
        &mut self,
        now: UnixNanos,
        mark_interval: Duration,
        stats: &PipelineStats,
    ) -> Result<(), FileError> {
        self.journal_rejected(now);
        let Some(open) = &mut self.hour_writer else { return Ok(()) };
        let synced = open.sync_and_mark_due(now, mark_interval);
        self.report_journal_error(stats);
        synced
    }

    fn journal_rejected(&mut self, now: UnixNanos) {
        let messages = std::mem::take(&mut self.unjournaled_rejects);
        if messages > 0 {
            self.record_event(now, JournalEvent::Rejected { messages });
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.hour_writer.as_ref().is_some_and(HourWriter::is_dirty)
    }

    pub(super) fn record_file_system_sync(&mut self, now: UnixNanos, error: Option<&FileError>) {
        if let Some(open) = &mut self.hour_writer {
            open.record_file_system_sync(now, error);
        }
    }

    /// Closes its files until they are needed again.
    pub(super) fn close_handles(&mut self) {
        self.is_open = false;
        if let Some(open) = &mut self.hour_writer {
            open.close_handles();
        }
    }
}

/// Tells in the log of an hour that was opened.
fn log_opened(open: &HourWriter, found: Option<OpenReport>, one_of_many: bool) {
    let Some(lines) = open.lines_file() else { return };
    let file = lines.path().display();
    let found = found.unwrap_or_default();
    match found.repair {
        Some(TailRepair::Truncated { bytes, kept_in }) => {
            let kept_in = kept_in.display();
            warn!(%file, bytes, %kept_in, "torn last line cut");
        }
        Some(TailRepair::LineFeedAdded) => warn!(%file, "line feed added to the last line"),
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
