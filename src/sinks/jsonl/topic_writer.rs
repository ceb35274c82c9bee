//! The writer of one topic's hour files.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::output_dir::RunPlace;
use crate::archive::disk::FileError;
use crate::archive::file_name::Stem;
use crate::archive::hour_file::OpenReport;
use crate::archive::hour_writer::{
    CloseErrors, CloseReason, HourWriter, HourWriterOptions, JournalSync, UnwrittenJournal,
};
use crate::archive::journal::{JournalEntry, JournalEvent, OpenEvent, PendingEvents};
use crate::archive::locked_handle::Placement;
use crate::archive::received_lines::ReceivedLines;
use crate::archive::tail_repair::TailRepair;
use crate::base::time::{Hour, UnixNanos};
use crate::metrics::{PipelineStats, TopicActivity};
use crate::plugin::SourceEvent;

/// The log level at which hours are opened and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HourLogLevel {
    /// A sink with one file.
    Info,
    /// A sink with a file for each of thousands of topics, which would fill the log.
    Debug,
}

/// The writer of the hour files that have one stem: one hour after the other.
pub(super) struct TopicWriter {
    options: HourWriterOptions,
    /// The topic of the lines, if the source subscribed to exactly this topic. Of events that name
    /// topics, its journal then records only those that concern it.
    subscribed_topic: Option<String>,
    log_level: HourLogLevel,
    /// The messages of the topic, for the status.
    activity: Option<Arc<TopicActivity>>,
    hour: Option<Box<HourWriter>>,
    /// `false` once the topic is not wanted any more: then no hour is opened but for its lines.
    is_recorded: bool,
    /// The first event of the next journal.
    open_event: OpenEvent,
    /// Topics that are inactive although the connections are up, where the lines are of several.
    topics_down: BTreeSet<String>,
    /// Events that happened while no hour could be opened.
    pending_events: PendingEvents,
    /// The stall, while lines cannot be written.
    stall: Option<WriteStall>,
    /// Rejected messages that were written and are not yet in the journal.
    unjournaled_rejects: u64,
}

/// A time in which lines cannot be written.
struct WriteStall {
    since: UnixNanos,
    error: String,
    /// `true` when the journal has the event. There is no journal where the hour cannot be opened.
    is_journaled: bool,
}

impl TopicWriter {
    /// Returns a writer without an open hour.
    pub(super) fn new(
        options: HourWriterOptions,
        subscribed_topic: Option<String>,
        open_event: OpenEvent,
        log_level: HourLogLevel,
    ) -> Self {
        Self {
            options,
            subscribed_topic,
            log_level,
            activity: None,
            hour: None,
            is_recorded: true,
            open_event,
            topics_down: BTreeSet::new(),
            pending_events: PendingEvents::default(),
            stall: None,
            unjournaled_rejects: 0,
        }
    }

    /// Returns the topic of the lines, if the source subscribed to exactly this topic.
    pub(super) fn subscribed_topic(&self) -> Option<&str> {
        self.subscribed_topic.as_deref()
    }

    /// Sets what the writes are recorded in for the status.
    pub(super) fn set_activity(&mut self, activity: Option<Arc<TopicActivity>>) {
        self.activity = activity;
    }

    /// Records that messages are written.
    pub(super) fn record_activity(&self, received: UnixNanos) {
        if let Some(activity) = &self.activity {
            activity.record(received);
        }
    }

    /// Returns the first part of the file names.
    pub(super) fn stem(&self) -> &Stem {
        &self.options.stem
    }

    /// Replaces the first part of the file names, before the first hour is opened.
    pub(super) fn set_stem(&mut self, stem: Stem) {
        self.options.stem = stem;
    }

    /// Returns whether the hours of the topic are recorded, also those without lines.
    pub(super) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    /// Begins to record the hours of a topic that was just added to the source.
    pub(super) fn begin_recording(&mut self, topic: &str) {
        self.is_recorded = true;
        self.subscribed_topic = Some(topic.to_owned());
        self.set_connected(false);
    }

    /// Ends the recording with the open hour: the topic is not wanted any more.
    pub(super) fn end_recording(&mut self) {
        self.is_recorded = false;
        self.set_connected(false);
    }

