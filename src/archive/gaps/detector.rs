//! A state machine that reads the journals of one stem, run by run, and collects its gaps.

use std::time::Duration;

use super::certainty::Certainty;
use super::gap::Gap;
use super::gap_cause::GapCause;
use super::gap_kind::GapKind;
use super::gap_length::GapLength;
use super::run_segment::{RunSegment, SegmentContent};
use super::topic_outages::{TopicOutage, TopicOutages};
use super::wall_clock::WallClock;
use crate::archive::journal::{
    ConfigChangedEvent, DropCause, JournalEntry, JournalEvent, OpenEvent, PreviousRun,
    RecoveredEvent,
};
use crate::base::time::{Hour, UnixNanos};

/// Maximum time after the start of an hour within which a run that records opens the hour. The
/// recorder opens hours on a tick, about once a second.
const HOUR_OPEN_GRACE: Duration = Duration::from_secs(5);

/// The state of the recorder of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecorderState {
    /// A recorder is running, so that its last gap may be open.
    Running,
    /// No recorder is running.
    Stopped {
        /// Completeness of the last run of the directory, if it recorded that.
        last_run: Option<PreviousRun>,
    },
}

/// The state of the recording at one point of the journals.
#[derive(Debug, Default)]
enum RecordingState {
    /// No journal says anything yet.
    #[default]
    Initial,
    /// The recorder runs and is connected.
    Connected,
    /// The recorder runs and is not connected.
    Disconnected { since: UnixNanos, cause: String, detail: String, certainty: Certainty },
    /// The recorder does not run.
    Stopped { since: UnixNanos, cause: GapCause, certainty: Certainty },
    /// The topic is not recorded, since the configuration does not ask for it any more.
    Unsubscribed,
    /// The journals do not say whether the recorder was connected.
    Unknown { since: UnixNanos, why: &'static str },
}

/// An interval, open so far, in which the disk takes no writes.
#[derive(Debug)]
struct JournaledStall {
    since: UnixNanos,
    error: String,
}

/// Collects the gaps of one stem.
#[derive(Debug, Default)]
pub(super) struct GapDetector {
    state: RecordingState,
    /// The wall clock when the state began.
    state_clock: WallClock,
    /// The wall clock now.
    clock: WallClock,
    gaps: Vec<Gap>,
    /// Index of the last gap of this run over which the machine was started, until its clock is set.
    gap_over_boot: Option<usize>,
    /// Run of the last `open` event.
    run: Option<String>,
    /// Number of that run.
    run_number: u64,
    /// Time at which that run opened its first hour.
    run_started: UnixNanos,
    /// Time of the last `open` event.
    last_opened: UnixNanos,
    /// Number of the last hour that the run opened, in the run's own count.
    last_part: u64,
    /// True if the run closed its last hour.
    is_hour_closed: bool,
    /// Time at which the last connection began.
    connected_since: UnixNanos,
    /// Time at which the run stopped listening, if it has.
    stopping_since: Option<UnixNanos>,
    /// False if messages of some connections may have arrived after that time.
    is_stop_exact: bool,
    /// Time until which the journal shows that everything was written; the epoch if there is none.
    last_activity: UnixNanos,
    /// Time until which everything was written before the next event, if that comes before messages
    /// that a stage holds back.
    behind_since: Option<UnixNanos>,
    previous_hour: Option<Hour>,
    stall: Option<JournaledStall>,
    topic_outages: TopicOutages,
    /// Time of the last event.
    last_event: UnixNanos,
    /// Time of the last event before a torn line.
    torn_since: Option<UnixNanos>,
    /// Time of the last event before a file of the journal that is gone.
    part_gone_since: Option<UnixNanos>,
}

impl GapDetector {
    /// Processes the next segment of a run.
    pub(super) fn process_segment(&mut self, segment: &RunSegment<'_>) {
        match segment.content {
            SegmentContent::Journal(entries) => {
                self.check_missing_hours(segment.hour, entries);
                for entry in entries {
                    self.process_event(segment.hour, entry);
                }
            }
            SegmentContent::NoJournal(why) => self.missing_journal(segment.hour, why),
        }
        self.previous_hour = Some(segment.hour);
    }

