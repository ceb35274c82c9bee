//! The events of a journal. `docs/journal.md` describes them field by field.

use serde::{Deserialize, Serialize};

use super::limit_kind::LimitKind;
use super::previous_run::PreviousRun;
use super::seal_record::SealRecord;
use crate::base::connection_id::ConnectionId;
use crate::base::time::UnixNanos;

/// Version of the journal format, recorded in every `open` event.
///
/// Readers skip events and fields that they do not know. Within a version, the meaning of known
/// events and fields does not change.
pub const FORMAT_VERSION: u32 = 1;

/// One line of a journal. Every time in it is a number of Unix nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Time of the event.
    pub t: UnixNanos,
    /// The event.
    #[serde(flatten)]
    pub event: JournalEvent,
}

/// An event of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JournalEvent {
    /// A recorder starts to write to the hour.
    Open(Box<OpenEvent>),
    /// The event that follows came before messages that a stage holds back.
    Behind {
        /// Time until which everything that was sent is written.
        since: UnixNanos,
    },
    /// The source is connected and delivers messages.
    Up {
        /// Number of the connection in this run, from 1.
        connection: ConnectionId,
    },
    /// The source is not connected.
    Down {
        /// Kind of cause, under which the status counts the disconnect.
        cause: String,
        /// Details in words.
        detail: String,
        /// Time since which messages may be missing, if the loss was noticed later: everything until
        /// then was read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<UnixNanos>,
        /// True if `since` is when the connection was lost, but for a moment.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exact: bool,
    },
    /// The size that the lines have reached. `t` is the time at which the last line was received.
    Mark(Mark),
    /// Messages were received and are not among the lines.
    Drop {
        /// Time since which messages were dropped.
        since: UnixNanos,
        /// Number of dropped messages.
        messages: u64,
        /// Cause, as [`DropCause`](super::DropCause) spells it.
        cause: String,
        /// True if some of the messages may belong to other stems. The recorder cannot tell which.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shared: bool,
        /// Details in words; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// Lines cannot be written and wait in memory.
    Stall {
        /// Error of the operating system.
        error: String,
    },
    /// Lines can be written again.
    Resume,
    /// Lines could not be made durable. The disk may hold any part of the byte range.
    SyncFailed {
        /// Offset in the `.jsonl` of the first byte that may be missing.
        from: u64,
        /// Offset of the first byte after the range.
        to: u64,
        /// Time at which the bytes before `from` were durable.
        since: UnixNanos,
        /// Error of the operating system.
        error: String,
    },
    /// The lines were scanned because the previous run did not close them.
    Recovered(RecoveredEvent),
    /// One of several topics delivers nothing, or may deliver nothing. The other topics continue.
    TopicDown {
        /// The topic.
        topic: String,
        /// Kind of cause, as for a connection.
        cause: String,
        /// Details in words.
        detail: String,
        /// Time since which the topic had been silent, if silence is the cause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<UnixNanos>,
    },
    /// The topic delivers messages again.
    TopicUp {
        /// The topic.
        topic: String,
    },
    /// The server did not confirm the subscriptions to these topics.
    Unconfirmed {
        /// The topics.
        topics: Vec<String>,
    },
    /// The server named a topic that nobody asked for. Lines of such topics are in one file.
    Unrequested {
        /// The first such topic.
        topic: String,
    },
    /// A stage rejected messages, which are in the `.rejects` file.
    Rejected {
        /// Number of messages rejected since the previous event of this kind.
        messages: u64,
    },
    /// The recorder has stopped listening and writes the messages that it holds.
    Stopping {
        /// Time at which the first of several connections was closed, if others took longer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<UnixNanos>,
    },
    /// The recorder runs another configuration from now on, without having stopped.
    ConfigChanged(Box<ConfigChangedEvent>),
    /// The machine was suspended until `t`.
    Suspended {
        /// Time at which the machine was suspended.
        since: UnixNanos,
    },
    /// The wall clock stepped to `t`.
    ClockStep {
        /// Time that the clock would have shown without the step.
        from: UnixNanos,
    },
    /// The `.jsonl` can take no more lines, since files of the disk may not be larger. It is about
    /// to get the name of a part, and lines go on in a new `.jsonl`.
    Continued(ContinuedEvent),
    /// The first event of a file of the journal that goes on from another one, which can take no more.
    Continues {
        /// Number of the file that has the events before.
        part: u16,
    },
    /// A file of the journal is gone, with the events that stood here. Readers produce it; it is never
    /// written.
    PartGone,
    /// Earlier events could not be written and were discarded.
    Missing {
        /// Number of discarded events.
        events: u64,
        /// Time of the first discarded event.
        since: UnixNanos,
    },
    /// The recorder has finished the hour.
    Closed(ClosedEvent),
    /// A sealed file is complete and verified, and is about to be renamed to its final name.
    Sealing(SealRecord),
    /// A sealed file has its final name.
    Sealed(SealRecord),
    /// The hour is about to be removed.
    Removed {
        /// The limit that caused the removal.
        reason: LimitKind,
    },
    /// A line that is not a JSON object with `t` and `event`. Readers produce it; it is never
    /// written.
    #[serde(skip_deserializing)]
    Torn,
}

