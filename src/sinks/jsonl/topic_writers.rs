//! All topic writers of one sink.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::clock_reading::ClockReading;
use super::folded_stems::FoldedStems;
use super::held_lines::{DiscardReport, HeldLines};
use super::held_lines_map::HeldLinesMap;
use super::jsonl_settings::JsonlSettings;
use super::layout::Layout;
use super::open_files::OpenFiles;
use super::output_dir::OutputDir;
use super::topic_writer::{OpenHour, TopicWriter};
use super::topic_writer_template::TopicWriterTemplate;
use super::writer_index::WriterIndex;
use super::writer_list::WriterList;
use crate::archive::directory::stems_with_hours;
use crate::archive::disk::{FailureScope, FileError, Support, sync_file_system};
use crate::archive::file_name::{FileKind, Stem, StemError};
use crate::archive::frontier::Frontier;
use crate::archive::hour_writer::{CloseReason, HourWriter, JournalSync, TICK_SLACK};
use crate::archive::journal::{DropCause, JournalEvent};
use crate::archive::received_lines::ReceivedLines;
use crate::base::descriptors::{shortages, wait_for_turn};
use crate::base::error_chain::error_chain;
use crate::base::log_budget::LogBudget;
use crate::base::time::{Clock, Hour, SystemClock, UnixNanos};
use crate::metrics::{PipelineStats, PluginStats};
use crate::plugin::{BoxError, BuildContext, ConfigChange};

/// Number of dirty writers from which on one sync of the file system replaces a sync of each file.
const FILE_SYSTEM_SYNC_THRESHOLD: usize = 16;
/// Shortest average time between two marks, over the journals of all writers.
const MIN_MARK_SPACING: Duration = Duration::from_millis(200);
/// Shortest average time between two writes to time indexes, over those of all writers.
const MIN_TIMES_SPACING: Duration = Duration::from_millis(5);
/// Number of writers a tick for which the sink checks that their files are in place.
const PLACE_CHECKS_PER_TICK: usize = 64;

/// The topic writers of one output directory.
///
/// There is always a first writer: the only one, or the one for lines without a topic. Writers are
/// added and never removed.
pub(super) struct TopicWriters {
    dir: OutputDir,
    layout: Layout,
    sync_interval: Option<Duration>,
    mark_interval: Duration,
    template: TopicWriterTemplate,
    writers: WriterList,
    index_by_topic: HashMap<String, WriterIndex>,
    /// The stems in lower case, where the file system does not tell upper from lower case.
    folded_stems: Option<FoldedStems>,
    open_files: OpenFiles,
    clock: ClockReading,
    last_sync: Instant,
    /// [`Support::Missing`] once the file system turns out to have no `syncfs`.
    syncs_file_system: Support,
    /// Position of the writer whose files are checked next.
    next_place_check: usize,
    /// Lines whose file cannot be written.
    held: HeldLinesMap,
    failure_log: LogBudget,
    /// `true` while the status shows a stall of this sink that the engine does not know of.
    is_stall_shown: bool,
    stats: Arc<PipelineStats>,
    plugin_stats: Arc<PluginStats>,
}

impl TopicWriters {
    /// Returns writers of which the first has the stem `first`. Touches no disk.
    pub(super) fn new(
        settings: JsonlSettings,
        layout: Layout,
        first: Stem,
        context: &BuildContext,
    ) -> Self {
        let template = TopicWriterTemplate::new(&settings, layout, context);
        let JsonlSettings { dir, file_mode, sync_interval, mark_interval, max_open_files, .. } =
            settings;
        let evictions = context.counter("rested");
        let open_files = OpenFiles::new(max_open_files, context.file_holders, evictions);
        let mut index_by_topic = HashMap::new();
        if layout != Layout::SingleFile
            && let Some(topic) = first.to_topic()
        {
            index_by_topic.insert(topic, WriterIndex::FIRST);
        }
        Self {
            dir: OutputDir::new(dir, file_mode),
            layout,
            sync_interval,
            mark_interval,
            writers: WriterList::new(template.first_writer(first)),
            template,
            index_by_topic,
            folded_stems: None,
            open_files,
            clock: ClockReading::new(UnixNanos::default()),
            last_sync: Instant::now(),
            syncs_file_system: Support::Done,
            next_place_check: 0,
            held: HeldLinesMap::default(),
            failure_log: LogBudget::default(),
            is_stall_shown: false,
            stats: Arc::clone(&context.stats),
            plugin_stats: Arc::clone(&context.plugin_stats),
        }
    }