    /// Checks for hours between two segments of a run that have no journal.
    fn check_missing_hours(&mut self, hour: Hour, entries: &[JournalEntry]) {
        let Some(previous) = self.previous_hour.filter(|_| self.is_hour_closed) else { return };
        // A clock that steps forward passes over hours.
        let is_step_over = |entry: &JournalEntry| matches!(entry.event, JournalEvent::ClockStep { from } if from < hour.start());
        if previous.end() < hour.start() && self.is_running() && !entries.iter().any(is_step_over) {
            self.enter_unknown(previous.end(), "those of these hours are missing");
        }
    }

    /// Processes an hour with lines and without a journal.
    fn missing_journal(&mut self, hour: Hour, why: &'static str) {
        let has_activity = self.last_activity > UnixNanos::default();
        let since =
            if self.is_hour_closed || !has_activity { hour.start() } else { self.last_activity };
        if let RecordingState::Stopped { .. } = self.state {
            self.end_gap(hour.start());
        }
        self.enter_unknown(since, why);
        self.last_activity = hour.end();
        self.is_hour_closed = true;
    }

    fn is_running(&self) -> bool {
        matches!(self.state, RecordingState::Connected | RecordingState::Disconnected { .. })
    }

    /// Starts a gap of kind `unknown`, unless one is open.
    fn enter_unknown(&mut self, since: UnixNanos, why: &'static str) {
        if !matches!(self.state, RecordingState::Unknown { .. }) {
            self.end_gap(since);
            self.set_state(RecordingState::Unknown { since, why });
        }
    }

    /// Sets the state, which begins now.
    fn set_state(&mut self, state: RecordingState) {
        self.state = state;
        self.state_clock.clone_from(&self.clock);
    }

    /// Ends the gap that the state describes, if it describes one.
    fn end_gap(&mut self, to: UnixNanos) {
        // A sink that takes the place of another begins its run at the moment of the other's end.
        let is_handover = |gap: &Gap| {
            gap.kind == GapKind::NotRunning && gap.from == to && gap.certainty == Certainty::Exact
        };
        let is_real = |gap: &Gap| !is_handover(gap);
        let Some(gap) = self.take_gap(to).filter(is_real) else { return };
        if self.state_clock.is_before_boot_of(&self.clock) {
            self.gap_over_boot = Some(self.gaps.len());
        }
        self.gaps.push(gap);
    }

    /// Processes a step of the clock, which shows `to` instead of `from`.
    ///
    /// A machine without a clock of its own starts with an old time, which is mended later: then the
    /// time for which it was off is known at last.
    fn on_clock_step(&mut self, from: UnixNanos, to: UnixNanos) {
        self.clock.step(from, to);
        let gap = self.gap_over_boot.take_if(|_| from < to);
        if let Some(gap) = gap.and_then(|index| self.gaps.get_mut(index))
            && let Some(end) = gap.to
            && let Some(length) = WallClock::corrected_length(gap.from, end, from, to)
        {
            gap.length = length;
            gap.certainty = gap.certainty.max(Certainty::AtMost);
        }
    }

    /// Resets the state and returns the gap that it described, with this end.
    fn take_gap(&mut self, to: UnixNanos) -> Option<Gap> {
        let gap = match std::mem::take(&mut self.state) {
            RecordingState::Initial | RecordingState::Connected | RecordingState::Unsubscribed => {
                return None;
            }
            RecordingState::Disconnected { since, cause, detail, certainty } => {
                let down = new_gap(GapKind::Down, since, to, &cause, certainty);
                Gap { detail, ..down }
            }
            RecordingState::Stopped { since, cause, certainty } => {
                new_gap(GapKind::NotRunning, since, to, cause.as_str(), certainty)
            }
            RecordingState::Unknown { since, why } => unknown_gap(since, to, why.to_owned()),
        };
        let length = self.state_clock.gap_length(gap.from, &self.clock, to);
        let certainty = match length {
            GapLength::Unknown => gap.certainty.max(Certainty::AtMost),
            GapLength::Bounds | GapLength::Measured(_) => gap.certainty,
        };
        Some(Gap { length, certainty, ..gap })
    }