    /// Sets the configuration and the endpoint that the next journal names.
    pub(super) fn set_config(&mut self, config: &str, endpoint: &str) {
        config.clone_into(&mut self.open_event.config);
        endpoint.clone_into(&mut self.open_event.source);
    }

    /// Sets the topics that the next journal names.
    pub(super) fn set_topics(&mut self, topics: Vec<String>) {
        self.open_event.topics = topics;
    }

    /// Returns whether `hour` is not the open hour, and must be, or another hour is open.
    pub(super) fn is_overdue(&self, hour: Hour) -> bool {
        match &self.hour {
            Some(open) => open.hour() != hour,
            None => self.is_recorded,
        }
    }

    /// Returns whether the last write failed.
    pub(super) fn is_stalled(&self) -> bool {
        self.stall.is_some()
    }

    /// Takes `hour` out of the writer if it is open. [`TopicWriter::set_hour`] puts it back.
    pub(super) fn take_hour(&mut self, hour: Hour) -> Option<Box<HourWriter>> {
        self.hour.take_if(|open| open.hour() == hour)
    }

    /// Opens the hour of `time`. The journal of the hour begins with the events that are pending.
    ///
    /// # Errors
    /// The lines of the hour cannot be opened. Pending events stay pending.
    pub(super) fn open_hour(
        &mut self,
        time: UnixNanos,
        stats: &PipelineStats,
    ) -> Result<Box<HourWriter>, FileError> {
        let open_event = OpenEvent {
            part: self.open_event.part + 1,
            topics_down: self.topics_down.iter().cloned().collect(),
            ..self.open_event.clone()
        };
        let hour = Hour::containing(time);
        let (mut open, report) = HourWriter::open(&self.options, hour, time, open_event)?;
        self.open_event.part += 1;
        self.open_event.previous = None;
        log_opened(&open, report, self.log_level);
        for JournalEntry { t, event } in self.pending_events.iter() {
            open.record_event(t, event);
        }
        self.pending_events.clear();
        if let Some(error) = open.take_journal_error() {
            stats.report_journal_error(&error);
        }
        Ok(Box::new(open))
    }