/// The start of a recorder's work on an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenEvent {
    /// Version of the journal format.
    pub v: u32,
    /// Identifier of the recorder's run: equal in all hours of one run, and unique to it.
    pub run: String,
    /// Number of the run in this directory: one more than that of the run before, whatever the clock
    /// shows. 0 in journals of earlier versions.
    #[serde(default)]
    pub run_number: u64,
    /// Completeness of the run before, in the first journal of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousRun>,
    /// Identifier of the start of the machine; empty where the system has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// Time by the wall clock at which the machine was started: the reading of the clock less the
    /// time since. It changes by each step of the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<UnixNanos>,
    /// Number of hours that the run has opened, including this one. It orders the run's hours even
    /// when its clock was set back.
    #[serde(default)]
    pub part: u64,
    /// Version of the recorder.
    pub version: String,
    /// Host name of the machine.
    pub host: String,
    /// Process id of the recorder.
    pub pid: u32,
    /// SHA-256 of the resolved configuration.
    pub config: String,
    /// Endpoint of the source.
    pub source: String,
    /// Subscribed topics.
    pub topics: Vec<String>,
    /// True if the source is connected and has answered all subscriptions.
    pub connected: bool,
    /// Topics that deliver nothing, or may deliver nothing, although the source is connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics_down: Vec<String>,
    /// Bytes of the lines that exist already.
    pub bytes: u64,
    /// Number of the lines that exist already.
    pub messages: u64,
}

/// A change of the configuration of a recorder that runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChangedEvent {
    /// SHA-256 of the resolved configuration before.
    pub old: String,
    /// SHA-256 of the resolved configuration from now on.
    pub new: String,
    /// Topics that are subscribed to from now on, of those that concern the journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Topics that are not recorded any more, of those that concern the journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

/// The size that the lines of an hour have reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of all lines of the `.jsonl`.
    pub bytes: u64,
    /// Number of lines of the `.jsonl`.
    pub messages: u64,
    /// Number of bytes that were durable at that time; `None` if all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<u64>,
}

/// The result of scanning a `.jsonl` that its recorder did not close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredEvent {
    /// Bytes of all complete lines of the `.jsonl`.
    pub bytes: u64,
    /// Number of complete lines of the `.jsonl`.
    pub messages: u64,
    /// Bytes after the last complete line, or from zeros amid the lines on, moved to the `.torn`
    /// file.
    pub cut: u64,
    /// Number of lines that are missing: those that the journal counts, or those that were cut off
    /// with zeros before them.
    pub lost: u64,
    /// Time since which lines may be missing: that of the last mark that still holds. The epoch if
    /// there is no mark.
    pub since: UnixNanos,
}

/// A `.jsonl` that becomes a part of its hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContinuedEvent {
    /// Number of the part.
    pub part: u16,
    /// Bytes of all lines of the part.
    pub bytes: u64,
    /// Number of lines of the part.
    pub messages: u64,
}

/// The end of a recorder's work on an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedEvent {
    /// Bytes of all lines of the `.jsonl`.
    pub bytes: u64,
    /// Number of lines of the `.jsonl`.
    pub messages: u64,
    /// Time at which the first message since `open` was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<UnixNanos>,
    /// Time at which the last message was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<UnixNanos>,
    /// True if the recorder stopped, rather than continue in another hour.
    pub stop: bool,
    /// True if all lines are durable.
    pub durable: bool,
}