    fn process_event(&mut self, hour: Hour, JournalEntry { t, event }: &JournalEntry) {
        let t = *t;
        if *event == JournalEvent::PartGone {
            self.part_gone_since = Some(self.last_event.max(hour.start()));
            return;
        }
        self.check_torn_line(t, event);
        if let Some(since) = self.part_gone_since.take() {
            self.on_part_gone(since, t);
        }
        match event {
            JournalEvent::Open(open) => self.on_open(hour, t, open),
            JournalEvent::Up { .. } => self.on_up(t),
            JournalEvent::Unconfirmed { .. } => self.downgrade_certainty(),
            JournalEvent::TopicDown { topic, cause, detail, since } => {
                self.topic_outages.start(&TopicOutage {
                    topic,
                    cause,
                    detail,
                    since: since.unwrap_or(t),
                    certainty: outage_certainty(cause, since.is_none()),
                });
            }
            JournalEvent::TopicUp { topic } => {
                self.topic_outages.end_matching(t, |down| down == topic, &mut self.gaps);
            }
            JournalEvent::Down { cause, detail, since, exact } => {
                let is_exact = since.is_none() || *exact;
                self.on_down(t, cause, detail, *since, outage_certainty(cause, is_exact));
            }
            JournalEvent::Drop { since, messages, cause, shared, detail } => {
                // A program that failed may have processed some of the messages.
                let is_upper_bound = *shared || cause == DropCause::Stage.as_str();
                let certainty = if is_upper_bound { Certainty::AtMost } else { Certainty::Exact };
                let dropped = new_gap(GapKind::Dropped, *since, t, cause, certainty);
                let detail = detail.clone();
                self.gaps.push(Gap { messages: Some(*messages), detail, ..dropped });
            }
            JournalEvent::Stopping { since } => {
                self.stopping_since = Some(since.unwrap_or(t));
                self.is_stop_exact = since.is_none();
            }
            JournalEvent::Stall { error } => {
                self.stall = Some(JournaledStall { since: t, error: error.clone() });
            }
            JournalEvent::Resume => self.end_stall(t),
            JournalEvent::SyncFailed { since, error, .. } => {
                let cause = GapCause::SyncFailed.as_str().to_owned();
                self.gaps.push(Gap { cause, ..unknown_gap(*since, t, error.clone()) });
            }
            JournalEvent::Recovered(found) => self.on_recovered(hour, t, found),
            JournalEvent::Suspended { since } => self.gaps.push(new_gap(
                GapKind::NotRunning,
                *since,
                t,
                GapCause::Suspended.as_str(),
                Certainty::Exact,
            )),
            // One of the discarded events may have said that the connection was lost.
            JournalEvent::Missing { since, .. } if t > self.last_opened => {
                self.enter_unknown(*since, "events could not be written");
            }
            // They belong to an earlier hour, whose journal could not be written at all. The state
            // since then is that of the `open` event.
            JournalEvent::Missing { since, .. } => {
                let detail = "events could not be written".to_owned();
                self.gaps.push(unknown_gap(*since, self.last_opened, detail));
            }
            JournalEvent::Mark(_) => {
                if matches!(self.state, RecordingState::Unknown { .. }) {
                    self.end_gap(t);
                    self.state = RecordingState::Connected;
                }
            }
            JournalEvent::Closed(closed) => {
                self.is_hour_closed = true;
                if closed.stop {
                    self.on_run_stopped(t);
                }
            }
            JournalEvent::ClockStep { from } => self.on_clock_step(*from, t),
            JournalEvent::ConfigChanged(change) => self.on_config_changed(t, change),
            // Rejected messages are kept in a file of their own; seals and removals are the work of
            // other processes; `check_torn_line` has handled torn lines.
            JournalEvent::Rejected { .. }
            | JournalEvent::Unrequested { .. }
            | JournalEvent::Continued(_)
            | JournalEvent::Continues { .. }
            | JournalEvent::Sealing(_)
            | JournalEvent::Sealed(_)
            | JournalEvent::Removed { .. }
            | JournalEvent::Torn
            | JournalEvent::PartGone => {}
            JournalEvent::Behind { since } => {
                self.behind_since = Some(*since);
                return;
            }
        }
        self.record_activity(t, event);
        self.behind_since = None;
        if *event != JournalEvent::Torn {
            self.last_event = t;
        }
    }

    /// Processes a change of the topics. The gap of a topic that is not wanted any more ends, and no
    /// other begins. That of a topic that is added begins with the event that follows.
    fn on_config_changed(&mut self, t: UnixNanos, change: &ConfigChangedEvent) {
        let ConfigChangedEvent { added, removed, .. } = change;
        self.topic_outages.end_matching(
            t,
            |topic| removed.iter().any(|it| it == topic),
            &mut self.gaps,
        );
        let is_wanted = self.topic_outages.change_topics(added, removed);
        if !is_wanted && !removed.is_empty() {
            self.end_gap(t);
            self.state = RecordingState::Unsubscribed;
        }
    }

