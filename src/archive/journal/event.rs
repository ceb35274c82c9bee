//! The events of a journal. `docs/journal.md` describes them field by field.

use serde::{Deserialize, Serialize};

use super::limit_kind::LimitKind;
use crate::archive::sha256_hash::Sha256Hash;

/// The version of the format, in every `open`. Readers skip events and fields that they do not
/// know; what they know does not change its meaning within a version.
pub const FORMAT_VERSION: u32 = 1;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When, Unix nanoseconds.
    pub t: u64,
    /// What.
    #[serde(flatten)]
    pub event: JournalEvent,
}

/// An event of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JournalEvent {
    /// A recorder begins to write to the hour.
    Open(Box<OpenEvent>),
    /// Messages come again.
    Up {
        /// The number of the connection in this run, from 1.
        connection: u64,
    },
    /// The source is not connected.
    Down {
        /// The kind of cause, as the status counts them.
        cause: String,
        /// The particulars in words.
        detail: String,
        /// Since when nothing had been heard, where that is why, Unix nanoseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
    },
    /// How far the lines have come. `t` is when the last of them was received.
    Mark(Mark),
    /// Messages were received and are not among the lines.
    Drop {
        /// Since when, Unix nanoseconds.
        since: u64,
        /// How many.
        messages: u64,
        /// Why.
        cause: String,
        /// Whether they may be of other stems: of which, nobody knows.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shared: bool,
    },
    /// Lines cannot be written; they wait in memory.
    Stall {
        /// The system's words.
        error: String,
    },
    /// They can again.
    Resume,
    /// Lines could not be made durable: what the disk has of them is unknown.
    SyncFailed {
        /// The first byte that is in doubt.
        from: u64,
        /// The first byte behind it.
        to: u64,
        /// When `from` was durable, Unix nanoseconds.
        since: u64,
        /// The system's words.
        error: String,
    },
    /// The lines were looked through, since the run before did not close them.
    Recovered(RecoveredEvent),
    /// Of one of several topics nothing comes, or that may be so; the others go on.
    TopicDown {
        /// The topic.
        topic: String,
        /// The kind of cause, as of a connection.
        cause: String,
        /// The particulars in words.
        detail: String,
        /// Since when nothing of it had come, where that is why, Unix nanoseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
    },
    /// It comes again.
    TopicUp {
        /// The topic.
        topic: String,
    },
    /// The server did not confirm these topics.
    Unconfirmed {
        /// The topics.
        topics: Vec<String>,
    },
    /// Messages were set aside in the `.rejects` file by a stage, since the last of these events.
    Rejected {
        /// How many.
        messages: u64,
    },
    /// The recorder has stopped listening, and writes what it has.
    Stopping,
    /// The machine was suspended until `t`.
    Suspended {
        /// Since when, Unix nanoseconds.
        since: u64,
    },
    /// The wall clock stepped to `t`.
    ClockStep {
        /// What it would have shown, Unix nanoseconds.
        from: u64,
    },
    /// Events before this one could not be written.
    Missing {
        /// How many.
        events: u64,
        /// Since when, Unix nanoseconds.
        since: u64,
    },
    /// The recorder has left the hour.
    Closed(ClosedEvent),
    /// A sealed file is complete and checked, and is about to get its name.
    Sealing(SealRecord),
    /// A sealed file stands under its name.
    Sealed(SealRecord),
    /// The hour is about to be removed.
    Removed {
        /// The limit for whose sake.
        reason: LimitKind,
    },
    /// A line that is no JSON object with `t` and `event`. Is never written.
    #[serde(skip)]
    Torn,
}

/// The beginning of a recorder's work on an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenEvent {
    /// The version of the format.
    pub v: u32,
    /// A text that is the same in all hours of one run of the recorder, and in no other.
    pub run: String,
    /// How many hours this run has opened with this one: the order in which it was at work on them,
    /// also when its clock was set back.
    #[serde(default)]
    pub part: u64,
    /// The recorder's version.
    pub version: String,
    /// The name of the machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The SHA-256 of the resolved configuration.
    pub config: String,
    /// What is connected to.
    pub source: String,
    /// What is subscribed to.
    pub topics: Vec<String>,
    /// Whether messages come: the source is connected, and what it subscribes to is answered.
    pub connected: bool,
    /// Those of several topics of which nothing comes all the same, or of which that may be so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics_down: Vec<String>,
    /// Bytes of the lines that are there.
    pub bytes: u64,
    /// The number of these lines.
    pub messages: u64,
}

/// How far the lines have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of all lines of the `.jsonl`.
    pub bytes: u64,
    /// The number of these lines.
    pub messages: u64,
    /// How many of the bytes were durable by then; all, when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<u64>,
}

/// What was found in a `.jsonl` that its recorder did not close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveredEvent {
    /// Bytes of all lines of the `.jsonl`.
    pub bytes: u64,
    /// The number of these lines.
    pub messages: u64,
    /// Bytes at the end that were no whole lines, and are in the `.torn` file now.
    pub cut: u64,
    /// Lines that the journal says were written, and that are gone.
    pub lost: u64,
    /// Since when lines may be lost: the last mark that still holds, Unix nanoseconds.
    pub since: u64,
}

/// The end of a recorder's work on an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedEvent {
    /// Bytes of all lines of the `.jsonl`.
    pub bytes: u64,
    /// The number of these lines.
    pub messages: u64,
    /// When the first message since `open` was received, Unix nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// When the last one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Whether the recorder stopped, rather than go on in another hour.
    pub stop: bool,
    /// Whether all of it is durable.
    pub durable: bool,
}

/// What a sealed file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealRecord {
    /// Bytes of all its lines.
    pub raw_bytes: u64,
    /// The number of its lines.
    pub messages: u64,
    /// The hash of its lines.
    pub raw_sha256: Sha256Hash,
    /// Bytes of the `.jsonl.zst`.
    pub stored_bytes: u64,
    /// The hash of the `.jsonl.zst`.
    pub stored_sha256: Sha256Hash,
    /// Whether its last line has no line feed: only another program seals such.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub torn: bool,
    /// Where its last part came from; none when the file was found as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<SealedPart>,
}

/// The lines that one sealing added, and the `.jsonl` that they were in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPart {
    /// Bytes of these lines, which stood at the start of the `.jsonl`.
    pub bytes: u64,
    /// Their hash.
    pub sha256: Sha256Hash,
    /// The inode of the `.jsonl`.
    pub inode: u64,
    /// Its modification time, Unix nanoseconds.
    pub modified: u64,
    /// Its creation time, Unix nanoseconds, where the file system knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<u64>,
}