    /// Makes `hour` the open hour and returns it for writing.
    pub(super) fn set_hour(&mut self, hour: Box<HourWriter>) -> OpenHour<'_> {
        OpenHour { hour: self.hour.insert(hour), stall: &mut self.stall, log_level: self.log_level }
    }

    /// Closes the open hour, if there is one, and makes its lines durable. The hour is closed also
    /// when that fails: the lines are with the kernel already.
    ///
    /// # Errors
    /// Lines may not be durable.
    pub(super) fn close_hour(
        &mut self,
        now: UnixNanos,
        reason: CloseReason,
        journal_sync: JournalSync,
        stats: &PipelineStats,
    ) -> Result<(), FileError> {
        self.journal_rejected(now);
        let Some(open) = self.hour.take() else { return Ok(()) };
        if let Some(lines) = open.lines_file() {
            let bytes = lines.length();
            let messages = lines.messages();
            let file = lines.path().display();
            match self.log_level {
                HourLogLevel::Info => info!(%file, bytes, messages, "hour closed"),
                HourLogLevel::Debug => debug!(%file, bytes, messages, "hour closed"),
            }
        }
        let CloseErrors { lines, journal, unwritten } = open.close(now, reason, journal_sync);
        self.carry_over(&unwritten);
        if let Some(error) = journal {
            stats.report_journal_error(&error);
        }
        lines.map_or(Ok(()), Err)
    }

    /// Keeps what the next journal has to say of events that could not be written.
    fn carry_over(&mut self, unwritten: &UnwrittenJournal) {
        self.pending_events.append(&unwritten.carried_over);
        if unwritten.is_whole {
            // Readers take a number that they do not find for an hour that was removed.
            self.open_event.part -= 1;
        }
    }

    /// Closes the open hour to go on in another. An error is logged, since it must not hold up the
    /// next hour.
    pub(super) fn close_hour_or_log(
        &mut self,
        now: UnixNanos,
        journal_sync: JournalSync,
        stats: &PipelineStats,
    ) {
        if let Err(error) = self.close_hour(now, CloseReason::Rolled, journal_sync, stats) {
            warn!(%error, cause = %error.source, "the lines of the closed hour may not be durable");
        }
    }

    /// Gives up the open hour when somebody removed or moved a file of it, since lines would go
    /// where nobody finds them, or changed the lines. The next message opens the file again, and
    /// checks it, or begins a new one. Returns whether the hour was given up.
    pub(super) fn ensure_in_place(&mut self) -> bool {
        let Some(open) = &self.hour else { return false };
        let placement = open.placement();
        if placement == Placement::InPlace {
            return false;
        }
        let Some(given_up) = self.hour.take() else { return false };
        if let Placement::Resized { found } = placement
            && let Some(lines) = given_up.lines_file()
        {
            let file = lines.path().display();
            let written = lines.length();
            error!(%file, written, found, "another program has written to the file or cut it off: it has another length in bytes than what was written; it is opened again, and its journal says what is missing");
        } else {
            let dir = self.options.dir.display();
            let hour = given_up.hour();
            error!(%dir, %hour, "a file of the open hour was removed or moved away; the next message begins a new one");
        }
        self.carry_over(&given_up.give_up());
        true
    }

    /// Reports the last error of the open journal, if there is one. A journal that cannot be
    /// written does not hold up the lines.
    pub(super) fn report_journal_error(&mut self, stats: &PipelineStats) {
        if let Some(error) = self.hour.as_mut().and_then(|open| open.take_journal_error()) {
            stats.report_journal_error(&error);
        }
    }

    /// Records the event in the open journal. While no hour is open, the event waits for the next
    /// journal.
    pub(super) fn record_event(&mut self, at: UnixNanos, event: JournalEvent) {
        match &event {
            JournalEvent::Up { .. } => self.set_connected(true),
            JournalEvent::Down { .. } => self.set_connected(false),
            _ => {}
        }
        match &mut self.hour {
            Some(open) => open.record_event(at, event),
            None => self.pending_events.push(at, event),
        }
    }

    /// Sets the place of the run, with which the next journal begins.
    pub(super) fn set_run_place(&mut self, place: RunPlace) {
        self.open_event.run_number = place.run_number;
        self.open_event.previous = place.previous;
    }

    /// Sets whether the next journal begins with a connected source.
    pub(super) fn set_connected(&mut self, connected: bool) {
        self.open_event.connected = connected;
    }

    /// Sets the inactive topics with which the next journal begins.
    pub(super) fn set_topics_down(&mut self, topics: BTreeSet<String>) {
        self.topics_down = topics;
    }

    /// Applies an event to the inactive topics with which the next journal begins. There may be as
    /// many such events as topics.
    pub(super) fn track_topics_down(&mut self, event: &SourceEvent) {
        match event {
            SourceEvent::TopicDown { topic, .. } => drop(self.topics_down.insert(topic.clone())),
            SourceEvent::Subscribed { topics, .. } => {
                for topic in topics.iter() {
                    self.topics_down.remove(topic);
                }
            }
            _ => {}
        }
    }

    /// Counts rejected messages that were written, for the next journal entry about them.
    pub(super) fn count_rejects(&mut self, messages: u64) {
        self.unjournaled_rejects += messages;
    }

    /// Records that lines cannot be written, unless that is known already.
    pub(super) fn record_stall(&mut self, error: String, since: UnixNanos) {
        if self.stall.is_some() {
            return;
        }
        if let Some(open) = &mut self.hour {
            open.record_event(since, JournalEvent::Stall { error: error.clone() });
        }
        self.stall = Some(WriteStall { since, error, is_journaled: self.hour.is_some() });
    }

    /// Records that the lines of the open hour are no longer waited for: what follows is written to
    /// another file.
    pub(super) fn end_stall(&mut self, now: UnixNanos) {
        if let Some(WriteStall { since, error, is_journaled }) = self.stall.take() {
            if !is_journaled {
                self.record_event(since, JournalEvent::Stall { error });
            }
            self.record_event(now, JournalEvent::Resume);
        }
    }

    /// Writes marks and syncs lines, where that is due.
    ///
    /// # Errors
    /// Lines may not be durable.
    pub(super) fn tick(
        &mut self,
        now: UnixNanos,
        mark_interval: Duration,
        times_interval: Duration,
        stats: &PipelineStats,
    ) -> Result<(), FileError> {
        self.journal_rejected(now);
        let Some(open) = &mut self.hour else { return Ok(()) };
        let synced = open.sync_and_mark_due(now, mark_interval, times_interval);
        self.report_journal_error(stats);
        synced
    }

    /// Returns whether the next tick has something to do, apart from the checks of each tick.
    pub(super) fn needs_tick(&self) -> bool {
        self.stall.is_some()
            || self.unjournaled_rejects > 0
            || self.hour.as_ref().is_some_and(|open| open.needs_tick())
    }

    fn journal_rejected(&mut self, now: UnixNanos) {
        let messages = std::mem::take(&mut self.unjournaled_rejects);
        if messages > 0 {
            self.record_event(now, JournalEvent::Rejected { messages });
        }
    }

    /// Returns whether all lines and events so far are with the operating system.
    pub(super) fn is_written(&self) -> bool {
        self.stall.is_none()
            && self.pending_events.is_empty()
            && self.hour.as_ref().is_none_or(|open| !open.has_pending_events())
    }

    /// Returns whether the open hour has bytes that are not known to be durable.
    pub(super) fn is_dirty(&self) -> bool {
        self.hour.as_ref().is_some_and(|open| open.is_dirty())
    }

    /// Records the result of a sync of the whole file system for the open hour.
    pub(super) fn record_file_system_sync(&mut self, now: UnixNanos, error: Option<&FileError>) {
        if let Some(open) = &mut self.hour {
            open.record_file_system_sync(now, error);
        }
    }

    /// Closes the file descriptors of the open hour until the next write or event.
    pub(super) fn close_handles(&mut self) {
        if let Some(open) = &mut self.hour {
            open.close_handles();
        }
    }
}