    fn on_up(&mut self, t: UnixNanos) {
        // What had arrived on another connection may be unread, unless it lies in the gap.
        if !matches!(self.state, RecordingState::Connected) {
            self.record_completeness(t);
        }
        // Another connection took over without a pause if both times are equal.
        if !matches!(self.state, RecordingState::Disconnected { since, .. } if since == t) {
            self.end_gap(t);
            self.connected_since = t;
        }
        self.state = RecordingState::Connected;
    }

    /// Records that everything was written by then, if the event shows that.
    fn record_activity(&mut self, t: UnixNanos, event: &JournalEvent) {
        match event {
            // The time of a mark is that of a receipt, which may precede an earlier event.
            JournalEvent::Mark(_) => self.last_activity = self.last_activity.max(t),
            // By the clock that shows `t` now.
            JournalEvent::ClockStep { from } => {
                self.last_activity = shift(self.last_activity, *from, t);
            }
            // Other processes write these events, or a later run does.
            JournalEvent::Sealing(_)
            | JournalEvent::Sealed(_)
            | JournalEvent::Removed { .. }
            | JournalEvent::Recovered(_)
            | JournalEvent::Continues { .. }
            | JournalEvent::Torn
            | JournalEvent::PartGone
            // The recorder was alive, but lines that had arrived may have waited at that time.
            | JournalEvent::Drop { .. }
            | JournalEvent::Stall { .. }
            | JournalEvent::Resume
            | JournalEvent::SyncFailed { .. }
            | JournalEvent::Unrequested { .. }
            | JournalEvent::Rejected { .. }
            | JournalEvent::Suspended { .. }
            | JournalEvent::Continued(_)
            | JournalEvent::Missing { .. }
            | JournalEvent::Behind { .. }
            // Nor have all messages been read that had arrived, behind a hold-up.
            | JournalEvent::TopicDown { .. }
            | JournalEvent::TopicUp { .. }
            | JournalEvent::Unconfirmed { .. }
            | JournalEvent::ConfigChanged(_)
            // `on_up` knows what it says.
            | JournalEvent::Up { .. } => {}
            // They follow the lines that were read before.
            JournalEvent::Open(_)
            | JournalEvent::Down { .. }
            | JournalEvent::Stopping { .. }
            | JournalEvent::Closed(_) => self.record_completeness(t),
        }
    }

    /// Records that everything that was sent before an event at `t` is written, or lies in a gap, as
    /// far as no stage holds messages back.
    fn record_completeness(&mut self, t: UnixNanos) {
        match self.behind_since {
            None => self.last_activity = t,
            Some(since) => self.last_activity = self.last_activity.max(since.min(t)),
        }
    }

    fn check_torn_line(&mut self, t: UnixNanos, event: &JournalEvent) {
        if *event == JournalEvent::Torn {
            self.torn_since.get_or_insert(self.last_event);
        } else if let Some(since) = self.torn_since.take() {
            // A line torn by a crash is covered by the crash's own gap, and a torn end of an hour by
            // the next `open`.
            let is_covered = matches!(
                event,
                JournalEvent::Recovered(_) | JournalEvent::Sealing(_) | JournalEvent::Open(_)
            );
            if !is_covered {
                self.gaps.push(unknown_gap(since, t, "a line of it is torn".to_owned()));
            }
        }
    }

    /// Processes that the events from `since` to `t` are gone with their file: one of them may have said
    /// that the connection was lost.
    fn on_part_gone(&mut self, since: UnixNanos, t: UnixNanos) {
        let why = "a part of it is missing";
        if self.is_running() {
            self.enter_unknown(since, why);
        } else {
            self.gaps.push(unknown_gap(since, t, why.to_owned()));
        }
    }

