//! Goes through the journals of a stem and tells its gaps.

use super::segments::{Segment, What};
use super::topics::Topics;
use super::{Certainty, Gap, Kind};
use crate::archive::journal::{Entry, Event, Open};
use crate::clock::{Hour, UnixNanos};
use crate::plugin::DropCause;

/// What is known of the recording at a point of the journals.
#[derive(Debug, Default)]
enum State {
    /// Nothing yet.
    #[default]
    Nothing,
    /// It listens.
    Up,
    /// It runs, and is not connected.
    Down { since: u64, cause: String, detail: String, certainty: Certainty },
    /// It does not run.
    Stopped { since: u64, cause: &'static str, certainty: Certainty },
    /// The journals do not tell.
    Unknown { since: u64, why: &'static str },
}

/// A run opens its next hour within so many nanoseconds.
const PROMPT: u64 = 5_000_000_000;
/// Why no recorder ran.
const STOPPED: &str = "stopped";
const CRASHED: &str = "crashed";

#[derive(Debug, Default)]
pub(super) struct Teller {
    state: State,
    gaps: Vec<Gap>,
    /// The run of the last `open`, and when that run began its first hour.
    run: Option<String>,
    opened: u64,
    /// Whether the run has left its last hour by its own will.
    left: bool,
    /// Since when it listened, when it last did.
    up_since: u64,
    /// When the run stopped listening, if it has.
    stopping: Option<u64>,
    /// The last sign of life.
    last: u64,
    hour: Option<Hour>,
    /// The hour that is looked at, and the last part of the run.
    here: Option<Hour>,
    part: u64,
    stall: Option<(u64, String)>,
    topics: Topics,
    /// The last sign of life before a line that is torn.
    torn: Option<u64>,
}

impl Teller {
    /// Takes what comes next of a run.
    pub(super) fn segment(&mut self, segment: &Segment<'_>) {
        self.here = Some(segment.hour);
        match segment.what {
            What::Events(entries) => {
                self.mind_missing_hours(segment.hour, entries);
                for entry in entries {
                    self.event(entry);
                }
            }
            What::Blank(why) => self.blank(segment.hour, why),
        }
        self.hour = Some(segment.hour);
    }

    /// Between two journals of a run there may be none.
    fn mind_missing_hours(&mut self, hour: Hour, entries: &[Entry]) {
        let Some(before) = self.hour.filter(|_| self.left) else { return };
        // The clock passed over them.
        let stepped = |entry: &Entry| matches!(entry.event, Event::ClockStep { from } if from < hour.start().nanos());
        if before.end() < hour.start()
            && matches!(self.state, State::Up | State::Down { .. })
            && !entries.iter().any(stepped)
        {
            self.lose(before.end().nanos(), "those of these hours are missing");
        }
    }

    /// An hour with lines of which no journal tells.
    fn blank(&mut self, hour: Hour, why: &'static str) {
        let start = hour.start().nanos();
        let since = if self.left || self.last == 0 { start } else { self.last };
        if let State::Stopped { .. } = self.state {
            self.end_at(start);
        }
        self.lose(since, why);
        self.last = hour.end().nanos();
        self.left = true;
    }

    /// From here on nothing is known.
    fn lose(&mut self, since: u64, why: &'static str) {
        if !matches!(self.state, State::Unknown { .. }) {
            self.end_at(since);
            self.state = State::Unknown { since, why };
        }
    }

    /// Ends the gap that goes on, if one does.
    fn end_at(&mut self, to: u64) {
        match std::mem::take(&mut self.state) {
            State::Nothing | State::Up => {}
            State::Down { since, cause, detail, certainty } => {
                let down = gap(Kind::Down, since, to, &cause, certainty);
                self.gaps.push(Gap { detail, ..down });
            }
            State::Stopped { since, cause, certainty } => {
                self.gaps.push(gap(Kind::NotRunning, since, to, cause, certainty));
            }
            State::Unknown { since, why } => {
                self.gaps.push(unknown(since, to, why.to_owned()));
            }
        }
    }

    fn event(&mut self, Entry { t, event }: &Entry) {
        let t = *t;
        self.mind_torn(t, event);
        match event {
            Event::Open(open) => self.open(t, open),
            Event::Up { .. } => self.up(t),
            Event::Unconfirmed { .. } => self.doubt(),
            Event::TopicDown { topic, cause, detail, since } => {
                let certainty = if since.is_some() { Certainty::AtMost } else { Certainty::Exact };
                self.topics.down(since.unwrap_or(t), topic, cause, detail, certainty);
            }
            Event::TopicUp { topic } => self.topics.end(t, |down| down == topic, &mut self.gaps),
            Event::Down { cause, detail, since } => self.down(t, cause, detail, *since),
            Event::Drop { since, messages, cause, shared } => {
                // Of a program nobody knows what it has dealt with.
                let doubtful = *shared || cause == DropCause::Stage.as_str();
                let certainty = if doubtful { Certainty::AtMost } else { Certainty::Exact };
                let dropped = gap(Kind::Dropped, *since, t, cause, certainty);
                self.gaps.push(Gap { messages: Some(*messages), ..dropped });
            }
            Event::Stopping => self.stopping = Some(t),
            Event::Stall { error } => self.stall = Some((t, error.clone())),
            Event::Resume => self.end_stall(t),
            Event::SyncFailed { since, error, .. } => {
                let detail = error.clone();
                let cause = "sync_failed".to_owned();
                self.gaps.push(Gap { cause, ..unknown(*since, t, detail) });
            }
            Event::Recovered(found) if found.since == 0 && found.messages > 0 => {
                let begin = self.here.map_or(t, |hour| hour.start().nanos());
                self.gaps.push(unknown(begin, t, "there was none for these lines".to_owned()));
            }
            Event::Recovered(found) if found.lost > 0 => {
                let to = self.last.max(found.since);
                let lost = gap(Kind::Dropped, found.since, to, "lines_missing", Certainty::Exact);
                self.gaps.push(Gap { messages: Some(found.lost), ..lost });
            }
            Event::Suspended { since } => {
                let (kind, exact) = (Kind::NotRunning, Certainty::Exact);
                self.gaps.push(gap(kind, *since, t, "suspended", exact));
            }
            // Among them may be that the connection was lost.
            Event::Missing { since, .. } => self.lose(*since, "events could not be written"),
            Event::Mark(_) if matches!(self.state, State::Unknown { .. }) => {
                self.end_at(t);
                self.state = State::Up;
            }
            Event::Closed(closed) => self.closed(t, closed.stop),
            _ => {}
        }
        self.alive(t, event);
    }

    fn up(&mut self, t: u64) {
        // At the same time another connection stood.
        if !matches!(self.state, State::Down { since, .. } if since == t) {
            self.end_at(t);
            self.up_since = t;
        }
        self.state = State::Up;
    }

    /// Takes note of a sign of life of the recorder.
    fn alive(&mut self, t: u64, event: &Event) {
        match event {
            // The time of a mark is that of a receipt, and may lie before that of another event.
            Event::Mark(_) => self.last = self.last.max(t),
            // These are of whoever looks after the archive.
            Event::Sealing(_)
            | Event::Sealed(_)
            | Event::Removed { .. }
            | Event::Recovered(_)
            | Event::Torn => {}
            _ => self.last = t,
        }
    }

    fn mind_torn(&mut self, t: u64, event: &Event) {
        if *event == Event::Torn {
            self.torn.get_or_insert(self.last);
        } else if let Some(since) = self.torn.take() {
            // What a crash tore is told by the run that follows, and an end that is torn by the next
            // hour.
            let told = matches!(event, Event::Recovered(_) | Event::Sealing(_) | Event::Open(_));
            if !told {
                self.gaps.push(unknown(since, t, "a line of it is torn".to_owned()));
            }
        }
    }

    fn open(&mut self, t: u64, open: &Open) {
        let same = self.run.as_ref() == Some(&open.run);
        // What a run wrote between is gone, or what it wrote before in this hour.
        let missed = same && open.part > self.part + 1;
        let begin = self.here.map_or(t, |hour| hour.start().nanos());
        let late = matches!(self.state, State::Nothing) && t > begin + PROMPT;
        if missed && !matches!(self.state, State::Nothing) {
            self.lose(self.last, "a part of it is missing");
        } else if !same && open.part > 1 && late {
            self.lose(begin, "a part of it is missing");
        }
        self.part = open.part;
        let runs = matches!(self.state, State::Up | State::Down { .. });
        if !same {
            if runs || self.is_unfinished() {
                self.crash();
            }
            self.stopping = None;
            self.run = Some(open.run.clone());
            self.opened = t;
        } else if runs && !self.left {
            self.lose(self.last, "it has no end");
        }
        let unknown = matches!(self.state, State::Unknown { .. });
        if open.connected {
            // Whatever was noted or not: it listens.
            if !matches!(self.state, State::Up) {
                self.up_since = t;
            }
            self.end_at(t);
            self.state = State::Up;
        } else if (same && (unknown || matches!(self.state, State::Up)))
            || (!same && open.part > 1 && matches!(self.state, State::Nothing))
        {
            // It went on without a connection.
            self.end_at(t);
            let (cause, detail, certainty) = ("other".to_owned(), String::new(), Certainty::Exact);
            self.state = State::Down { since: t, cause, detail, certainty };
        }
        self.topics.open(t, &open.topics, &open.topics_down, &mut self.gaps);
        self.left = false;
    }

    /// Whether a run went on that had not come so far that anything is known of it.
    fn is_unfinished(&self) -> bool {
        matches!(self.state, State::Nothing) && self.run.is_some() && !self.left
    }

    /// The run that was going on has ended without a word.
    fn crash(&mut self) {
        let since = self.stopping.take().map_or(self.last, |stopping| stopping.min(self.last));
        self.end_stall(self.last);
        self.topics.end(since, |_| true, &mut self.gaps);
        self.end_at(since);
        let (cause, certainty) = (CRASHED, Certainty::AtMost);
        self.state = State::Stopped { since, cause, certainty };
    }

    fn down(&mut self, t: u64, cause: &str, detail: &str, silent_since: Option<u64>) {
        let mut certainty = Certainty::Exact;
        let since = match &mut self.state {
            // What is found dead later may have been dead before.
            State::Down { since, certainty, .. } => {
                let earlier = silent_since.map(|at| at.max(self.up_since));
                if let Some(earlier) = earlier.filter(|earlier| *earlier < *since) {
                    (*since, *certainty) = (earlier, Certainty::AtMost);
                }
                return;
            }
            State::Up => {
                if silent_since.is_some() {
                    // It may have been dead since, or quiet.
                    certainty = Certainty::AtMost;
                }
                silent_since.unwrap_or(t)
            }
            // The run has not been connected so far.
            State::Nothing | State::Stopped { .. } | State::Unknown { .. } => self.opened,
        };
        self.end_at(since);
        let (cause, detail) = (cause.to_owned(), detail.to_owned());
        self.state = State::Down { since, cause, detail, certainty };
    }

    /// Something may have come before it is known to.
    fn doubt(&mut self) {
        if let State::Down { certainty, .. } | State::Stopped { certainty, .. } = &mut self.state {
            *certainty = Certainty::AtMost;
        }
    }

    fn end_stall(&mut self, to: u64) {
        if let Some((since, error)) = self.stall.take() {
            let stalled = gap(Kind::Stalled, since, to, "disk", Certainty::Possible);
            self.gaps.push(Gap { detail: error, ..stalled });
        }
    }

    fn closed(&mut self, t: u64, stop: bool) {
        self.left = true;
        if !stop {
            return;
        }
        self.end_stall(t);
        // It may have taken a while to write what had come before.
        let since = self.stopping.take().map_or(t, |stopping| stopping.min(t));
        self.topics.end(since, |_| true, &mut self.gaps);
        if !matches!(self.state, State::Stopped { .. }) {
            self.end_at(since);
            let (cause, certainty) = (STOPPED, Certainty::Exact);
            self.state = State::Stopped { since, cause, certainty };
        }
    }

    /// The gaps, with the one that goes on.
    pub(super) fn finish(mut self, running: bool) -> Vec<Gap> {
        let runs = matches!(self.state, State::Up | State::Down { .. });
        if !running && (runs || self.is_unfinished()) {
            self.crash();
        }
        let goes_on = |gaps: &mut Vec<Gap>| {
            if let Some(last) = gaps.last_mut() {
                last.to = None;
            }
        };
        if self.stall.is_some() {
            self.end_stall(self.last);
            goes_on(&mut self.gaps);
        }
        self.gaps.extend(self.topics.take());
        let count = self.gaps.len();
        // Where no recorder kept a journal, nobody promised to go on.
        let over = !running && matches!(self.state, State::Unknown { .. });
        self.end_at(self.last);
        if self.gaps.len() > count && !over {
            goes_on(&mut self.gaps);
        }
        self.gaps
    }
}

/// A gap without particulars.
fn gap(kind: Kind, from: u64, to: u64, cause: &str, certainty: Certainty) -> Gap {
    let (from, to) = (UnixNanos::new(from), Some(UnixNanos::new(to)));
    let (cause, detail, messages) = (cause.to_owned(), String::new(), None);
    Gap { from, to, kind, cause, detail, messages, certainty }
}

/// A gap of which the journal does not tell.
fn unknown(from: u64, to: u64, detail: String) -> Gap {
    Gap { detail, ..gap(Kind::Unknown, from, to, "journal", Certainty::Possible) }
}