    /// Creates and locks the directory, and adds the topics that a former run found in lines.
    ///
    /// # Errors
    /// See [`OutputDir::lock`].
    pub(super) fn open_dir(&mut self) -> Result<(), BoxError> {
        let place = self.dir.lock()?;
        self.template.set_run_place(place);
        self.writers.iter_mut().for_each(|writer| writer.set_run_place(place));
        if self.dir.is_case_folded() && self.folded_stems.is_none() {
            self.separate_stems();
        }
        self.open_files.limit_to_share();
        if self.layout == Layout::LineTopics {
            self.add_recent_topics();
        }
        Ok(())
    }

    /// Locks the directory again when somebody removed or moved it, or its lock.
    ///
    /// # Errors
    /// See [`OutputDir::lock`].
    pub(super) fn ensure_dir_locked(&mut self) -> Result<(), BoxError> {
        if self.dir.is_lock_lost() {
            let dir = self.dir.path().display();
            error!(%dir, "the lock was removed or moved away, taking it anew");
            self.open_dir()?;
        }
        Ok(())
    }

    /// Gives each writer a stem that differs from all others by more than the case of letters.
    fn separate_stems(&mut self) {
        let mut folded = FoldedStems::default();
        for writer in self.writers.iter_mut() {
            let stem = writer.stem().clone();
            if let Some(topic) = stem.to_topic() {
                writer.set_stem(folded.separate(&topic, stem));
            }
        }
        self.folded_stems = Some(folded);
    }

    /// Adds the topics of recent files: their journals must record it, too, when none of their
    /// lines is received.
    fn add_recent_topics(&mut self) {
        let now = Hour::containing(SystemClock.now());
        let is_recent = |hour: Hour| hour.end() >= now.start() && hour <= now;
        match stems_with_hours(self.dir.path(), is_recent) {
            Ok(stems) => {
                for stem in stems {
                    // A stem that no topic has belongs to somebody else's files.
                    if let Some(topic) = stem.to_topic()
                        && self.index_of(&topic).is_none()
                    {
                        self.add_topic(&topic, stem);
                    }
                }
            }
            Err(error) => {
                let dir = self.dir.path().display();
                error!(%dir, error = error_chain(&error), "cannot look for the topics of a former run; a topic is recorded from its next line on");
            }
        }
    }

    /// Adds a writer for the topic, whose file names begin with `stem`.
    pub(super) fn add_topic(&mut self, topic: &str, stem: Stem) -> WriterIndex {
        let stem = match &mut self.folded_stems {
            Some(folded) => folded.separate(topic, stem),
            None => stem,
        };
        let mut writer = self.template.topic_writer(topic, stem);
        let is_subscribed = writer.subscribed_topic().is_some();
        writer.set_activity(is_subscribed.then(|| self.stats.register_topic(topic)));
        let index = self.writers.push(writer);
        self.index_by_topic.insert(topic.to_owned(), index);
        index
    }

    /// Takes over another configuration. Topics that are added have files from now on, where the
    /// source labels messages.
    ///
    /// # Errors
    /// No file can be named after a topic. The others have their files.
    pub(super) fn change_config(&mut self, change: &ConfigChange) -> Result<(), StemError> {
        self.template.change_config(change);
        for writer in self.writers.iter_mut() {
            writer.set_config(&change.new, &change.endpoint);
        }
        if self.layout != Layout::SourceTopics {
            self.get_mut(WriterIndex::FIRST).set_topics(change.topics.clone());
            return Ok(());
        }
        let mut result = Ok(());
        for topic in &change.added {
            let index = match (self.index_of(topic), Stem::from_topic(topic)) {
                (Some(WriterIndex::FIRST), _) => continue,
                (Some(index), _) => index,
                (None, Ok(stem)) => self.add_topic(topic, stem),
                (None, Err(error)) => {
                    result = result.and(Err(error));
                    continue;
                }
            };
            let activity = self.stats.register_topic(topic);
            let writer = self.get_mut(index);
            writer.begin_recording(topic);
            writer.set_activity(Some(activity));
            self.writers.unshare(index);
        }
        result
    }