/// The open hour of a [`TopicWriter`].
pub(super) struct OpenHour<'a> {
    hour: &'a mut HourWriter,
    stall: &'a mut Option<WriteStall>,
    log_level: HourLogLevel,
}

impl OpenHour<'_> {
    /// Appends the lines.
    ///
    /// # Errors
    /// None of the lines is in the file.
    pub(super) fn append(&mut self, lines: ReceivedLines<'_>) -> Result<(), FileError> {
        if let Some(report) = self.hour.append(lines)? {
            log_opened(self.hour, Some(report), self.log_level);
        }
        Ok(())
    }

    /// Records that lines can be written again, if there was a stall.
    pub(super) fn record_resume(&mut self, now: UnixNanos) {
        if let Some(WriteStall { since, error, is_journaled }) = self.stall.take() {
            if !is_journaled {
                self.hour.record_event(since, JournalEvent::Stall { error });
            }
            self.hour.record_event(now, JournalEvent::Resume);
        }
    }
}

/// Logs that an hour was opened, and the repairs that its lines needed. An hour without lines is
/// logged with its first line.
fn log_opened(open: &HourWriter, report: Option<OpenReport>, log_level: HourLogLevel) {
    let Some(lines) = open.lines_file() else { return };
    let file = lines.path().display();
    let report = report.unwrap_or_default();
    match report.repair {
        Some(TailRepair::Truncated { bytes, lines: 0, kept_in }) => {
            let kept_in = kept_in.display();
            warn!(%file, bytes, %kept_in, "torn last line cut");
        }
        Some(TailRepair::Truncated { bytes, lines, kept_in }) => {
            let kept_in = kept_in.display();
            error!(%file, bytes, lines, %kept_in, "a power cut left zeros amid the lines: they and all lines behind them were moved out of the file");
        }
        Some(TailRepair::LineFeedAdded) => warn!(%file, "line feed added to the last line"),
        None => {}
    }
    if let Some(part) = report.continues {
        info!(%file, part, "the file can take no more lines: it is a part of the hour now, and lines go on in a new file");
    }
    if let Some(recovered) = report.recovered.filter(|recovered| recovered.lost > 0) {
        let since = recovered.since;
        error!(%file, messages = recovered.lost, %since, "lines that were written are gone");
    }
    let bytes = lines.length();
    let messages = lines.messages();
    match log_level {
        HourLogLevel::Info => info!(%file, bytes, messages, "hour opened"),
        HourLogLevel::Debug => debug!(%file, bytes, messages, "hour opened"),
    }
}