    fn on_open(&mut self, hour: Hour, t: UnixNanos, open: &OpenEvent) {
        let is_same_run = self.run.as_ref() == Some(&open.run);
        // An hour of the run is missing, or an earlier part of this hour.
        let is_part_missing = is_same_run && open.part > self.last_part + 1;
        let is_initial = matches!(self.state, RecordingState::Initial);
        let is_late = is_initial && t > hour.start().saturating_add(HOUR_OPEN_GRACE);
        if is_part_missing && !is_initial {
            self.enter_unknown(self.last_activity, "a part of it is missing");
        } else if !is_same_run && open.part > 1 && is_late {
            self.enter_unknown(hour.start(), "a part of it is missing");
        }
        let is_first = self.run.is_none() && is_initial && self.gaps.is_empty();
        if is_first && open.part == 1 && t > hour.start() {
            let cause = GapCause::FirstStart.as_str();
            let before = new_gap(GapKind::NotRecorded, hour.start(), t, cause, Certainty::Exact);
            self.gaps.push(before);
        }
        self.last_part = open.part;
        self.last_opened = t;
        let was_running = self.is_running();
        if !is_same_run {
            if was_running || self.is_run_never_connected() {
                self.end_run_crashed(open.previous);
            }
            self.stopping_since = None;
            self.gap_over_boot = None;
            self.run = Some(open.run.clone());
            self.run_number = open.run_number;
            self.run_started = t;
        } else if was_running && !self.is_hour_closed {
            self.enter_unknown(self.last_activity, "it has no end");
        }
        self.clock.on_open(open);
        let is_unknown = matches!(self.state, RecordingState::Unknown { .. });
        let is_connected = matches!(self.state, RecordingState::Connected);
        let is_initial = matches!(self.state, RecordingState::Initial);
        if open.connected {
            // The `open` event decides, even if no `up` event precedes it.
            if !is_connected {
                self.connected_since = t;
            }
            self.end_gap(t);
            self.state = RecordingState::Connected;
        } else if (is_same_run && (is_unknown || is_connected))
            || (!is_same_run && open.part > 1 && is_initial)
            || (!is_same_run && matches!(self.state, RecordingState::Unsubscribed))
        {
            // The run continues without a connection, or begins with a topic that is wanted again.
            self.end_gap(t);
            self.set_state(RecordingState::Disconnected {
                since: t,
                cause: GapCause::Other.as_str().to_owned(),
                detail: String::new(),
                certainty: Certainty::Exact,
            });
        }
        self.topic_outages.on_open(t, &open.topics, &open.topics_down, &mut self.gaps);
        self.is_hour_closed = false;
    }

    fn on_recovered(&mut self, hour: Hour, t: UnixNanos, found: &RecoveredEvent) {
        let has_lines = found.messages > 0 || found.lost > 0;
        if found.since == UnixNanos::default() && has_lines {
            self.gaps.push(unknown_gap(
                hour.start(),
                t,
                "there was none for these lines".to_owned(),
            ));
        } else if found.lost > 0 {
            let lost = new_gap(
                GapKind::Dropped,
                found.since,
                self.last_activity.max(found.since),
                GapCause::LinesMissing.as_str(),
                Certainty::Exact,
            );
            self.gaps.push(Gap { messages: Some(found.lost), ..lost });
        }
    }

    /// Returns whether a run is open whose journals say nothing of a connection so far.
    fn is_run_never_connected(&self) -> bool {
        matches!(self.state, RecordingState::Initial) && self.run.is_some() && !self.is_hour_closed
    }

    /// Ends the current run, whose journal has no closing event. `recorded` is how far the last run
    /// of the directory was complete.
    fn end_run_crashed(&mut self, recorded: Option<PreviousRun>) {
        let recorded = recorded.filter(|recorded| {
            recorded.run_number == self.run_number && self.clock.is_clock_of(recorded.booted)
        });
        if let Some(PreviousRun { complete_until, .. }) = recorded {
            self.last_activity = self.last_activity.max(complete_until);
        }
        let since = self
            .stopping_since
            .take()
            .map_or(self.last_activity, |stopping| stopping.min(self.last_activity));
        self.end_stall(self.last_activity);
        // A stage held messages back that were received before the connection was lost.
        if matches!(&self.state, RecordingState::Disconnected { since: lost, .. } if *lost > since)
        {
            self.state = RecordingState::Connected;
        }
        self.topic_outages.end_matching(since, |_| true, &mut self.gaps);
        self.end_gap(since);
        self.set_state(RecordingState::Stopped {
            since,
            cause: GapCause::Crashed,
            certainty: Certainty::AtMost,
        });
    }