    /// Ends the recording of topics that have files of their own. Lines of them may follow.
    pub(super) fn end_topics(&mut self, topics: &[String]) {
        if self.layout != Layout::SourceTopics {
            return;
        }
        for topic in topics {
            if let Some(index) = self.index_of(topic).filter(|index| *index != WriterIndex::FIRST) {
                self.stats.forget_topic(topic);
                let writer = self.get_mut(index);
                writer.end_recording();
                writer.set_activity(None);
            }
        }
    }

    /// Returns the writer of the topic, or `None` when the topic has none of its own.
    pub(super) fn index_of(&self, topic: &str) -> Option<WriterIndex> {
        self.index_by_topic.get(topic).copied()
    }

    /// Returns the writers.
    pub(super) fn list(&self) -> &WriterList {
        &self.writers
    }

    /// Returns the writer at the index, for changes.
    pub(super) fn get_mut(&mut self, index: WriterIndex) -> &mut TopicWriter {
        self.writers.get_mut(index)
    }

    /// Returns the way in which lines are shared out.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Returns the path of the files, with `*` for the parts that differ.
    pub(super) fn file_pattern(&self) -> PathBuf {
        let stem = match self.layout {
            Layout::SingleFile => self.writers.get(WriterIndex::FIRST).stem().as_str(),
            Layout::SourceTopics | Layout::LineTopics => "*",
        };
        self.dir.path().join(format!("{stem}_*.jsonl"))
    }

    /// Returns the path of the writer's file of this kind for the hour of `time`.
    pub(super) fn file_path(&self, index: WriterIndex, time: UnixNanos, kind: FileKind) -> PathBuf {
        self.writers.get(index).stem().path(self.dir.path(), Hour::containing(time), kind)
    }

    /// Sets the wall clock.
    pub(super) fn set_clock(&mut self, now: UnixNanos) {
        self.clock = ClockReading::new(now);
    }

    /// Returns the time, by the wall clock of the last tick or event.
    pub(super) fn now(&self) -> UnixNanos {
        self.clock.now()
    }

    /// Sets whether journals of writers that are added later begin with a connected source.
    pub(super) fn set_connected(&mut self, connected: bool) {
        self.template.set_connected(connected);
    }

