//! Goes through the journals of a stem and tells its gaps.

use super::certainty::Certainty;
use super::gap::Gap;
use super::gap_kind::GapKind;
use super::run_segment::{RunSegment, SegmentContent};
use super::topic_outages::TopicOutages;
use crate::archive::journal::{DropCause, JournalEntry, JournalEvent, OpenEvent};
use crate::base::time::{Hour, UnixNanos};

/// What is known of the recording at a point of the journals.
#[derive(Debug, Default)]
enum RecordingState {
    /// Nothing yet.
    #[default]
    Initial,
    /// It listens.
    Connected,
    /// It runs, and is not connected.
    Disconnected { since: u64, cause: String, detail: String, certainty: Certainty },
    /// It does not run.
    Stopped { since: u64, cause: &'static str, certainty: Certainty },
    /// The journals do not tell.
    Unknown { since: u64, why: &'static str },
}

/// A run opens its next hour within so many nanoseconds.
const HOUR_OPEN_GRACE: u64 = 5_000_000_000;
/// Why no recorder ran.
const CAUSE_STOPPED: &str = "stopped";
const CAUSE_CRASHED: &str = "crashed";

#[derive(Debug, Default)]
pub(super) struct GapDetector {
    state: RecordingState,
    gaps: Vec<Gap>,
    /// The run of the last `open`, and when that run began its first hour.
    run: Option<String>,
    run_started: u64,
    /// Whether the run has left its last hour by its own will.
    is_hour_closed: bool,
    /// Since when it listened, when it last did.
    connected_since: u64,
    /// When the run stopped listening, if it has.
    stopping_since: Option<u64>,
    /// The last sign of life.
    last_activity: u64,
    previous_hour: Option<Hour>,
    /// The hour that is looked at, and the last part of the run.
    current_hour: Option<Hour>,
    last_part: u64,
    stall: Option<(u64, String)>,
    topic_outages: TopicOutages,
    /// The last sign of life before a line that is torn.
    torn_since: Option<u64>,
}

impl GapDetector {
    /// Takes what comes next of a run.
    pub(super) fn process_segment(&mut self, segment: &RunSegment<'_>) {
        self.current_hour = Some(segment.hour);
        match segment.content {
            SegmentContent::Journal(entries) => {
                self.check_missing_hours(segment.hour, entries);
                for entry in entries {
                    self.process_event(entry);
                }
            }
            SegmentContent::NoJournal(why) => self.missing_journal(segment.hour, why),
        }
        self.previous_hour = Some(segment.hour);
    }

    /// Between two journals of a run there may be none.
    fn check_missing_hours(&mut self, hour: Hour, entries: &[JournalEntry]) {
        let Some(before) = self.previous_hour.filter(|_| self.is_hour_closed) else { return };
        // The clock passed over them.
        let stepped = |entry: &JournalEntry| matches!(entry.event, JournalEvent::ClockStep { from } if from < hour.start().nanos());
        if before.end() < hour.start()
            && matches!(self.state, RecordingState::Connected | RecordingState::Disconnected { .. })
            && !entries.iter().any(stepped)
        {
            self.enter_unknown(before.end().nanos(), "those of these hours are missing");
        }
    }

    /// An hour with lines of which no journal tells.
    fn missing_journal(&mut self, hour: Hour, why: &'static str) {
        let start = hour.start().nanos();
        let since =
            if self.is_hour_closed || self.last_activity == 0 { start } else { self.last_activity };
        if let RecordingState::Stopped { .. } = self.state {
            self.end_gap(start);
        }
        self.enter_unknown(since, why);
        self.last_activity = hour.end().nanos();
        self.is_hour_closed = true;
    }

    /// From here on nothing is known.
    fn enter_unknown(&mut self, since: u64, why: &'static str) {
        if !matches!(self.state, RecordingState::Unknown { .. }) {
            self.end_gap(since);
            self.state = RecordingState::Unknown { since, why };
        }
    }

    /// Ends the gap that goes on, if one does.
    fn end_gap(&mut self, to: u64) {
        match std::mem::take(&mut self.state) {
            RecordingState::Initial | RecordingState::Connected => {}
            RecordingState::Disconnected { since, cause, detail, certainty } => {
                let down = new_gap(GapKind::Down, since, to, &cause, certainty);
                self.gaps.push(Gap { detail, ..down });
            }
            RecordingState::Stopped { since, cause, certainty } => {
                self.gaps.push(new_gap(GapKind::NotRunning, since, to, cause, certainty));
            }
            RecordingState::Unknown { since, why } => {
                self.gaps.push(unknown_gap(since, to, why.to_owned()));
            }
        }
    }

    fn process_event(&mut self, JournalEntry { t, event }: &JournalEntry) {
        let t = *t;
        self.check_torn_line(t, event);
        match event {
            JournalEvent::Open(open) => self.on_open(t, open),
            JournalEvent::Up { .. } => self.on_up(t),
            JournalEvent::Unconfirmed { .. } => self.downgrade_certainty(),
            JournalEvent::TopicDown { topic, cause, detail, since } => {
                let certainty = if since.is_some() { Certainty::AtMost } else { Certainty::Exact };
                self.topic_outages.on_topic_down(
                    since.unwrap_or(t),
                    topic,
                    cause,
                    detail,
                    certainty,
                );
            }
            JournalEvent::TopicUp { topic } => {
                self.topic_outages.end_matching(t, |down| down == topic, &mut self.gaps)
            }
            JournalEvent::Down { cause, detail, since } => self.on_down(t, cause, detail, *since),
            JournalEvent::Drop { since, messages, cause, shared } => {
                // Of a program nobody knows what it has dealt with.
                let doubtful = *shared || cause == DropCause::Stage.as_str();
                let certainty = if doubtful { Certainty::AtMost } else { Certainty::Exact };
                let dropped = new_gap(GapKind::Dropped, *since, t, cause, certainty);
                self.gaps.push(Gap { messages: Some(*messages), ..dropped });
            }
            JournalEvent::Stopping => self.stopping_since = Some(t),
            JournalEvent::Stall { error } => self.stall = Some((t, error.clone())),
            JournalEvent::Resume => self.end_stall(t),
            JournalEvent::SyncFailed { since, error, .. } => {
                let detail = error.clone();
                let cause = "sync_failed".to_owned();
                self.gaps.push(Gap { cause, ..unknown_gap(*since, t, detail) });
            }
            JournalEvent::Recovered(found) if found.since == 0 && found.messages > 0 => {
                let begin = self.current_hour.map_or(t, |hour| hour.start().nanos());
                self.gaps.push(unknown_gap(begin, t, "there was none for these lines".to_owned()));
            }
            JournalEvent::Recovered(found) if found.lost > 0 => {
                let to = self.last_activity.max(found.since);
                let lost =
                    new_gap(GapKind::Dropped, found.since, to, "lines_missing", Certainty::Exact);
                self.gaps.push(Gap { messages: Some(found.lost), ..lost });
            }
            JournalEvent::Suspended { since } => {
                let (kind, exact) = (GapKind::NotRunning, Certainty::Exact);
                self.gaps.push(new_gap(kind, *since, t, "suspended", exact));
            }
            // Among them may be that the connection was lost.
            JournalEvent::Missing { since, .. } => {
                self.enter_unknown(*since, "events could not be written")
            }
            JournalEvent::Mark(_) if matches!(self.state, RecordingState::Unknown { .. }) => {
                self.end_gap(t);
                self.state = RecordingState::Connected;
            }
            JournalEvent::Closed(closed) => self.on_closed(t, closed.stop),
            _ => {}
        }
        self.record_activity(t, event);
    }

    fn on_up(&mut self, t: u64) {
        // At the same time another connection stood.
        if !matches!(self.state, RecordingState::Disconnected { since, .. } if since == t) {
            self.end_gap(t);
            self.connected_since = t;
        }
        self.state = RecordingState::Connected;
    }

    /// Takes note of a sign of life of the recorder.
    fn record_activity(&mut self, t: u64, event: &JournalEvent) {
        match event {
            // The time of a mark is that of a receipt, and may lie before that of another event.
            JournalEvent::Mark(_) => self.last_activity = self.last_activity.max(t),
            // These are of whoever looks after the archive.
            JournalEvent::Sealing(_)
            | JournalEvent::Sealed(_)
            | JournalEvent::Removed { .. }
            | JournalEvent::Recovered(_)
            | JournalEvent::Torn => {}
            _ => self.last_activity = t,
        }
    }

    fn check_torn_line(&mut self, t: u64, event: &JournalEvent) {
        if *event == JournalEvent::Torn {
            self.torn_since.get_or_insert(self.last_activity);
        } else if let Some(since) = self.torn_since.take() {
            // What a crash tore is told by the run that follows, and an end that is torn by the next
            // hour.
            let told = matches!(
                event,
                JournalEvent::Recovered(_) | JournalEvent::Sealing(_) | JournalEvent::Open(_)
            );
            if !told {
                self.gaps.push(unknown_gap(since, t, "a line of it is torn".to_owned()));
            }
        }
    }

    fn on_open(&mut self, t: u64, open: &OpenEvent) {
        let same = self.run.as_ref() == Some(&open.run);
        // What a run wrote between is gone, or what it wrote before in this hour.
        let missed = same && open.part > self.last_part + 1;
        let begin = self.current_hour.map_or(t, |hour| hour.start().nanos());
        let late = matches!(self.state, RecordingState::Initial) && t > begin + HOUR_OPEN_GRACE;
        if missed && !matches!(self.state, RecordingState::Initial) {
            self.enter_unknown(self.last_activity, "a part of it is missing");
        } else if !same && open.part > 1 && late {
            self.enter_unknown(begin, "a part of it is missing");
        }
        self.last_part = open.part;
        let runs =
            matches!(self.state, RecordingState::Connected | RecordingState::Disconnected { .. });
        if !same {
            if runs || self.is_run_never_connected() {
                self.end_run_crashed();
            }
            self.stopping_since = None;
            self.run = Some(open.run.clone());
            self.run_started = t;
        } else if runs && !self.is_hour_closed {
            self.enter_unknown(self.last_activity, "it has no end");
        }
        let unknown = matches!(self.state, RecordingState::Unknown { .. });
        if open.connected {
            // Whatever was noted or not: it listens.
            if !matches!(self.state, RecordingState::Connected) {
                self.connected_since = t;
            }
            self.end_gap(t);
            self.state = RecordingState::Connected;
        } else if (same && (unknown || matches!(self.state, RecordingState::Connected)))
            || (!same && open.part > 1 && matches!(self.state, RecordingState::Initial))
        {
            // It went on without a connection.
            self.end_gap(t);
            let (cause, detail, certainty) = ("other".to_owned(), String::new(), Certainty::Exact);
            self.state = RecordingState::Disconnected { since: t, cause, detail, certainty };
        }
        self.topic_outages.on_open(t, &open.topics, &open.topics_down, &mut self.gaps);
        self.is_hour_closed = false;
    }

    /// Whether a run went on that had not come so far that anything is known of it.
    fn is_run_never_connected(&self) -> bool {
        matches!(self.state, RecordingState::Initial) && self.run.is_some() && !self.is_hour_closed
    }

    /// The run that was going on has ended without a word.
    fn end_run_crashed(&mut self) {
        let since = self
            .stopping_since
            .take()
            .map_or(self.last_activity, |stopping| stopping.min(self.last_activity));
        self.end_stall(self.last_activity);
        self.topic_outages.end_matching(since, |_| true, &mut self.gaps);
        self.end_gap(since);
        let (cause, certainty) = (CAUSE_CRASHED, Certainty::AtMost);
        self.state = RecordingState::Stopped { since, cause, certainty };
    }

    fn on_down(&mut self, t: u64, cause: &str, detail: &str, silent_since: Option<u64>) {
        let mut certainty = Certainty::Exact;
        let since = match &mut self.state {
            // What is found dead later may have been dead before.
            RecordingState::Disconnected { since, certainty, .. } => {
                let earlier = silent_since.map(|at| at.max(self.connected_since));
                if let Some(earlier) = earlier.filter(|earlier| *earlier < *since) {
                    (*since, *certainty) = (earlier, Certainty::AtMost);
                }
                return;
            }
            RecordingState::Connected => {
                if silent_since.is_some() {
                    // It may have been dead since, or quiet.
                    certainty = Certainty::AtMost;
                }
                silent_since.unwrap_or(t)
            }
            // The run has not been connected so far.
            RecordingState::Initial
            | RecordingState::Stopped { .. }
            | RecordingState::Unknown { .. } => self.run_started,
        };
        self.end_gap(since);
        let (cause, detail) = (cause.to_owned(), detail.to_owned());
        self.state = RecordingState::Disconnected { since, cause, detail, certainty };
    }

    /// Something may have come before it is known to.
    fn downgrade_certainty(&mut self) {
        if let RecordingState::Disconnected { certainty, .. }
        | RecordingState::Stopped { certainty, .. } = &mut self.state
        {
            *certainty = Certainty::AtMost;
        }
    }

    fn end_stall(&mut self, to: u64) {
        if let Some((since, error)) = self.stall.take() {
            let stalled = new_gap(GapKind::Stalled, since, to, "disk", Certainty::Possible);
            self.gaps.push(Gap { detail: error, ..stalled });
        }
    }

    fn on_closed(&mut self, t: u64, stop: bool) {
        self.is_hour_closed = true;
        if !stop {
            return;
        }
        self.end_stall(t);
        // It may have taken a while to write what had come before.
        let since = self.stopping_since.take().map_or(t, |stopping| stopping.min(t));
        self.topic_outages.end_matching(since, |_| true, &mut self.gaps);
        if !matches!(self.state, RecordingState::Stopped { .. }) {
            self.end_gap(since);
            let (cause, certainty) = (CAUSE_STOPPED, Certainty::Exact);
            self.state = RecordingState::Stopped { since, cause, certainty };
        }
    }

    /// The gaps, with the one that goes on.
    pub(super) fn finish(mut self, running: bool) -> Vec<Gap> {
        let runs =
            matches!(self.state, RecordingState::Connected | RecordingState::Disconnected { .. });
        if !running && (runs || self.is_run_never_connected()) {
            self.end_run_crashed();
        }
        let goes_on = |gaps: &mut Vec<Gap>| {
            if let Some(last) = gaps.last_mut() {
                last.to = None;
            }
        };
        if self.stall.is_some() {
            self.end_stall(self.last_activity);
            goes_on(&mut self.gaps);
        }
        self.gaps.extend(self.topic_outages.drain_open());
        let count = self.gaps.len();
        // Where no recorder kept a journal, nobody promised to go on.
        let over = !running && matches!(self.state, RecordingState::Unknown { .. });
        self.end_gap(self.last_activity);
        if self.gaps.len() > count && !over {
            goes_on(&mut self.gaps);
        }
        self.gaps
    }
}

/// A gap without particulars.
fn new_gap(kind: GapKind, from: u64, to: u64, cause: &str, certainty: Certainty) -> Gap {
    let (from, to) = (UnixNanos::new(from), Some(UnixNanos::new(to)));
    let (cause, detail, messages) = (cause.to_owned(), String::new(), None);
    Gap { from, to, kind, cause, detail, messages, certainty }
}

/// A gap of which the journal does not tell.
fn unknown_gap(from: u64, to: u64, detail: String) -> Gap {
    Gap { detail, ..new_gap(GapKind::Unknown, from, to, "journal", Certainty::Possible) }
}