    fn on_down(
        &mut self,
        t: UnixNanos,
        cause: &str,
        detail: &str,
        silent_since: Option<UnixNanos>,
        start: Certainty,
    ) {
        let since = match &mut self.state {
            // A connection that is found dead now may have been dead before the open gap began.
            RecordingState::Disconnected { since, certainty, .. } => {
                let silent_since = silent_since.map(|silent| silent.max(self.connected_since));
                if let Some(earlier) = silent_since.filter(|silent| *silent < *since) {
                    *certainty = (*certainty).max(start);
                    *since = earlier;
                }
                return;
            }
            RecordingState::Connected | RecordingState::Unsubscribed => silent_since.unwrap_or(t),
            // What happened before the event is unknown, but the run may have been connected.
            RecordingState::Unknown { since, .. } if self.run_started < *since => {
                silent_since.map_or(t, |silent| silent.max(*since))
            }
            // The run has not been connected so far.
            RecordingState::Initial
            | RecordingState::Stopped { .. }
            | RecordingState::Unknown { .. } => self.run_started,
        };
        self.end_gap(since);
        self.set_state(RecordingState::Disconnected {
            since,
            cause: cause.to_owned(),
            detail: detail.to_owned(),
            certainty: start,
        });
    }

    /// Makes the open gap an upper bound: an unconfirmed topic may deliver before the gap's end.
    fn downgrade_certainty(&mut self) {
        if let RecordingState::Disconnected { certainty, .. }
        | RecordingState::Stopped { certainty, .. } = &mut self.state
        {
            *certainty = Certainty::AtMost;
        }
    }

    fn end_stall(&mut self, to: UnixNanos) {
        let gap = self.take_stall(to);
        self.gaps.extend(gap);
    }

    fn take_stall(&mut self, to: UnixNanos) -> Option<Gap> {
        let JournaledStall { since, error } = self.stall.take()?;
        let cause = GapCause::Disk.as_str();
        let stalled = new_gap(GapKind::Stalled, since, to, cause, Certainty::Possible);
        Some(Gap { detail: error, ..stalled })
    }

    fn on_run_stopped(&mut self, t: UnixNanos) {
        self.end_stall(t);
        // The recorder stopped listening before it wrote its last messages.
        let since = self.stopping_since.take().map_or(t, |stopping| stopping.min(t));
        self.topic_outages.end_matching(since, |_| true, &mut self.gaps);
        if !matches!(self.state, RecordingState::Stopped { .. } | RecordingState::Unsubscribed) {
            self.end_gap(since);
            let is_exact = self.is_stop_exact || since == t;
            self.set_state(RecordingState::Stopped {
                since,
                cause: GapCause::Stopped,
                certainty: if is_exact { Certainty::Exact } else { Certainty::AtMost },
            });
        }
    }

    /// Returns all gaps. Those that last have no end.
    pub(super) fn finish(mut self, recorder: RecorderState) -> Vec<Gap> {
        let is_stopped = recorder != RecorderState::Running;
        if let RecorderState::Stopped { last_run } = recorder
            && (self.is_running() || self.is_run_never_connected())
        {
            self.end_run_crashed(last_run);
        }
        let now = self.last_activity;
        let stall = self.take_stall(now);
        self.gaps.extend(stall.map(|gap| Gap { to: None, ..gap }));
        self.gaps.extend(self.topic_outages.drain_open());
        // An hour without a journal promises nothing of the time after it.
        let is_over = is_stopped && matches!(self.state, RecordingState::Unknown { .. });
        let last = self.take_gap(now);
        let open = |gap| Gap { to: None, length: GapLength::Bounds, ..gap };
        self.gaps.extend(last.map(|gap| if is_over { gap } else { open(gap) }));
        self.gaps
    }
}

/// Returns a gap without details.
/// Returns how sure the gap of a lost connection or topic is.
fn outage_certainty(cause: &str, is_exact: bool) -> Certainty {
    match (GapCause::is_doubt(cause), is_exact) {
        (true, _) => Certainty::Possible,
        (false, true) => Certainty::Exact,
        (false, false) => Certainty::AtMost,
    }
}

fn new_gap(
    kind: GapKind,
    from: UnixNanos,
    to: UnixNanos,
    cause: &str,
    certainty: Certainty,
) -> Gap {
    Gap {
        from,
        to: Some(to),
        kind,
        cause: cause.to_owned(),
        detail: String::new(),
        messages: None,
        certainty,
        length: GapLength::Bounds,
    }
}

/// Returns what a clock shows for `time`, which was set from `from` to `to`.
fn shift(time: UnixNanos, from: UnixNanos, to: UnixNanos) -> UnixNanos {
    let back = from.saturating_since(to);
    time.saturating_add(to.saturating_since(from)).saturating_sub(back)
}

/// Returns a gap for which the journal is to blame.
fn unknown_gap(from: UnixNanos, to: UnixNanos, detail: String) -> Gap {
    let cause = GapCause::Journal.as_str();
    Gap { detail, ..new_gap(GapKind::Unknown, from, to, cause, Certainty::Possible) }
}