    /// Opens the hour of `time` unless it is open, and returns it for writing. Another hour that is
    /// open is closed first. `time` may lie a little before the wall clock.
    ///
    /// # Errors
    /// The hour cannot be opened.
    fn open_hour(&mut self, index: WriterIndex, time: UnixNanos) -> Result<OpenHour<'_>, BoxError> {
        self.mark_used(index);
        let hour = match self.writers.get_mut(index).take_hour(Hour::containing(time)) {
            Some(open) => open,
            None => self.open_next_hour(index, time)?,
        };
        Ok(self.writers.get_mut(index).set_hour(hour))
    }

    fn open_next_hour(
        &mut self,
        index: WriterIndex,
        time: UnixNanos,
    ) -> Result<Box<HourWriter>, BoxError> {
        self.close_hour_or_log(index, self.clock.now(), JournalSync::Now);
        // Without its directory no hour can be opened.
        self.ensure_dir_locked()?;
        let opened = self.writers.get_mut(index).open_hour(time, &self.stats);
        self.react_to_shortage();
        Ok(opened?)
    }

    /// Marks the files of the writer as just used. Closes those of the writer that was not used for
    /// the longest time, if there are too many.
    fn mark_used(&mut self, index: WriterIndex) {
        if let Some(evicted) = self.open_files.mark_used(index) {
            self.writers.get_mut(evicted).close_handles();
        }
    }

    /// Keeps fewer files open from now on when there was no file descriptor left, here or elsewhere
    /// in the process.
    fn react_to_shortage(&mut self) {
        for writer in self.open_files.react_to_shortages(shortages()) {
            self.writers.get_mut(writer).close_handles();
        }
    }

    /// Closes the files of the writer again if there are descriptors for none to stay open.
    fn close_after_use(&mut self, index: WriterIndex) {
        self.react_to_shortage();
        if self.open_files.keeps_none() {
            self.writers.get_mut(index).close_handles();
        }
    }

    /// Closes the open hour of a writer, to go on in another. Lines that still wait for its file are
    /// tried a last time.
    fn close_hour_or_log(&mut self, index: WriterIndex, now: UnixNanos, journal_sync: JournalSync) {
        if !self.held.is_empty() {
            // The error was logged, and is in the journal with the number of the lines.
            drop(self.settle_held(index));
        }
        self.writers.get_mut(index).close_hour_or_log(now, journal_sync, &self.stats);
    }

    /// Appends the lines to their hour.
    ///
    /// Where only the file of the lines is in trouble, they wait in memory, and the other writers
    /// go on. What finds no room there is given up, and the journal says so.
    ///
    /// # Errors
    /// The disk takes no lines: none of them is in the file. The journal has a stall.
    pub(super) fn append(
        &mut self,
        index: WriterIndex,
        lines: ReceivedLines<'_>,
    ) -> Result<(), BoxError> {
        if !self.held.is_empty() {
            let hour = Hour::containing(lines.receipt.received);
            if self.held.must_wait(index, hour) {
                self.held.push(index, lines);
                return Ok(());
            }
            if let Err(error) = self.write_held(index, hour) {
                return self.hold(index, lines, error);
            }
        }
        match self.write_lines(index, lines) {
            Ok(()) => Ok(()),
            Err(error) => self.hold(index, lines, error),
        }
    }

    /// Writes lines to the hour of their receipt, which is opened if it is not open.
    fn write_lines(
        &mut self,
        index: WriterIndex,
        lines: ReceivedLines<'_>,
    ) -> Result<(), BoxError> {
        let writer = self.writers.get_mut(index);
        if writer.is_stalled() {
            writer.ensure_in_place();
        }
        let mut written = self.append_to_hour(index, lines);
        if written.is_err() && self.writers.get_mut(index).ensure_in_place() {
            written = self.append_to_hour(index, lines);
        }
        self.writers.get_mut(index).report_journal_error(&self.stats);
        self.close_after_use(index);
        if written.is_ok() {
            self.writers.get_mut(index).record_activity(lines.receipt.received);
            self.held.end_refusal(index);
        }
        written
    }

    fn append_to_hour(
        &mut self,
        index: WriterIndex,
        lines: ReceivedLines<'_>,
    ) -> Result<(), BoxError> {
        let clock = self.clock;
        let mut open = self.open_hour(index, lines.receipt.received)?;
        open.append(lines)?;
        open.record_resume(clock.now());
        Ok(())
    }

    /// Lets the lines wait in memory, if `error` is a trouble of their file alone.
    ///
    /// # Errors
    /// The error is one of the disk. The journal has a stall.
    fn hold(
        &mut self,
        index: WriterIndex,
        lines: ReceivedLines<'_>,
        error: BoxError,
    ) -> Result<(), BoxError> {
        let now = self.clock.now();
        let Some(trouble) = trouble_of_file(&*error) else {
            self.writers.get_mut(index).record_stall(error_chain(&*error), now);
            return Err(error);
        };
        let is_too_large = trouble.is_too_large();
        let hour = Hour::containing(lines.receipt.received);
        let held = self.held.entry(index, hour, lines.receipt);
        if is_too_large && held.messages() == 0 {
            // A part of the lines may fit. A failure is kept with those that do not.
            self.held.push(index, lines);
            drop(self.write_held(index, hour));
            return Ok(());
        }
        if held.record_failure(error_chain(&*error), trouble.is_locked()) {
            let since = held.since();
            self.report_held(index, since, &error_chain(&*error));
        }
        self.held.push(index, lines);
        Ok(())
    }

    /// Records in the journal and in the log that lines wait for their file.
    fn report_held(&mut self, index: WriterIndex, since: UnixNanos, error: &str) {
        let writer = self.writers.get_mut(index);
        writer.record_stall(error.to_owned(), since);
        writer.report_journal_error(&self.stats);
        self.stats.sink_errors.add(1);
        self.plugin_stats.errors.add(1);
        if self.failure_log.is_due() {
            let stem = writer.stem().as_str();
            error!(
                stem,
                error,
                "the file cannot be written: its lines wait in memory, and are dropped when there are more than fit; other files go on, and so does the next hour"
            );
        }
    }

    /// Writes the lines that wait for the file of a writer, if they are of this hour.
    ///
    /// # Errors
    /// Lines still wait.
    fn write_held(&mut self, index: WriterIndex, hour: Hour) -> Result<(), BoxError> {
        if self.held.get(index).is_none_or(|held| held.hour() != hour) {
            return Ok(());
        }
        let Some(mut held) = self.held.take(index) else { return Ok(()) };
        let written = self.write_front(index, &mut held);
        match written {
            Ok(()) => {
                self.journal_discarded(index, &mut held);
                if held.is_reported() && self.failure_log.is_due() {
                    let stem = self.writers.get(index).stem().as_str();
                    info!(stem, "the file can be written again");
                }
                Ok(())
            }
            Err(error) => {
                let is_locked = trouble_of_file(&*error).is_some_and(FileError::is_locked);
                if held.record_failure(error_chain(&*error), is_locked) {
                    self.report_held(index, held.since(), held.error());
                }
                self.held.put(index, held);
                Err(error)
            }
        }
    }

    /// Writes lines from the front until none is left. Where the file has the largest possible
    /// size, fewer lines are tried, down to a single one, which is given up.
    fn write_front(&mut self, index: WriterIndex, held: &mut HeldLines) -> Result<(), BoxError> {
        let mut length = held.bytes().len();
        while length > 0 {
            let bytes = held.bytes().get(..length).unwrap_or_default();
            let messages = memchr::memchr_iter(b'\n', bytes).count() as u64;
            let receipt = held.last_receipt();
            let lines = ReceivedLines { bytes, messages, receipt, runs: held.runs() };
            match self.write_lines(index, lines) {
                Ok(()) => {
                    held.remove_front(length);
                    length = held.bytes().len();
                }
                Err(error) if !trouble_of_file(&*error).is_some_and(FileError::is_too_large) => {
                    return Err(error);
                }
                Err(_) if messages > 1 => {
                    let half = bytes.get(..length / 2).unwrap_or_default();
                    let end = memchr::memrchr(b'\n', half).or(memchr::memchr(b'\n', bytes));
                    length = end.map_or(length, |end| end + 1);
                }
                Err(error) => {
                    held.set_error(error_chain(&*error));
                    held.discard_first();
                    self.held.count_refused(index, error_chain(&*error));
                    length = held.bytes().len();
                }
            }
        }
        Ok(())
    }

    /// Tries a last time to write the lines that wait for the file of a writer, before its hour is
    /// closed, and gives up those that cannot be written.
    ///
    /// # Errors
    /// Lines were given up.
    fn settle_held(&mut self, index: WriterIndex) -> Result<(), BoxError> {
        let Some(hour) = self.held.get(index).map(HeldLines::hour) else { return Ok(()) };
        let written = self.write_held(index, hour);
        let Some(mut held) = self.held.take(index) else { return written };
        self.held.count_discarded(held.discard_all());
        self.journal_discarded(index, &mut held);
        self.writers.get_mut(index).end_stall(self.clock.now());
        written
    }

    /// Records messages that were given up in the journal, and the first ones in the log.
    fn journal_discarded(&mut self, index: WriterIndex, held: &mut HeldLines) {
        let Some(DiscardReport { messages, since, is_first }) = held.take_report() else { return };
        let now = self.clock.now();
        let error = held.error();
        let writer = self.writers.get_mut(index);
        if is_first && self.failure_log.is_due() {
            let stem = writer.stem().as_str();
            error!(stem, messages, %since, error, "messages are lost, since their file cannot be written; the journal counts them as soon as it can be written itself");
        }
        let drop = JournalEvent::Drop {
            since: since.min(now),
            messages,
            cause: DropCause::Unwritable.as_str().to_owned(),
            shared: false,
            detail: error.to_owned(),
        };
        writer.record_event(now, drop);
        writer.report_journal_error(&self.stats);
    }

    /// Tries to write the lines that wait, where that is due, and reports those that were given up.
    fn retry_held(&mut self) {
        for index in self.held.writers() {
            let due = self.held.get(index).filter(|held| held.is_retry_due());
            if let Some(hour) = due.map(HeldLines::hour) {
                // The failure is kept with the lines.
                drop(self.write_held(index, hour));
            }
            if self.held.get(index).is_some_and(HeldLines::is_report_due)
                && let Some(mut held) = self.held.take(index)
            {
                self.journal_discarded(index, &mut held);
                self.held.put(index, held);
            }
        }
        let name = self.plugin_stats.name();
        if let Some(error) = self.held.first_error() {
            self.stats.record_stall(name, error.to_owned());
            self.is_stall_shown = true;
        } else if std::mem::take(&mut self.is_stall_shown) {
            self.stats.clear_stall(name);
        }
    }

    /// Returns the number of messages that wait for their files.
    pub(super) fn held_messages(&self) -> u64 {
        self.held.messages()
    }

    /// Returns the number of messages that were given up.
    pub(super) fn discarded(&self) -> u64 {
        self.held.discarded()
    }

    /// Records events in the journal of the writer. Where no hour can be opened, they wait for the
    /// next journal: a source tells each event once.
    ///
    /// # Errors
    /// The hour of `at` cannot be opened.
    pub(super) fn record_events(
        &mut self,
        index: WriterIndex,
        at: UnixNanos,
        events: Vec<JournalEvent>,
    ) -> Result<(), BoxError> {
        let opened = self.open_hour(index, at).map(drop);
        let writer = self.writers.get_mut(index);
        for event in events {
            writer.record_event(at, event);
        }
        writer.report_journal_error(&self.stats);
        self.close_after_use(index);
        opened
    }

    /// Returns whether `hour` begins after the wall clock of the last tick or event.
    pub(super) fn is_ahead_of_clock(&self, hour: Hour) -> bool {
        hour > Hour::containing(self.clock.wall())
    }

    /// Closes every other hour than that of `now`, and opens that one.
    ///
    /// # Errors
    /// The first error of a writer whose hour cannot be opened. The others go on.
    pub(super) fn roll_hour(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        let hour = Hour::containing(now);
        let overdue: Vec<WriterIndex> = self
            .writers
            .indices()
            .filter(|index| self.writers.get(*index).is_overdue(hour))
            .collect();
        let sync_together =
            overdue.len() >= FILE_SYSTEM_SYNC_THRESHOLD && self.syncs_file_system == Support::Done;
        if sync_together {
            self.sync_file_system_if_many_dirty(now);
            let journal_sync = match self.syncs_file_system {
                Support::Done => JournalSync::Deferred,
                Support::Missing => JournalSync::Now,
            };
            for &index in &overdue {
                self.mark_used(index);
                self.close_hour_or_log(index, now, journal_sync);
            }
        }
        let mut result = Ok(());
        for &index in &overdue {
            if self.writers.get(index).is_recorded() {
                result = result.and(self.open_hour(index, now).map(drop));
            } else {
                self.close_hour_or_log(index, now, JournalSync::Now);
            }
        }
        if sync_together {
            self.sync_file_system_if_many_dirty(now);
        }
        result
    }

    /// Makes everything durable with one sync of the file system, where many writers are dirty.
    fn sync_file_system_if_many_dirty(&mut self, now: UnixNanos) {
        let dirty = self.writers.iter().filter(|writer| writer.is_dirty()).count();
        if self.sync_interval.is_none()
            || dirty < FILE_SYSTEM_SYNC_THRESHOLD
            || self.syncs_file_system == Support::Missing
        {
            return;
        }
        let synced = sync_file_system(self.dir.path());
        if let Ok(Support::Missing) = synced {
            self.syncs_file_system = Support::Missing;
            return;
        }
        let error = synced.as_ref().err();
        if let Some(error) = error {
            error!(%error, cause = %error.source, "lines may not be durable");
        }
        for writer in self.writers.iter_mut() {
            writer.record_file_system_sync(now, error);
        }
        self.last_sync = Instant::now();
    }

    /// Checks that files are in place, goes on to the hour of `now`, and marks and syncs what is
    /// due.
    ///
    /// # Errors
    /// The first error. One writer that cannot go on does not hold up the others.
    pub(super) fn tick(&mut self, now: UnixNanos) -> Result<(), BoxError> {
        self.set_clock(now);
        self.react_to_shortage();
        let mut result = self.ensure_dir_locked();
        self.check_files_in_place();
        result = result.and(self.roll_hour(now));
        self.retry_held();
        let is_sync_due = self
            .sync_interval
            .is_some_and(|interval| self.last_sync.elapsed() + TICK_SLACK >= interval);
        if is_sync_due {
            self.sync_file_system_if_many_dirty(now);
        }
        let writers = u32::try_from(self.writers.len()).unwrap_or(u32::MAX);
        let mark_interval = self.mark_interval.max(MIN_MARK_SPACING * writers);
        let times_interval = MIN_TIMES_SPACING * writers;
        for index in self.writers.indices() {
            let writer = self.writers.get_mut(index);
            let ticked = writer.tick(now, mark_interval, times_interval, &self.stats);
            result = result.and(ticked.map_err(BoxError::from));
            if !self.open_files.is_open(index) || self.open_files.keeps_none() {
                // The tick may have opened files that do not count as open.
                writer.close_handles();
            }
        }
        result
    }

    /// Records that everything that was sent until then is written, if all of what came is.
    pub(super) fn record_frontier(&mut self, complete_until: UnixNanos) {
        if !self.held.is_empty() || !self.writers.iter().all(TopicWriter::is_written) {
            return;
        }
        let is_durable =
            self.sync_interval.is_some() && !self.writers.iter().any(TopicWriter::is_dirty);
        let frontier = Frontier {
            complete_until,
            booted: SystemClock.booted(),
            boot: self.template.boot().to_owned(),
            durable: is_durable,
        };
        if let Err(error) = self.dir.record_frontier(&frontier)
            && self.failure_log.is_due()
        {
            warn!(error = error_chain(&error), "after a crash, gaps are told longer than they are");
        }
    }

    /// Returns the end of the hour if the hours of all writers are open and there is nothing to
    /// write, to sync or to mark.
    pub(super) fn idle_until(&self) -> Option<UnixNanos> {
        let hour = Hour::containing(self.clock.wall());
        let is_idle = |writer: &TopicWriter| !writer.is_overdue(hour) && !writer.needs_tick();
        (self.held.is_empty() && self.writers.iter().all(is_idle)).then(|| hour.end())
    }

    /// Checks the files of some writers, of others at each tick.
    fn check_files_in_place(&mut self) {
        for _ in 0..self.writers.len().min(PLACE_CHECKS_PER_TICK) {
            self.next_place_check = (self.next_place_check + 1) % self.writers.len();
            self.writers
                .get_mut(WriterIndex::from_position(self.next_place_check))
                .ensure_in_place();
        }
    }

    /// Closes all hours and makes their lines durable.
    ///
    /// # Errors
    /// The first error; all hours are closed.
    pub(super) fn close(&mut self) -> Result<(), BoxError> {
        self.react_to_shortage();
        // All sinks close at once, and each opens files for that.
        let _turn = self.open_files.may_run_short().then(wait_for_turn);
        let now = self.clock.now();
        let mut sync_together =
            self.writers.len() >= FILE_SYSTEM_SYNC_THRESHOLD && self.sync_interval.is_some();
        if sync_together {
            self.sync_file_system_if_many_dirty(now);
            sync_together = self.syncs_file_system == Support::Done;
        }
        let journal_sync = if sync_together { JournalSync::Deferred } else { JournalSync::Now };
        let mut result = match self.held.refusal() {
            Some(error) => Err(error.to_owned().into()),
            None => Ok(()),
        };
        for index in self.writers.indices() {
            self.mark_used(index);
            result = result.and(self.settle_held(index));
            let closed = self.writers.get_mut(index).close_hour(
                now,
                CloseReason::Stopped,
                journal_sync,
                &self.stats,
            );
            result = result.and(closed.map_err(BoxError::from));
        }
        if sync_together {
            let synced = sync_file_system(self.dir.path());
            let synced = synced.map(drop);
            result = result.and(synced.map_err(BoxError::from));
        }
        result
    }

    /// Locks the directory anew where the only writer is stalled: another file system may be
    /// mounted there by now.
    pub(super) fn recover_stalled_dir(&mut self) {
        if self.writers.get(WriterIndex::FIRST).is_stalled() {
            // The next tick returns the error, and so does opening the next hour.
            drop(self.ensure_dir_locked());
        }
    }
}

/// Returns the error as one of a file, if other files are not concerned.
fn trouble_of_file<'a>(
    error: &'a (dyn std::error::Error + Send + Sync + 'static),
) -> Option<&'a FileError> {
    error.downcast_ref::<FileError>().filter(|error| error.scope() == FailureScope::File)
}
