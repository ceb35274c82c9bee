//! What a run of the job did, one thing at a time, for people and for programs.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::hour_path;
use crate::archive::file_name::FileKind;
use crate::archive::hour_entry::HourEntry;
use crate::archive::journal::{LimitKind, SealRecord};
use crate::archive::seal::SealWarning;
use crate::archive::tail_repair::TailRepair;
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;

/// Which hour, and which of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HourLocation {
    /// The first part of the file's name.
    pub stem: String,
    /// The first second of the hour, RFC 3339.
    pub hour: String,
    /// The file.
    pub path: PathBuf,
}

/// Something that a run did, or could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JobEvent {
    /// An hour was sealed.
    Sealed {
        #[serde(flatten)]
        /// The sealed file.
        place: HourLocation,
        /// The number of lines in it.
        messages: u64,
        /// Their bytes.
        raw_bytes: u64,
        /// Bytes of the file.
        stored_bytes: u64,
        /// Bytes of lines that were sealed now: fewer than all when lines came late.
        added_raw_bytes: u64,
        /// Bytes by which the file grew.
        added_stored_bytes: u64,
    },
    /// An hour was sealed before, by a run that was cut off or by another program; its lines were
    /// compared and removed.
    Finished {
        #[serde(flatten)]
        /// The sealed file.
        place: HourLocation,
        /// The number of lines in it.
        messages: u64,
        /// Their bytes.
        raw_bytes: u64,
        /// Bytes of the file.
        stored_bytes: u64,
    },
    /// What another program sealed was decoded and recorded.
    Recorded {
        #[serde(flatten)]
        /// The sealed file.
        place: HourLocation,
        /// The number of lines in it.
        messages: u64,
        /// Their bytes.
        raw_bytes: u64,
        /// Bytes of the file.
        stored_bytes: u64,
    },
    /// An hour was removed.
    Removed {
        #[serde(flatten)]
        /// Its lines.
        place: HourLocation,
        /// Bytes of all its files.
        bytes: u64,
        /// The limit for whose sake.
        reason: LimitKind,
        /// Whether some of its lines had not been sealed.
        unsealed: bool,
    },
    /// Something deserves a word: a torn line, a corrupt file, a name of ours on what is none.
    Remark {
        /// The file.
        path: PathBuf,
        /// The word.
        message: String,
    },
    /// A limit cannot be kept: there is nothing more that may go.
    Unmet {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: LimitKind,
    },
    /// Hours are old enough to go by a clock that has jumped, and stay until the next run.
    Deferred {
        /// The directory.
        path: PathBuf,
        /// How many.
        hours: usize,
        /// When the last run was, RFC 3339.
        last_run: String,
        /// What the clock shows now, RFC 3339.
        now: String,
    },
    /// Something failed. Nothing is lost; the next run tries again.
    Failed {
        #[serde(flatten)]
        /// The file.
        place: HourLocation,
        /// Why.
        error: String,
    },
}

/// What a run did in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct JobSummary {
    /// Hours that were sealed.
    pub sealed: u64,
    /// Bytes of their lines that were sealed now.
    pub raw_bytes: u64,
    /// Bytes of the sealed files.
    pub stored_bytes: u64,
    /// Hours of other programs that were recorded.
    pub recorded: u64,
    /// Hours that were removed.
    pub removed: u64,
    /// Bytes of their files.
    pub removed_bytes: u64,
    /// Things that failed.
    pub failures: u64,
}

impl JobSummary {
    pub(super) fn record(&mut self, event: &JobEvent) {
        match event {
            JobEvent::Sealed { added_raw_bytes, added_stored_bytes, .. } => {
                self.sealed += 1;
                self.raw_bytes += added_raw_bytes;
                self.stored_bytes += added_stored_bytes;
            }
            JobEvent::Finished { raw_bytes, stored_bytes, .. } => {
                self.sealed += 1;
                self.raw_bytes += raw_bytes;
                self.stored_bytes += stored_bytes;
            }
            JobEvent::Recorded { .. } => self.recorded += 1,
            JobEvent::Removed { bytes, .. } => {
                self.removed += 1;
                self.removed_bytes += bytes;
            }
            JobEvent::Failed { .. } => self.failures += 1,
            JobEvent::Remark { .. } | JobEvent::Unmet { .. } | JobEvent::Deferred { .. } => {}
        }
    }
}

impl JobEvent {
    pub(super) fn sealed(
        dir: &Path,
        entry: &HourEntry,
        record: &SealRecord,
        added_raw_bytes: u64,
        added_stored_bytes: u64,
    ) -> Self {
        let SealRecord { messages, raw_bytes, stored_bytes, .. } = *record;
        let place = sealed_location(dir, entry);
        Self::Sealed {
            place,
            messages,
            raw_bytes,
            stored_bytes,
            added_raw_bytes,
            added_stored_bytes,
        }
    }

    pub(super) fn finished(dir: &Path, entry: &HourEntry, record: &SealRecord) -> Self {
        let SealRecord { messages, raw_bytes, stored_bytes, .. } = *record;
        Self::Finished { place: sealed_location(dir, entry), messages, raw_bytes, stored_bytes }
    }

    pub(super) fn recorded(dir: &Path, entry: &HourEntry, record: &SealRecord) -> Self {
        let SealRecord { messages, raw_bytes, stored_bytes, .. } = *record;
        Self::Recorded { place: sealed_location(dir, entry), messages, raw_bytes, stored_bytes }
    }

    pub(super) fn removed(
        dir: &Path,
        entry: &HourEntry,
        reason: LimitKind,
        unsealed: bool,
    ) -> Self {
        Self::Removed {
            place: hour_location(dir, entry),
            bytes: entry.total_bytes(),
            reason,
            unsealed,
        }
    }

    pub(super) fn failed(
        dir: &Path,
        entry: &HourEntry,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self::Failed { place: hour_location(dir, entry), error: error_chain(error) }
    }

    pub(super) fn unmet(dir: &Path, limit: LimitKind) -> Self {
        Self::Unmet { path: dir.to_owned(), limit }
    }

    pub(super) fn non_regular_file(path: &Path) -> Self {
        let message = "has a name of ours but is no regular file; it is left alone".to_owned();
        Self::Remark { path: path.to_owned(), message }
    }

    pub(super) fn unrecognized_names(first: &Path, count: usize) -> Self {
        let message = format!(
            "looks like an hour, but its name is not `<stem>_<Unix second at which the hour starts>.jsonl`; {count} such files are left alone"
        );
        Self::Remark { path: first.to_owned(), message }
    }

    pub(super) fn future_hours(dir: &Path, first: &HourEntry, count: usize) -> Self {
        let message = format!(
            "its hour, {}, lies in the future; {count} such hours are left alone. Is the clock right?",
            first.hour
        );
        Self::Remark { path: hour_path(dir, first), message }
    }

    pub(super) fn from_seal_warning(dir: &Path, entry: &HourEntry, remark: SealWarning) -> Self {
        let (path, message) = match remark {
            SealWarning::TailRepaired(TailRepair::LineFeedAdded) => {
                (hour_path(dir, entry), "its last line had no line feed; it was added".to_owned())
            }
            SealWarning::TailRepaired(TailRepair::Truncated { bytes, kept_in }) => {
                let kept_in = kept_in.display();
                let message =
                    format!("its last line was torn; its {bytes} bytes are now in `{kept_in}`");
                (hour_path(dir, entry), message)
            }
            SealWarning::LinesLost { messages } => {
                let message = format!(
                    "the sealed file of this hour, with {messages} messages, was gone; what is sealed now does not have them"
                );
                (entry.path(dir, FileKind::Sealed), message)
            }
            SealWarning::CorruptQuarantined { kept_in, reason: why } => {
                let message = format!(
                    "corrupt ({why}); it is kept as `{}`, and the lines are sealed again",
                    kept_in.display()
                );
                (entry.path(dir, FileKind::Sealed), message)
            }
        };
        Self::Remark { path, message }
    }

    pub(super) fn deferred(dir: &Path, hours: usize, last: UnixNanos, now: UnixNanos) -> Self {
        let (last_run, now) = (last.to_string(), now.to_string());
        Self::Deferred { path: dir.to_owned(), hours, last_run, now }
    }

    /// Whether it should be seen.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Sealed { .. } | Self::Finished { .. } | Self::Recorded { .. } => false,
            Self::Removed { unsealed, .. } => *unsealed,
            Self::Remark { .. }
            | Self::Unmet { .. }
            | Self::Deferred { .. }
            | Self::Failed { .. } => true,
        }
    }
}

fn hour_location(dir: &Path, entry: &HourEntry) -> HourLocation {
    HourLocation {
        stem: entry.stem.as_str().to_owned(),
        hour: entry.hour.start().to_string(),
        path: hour_path(dir, entry),
    }
}

fn sealed_location(dir: &Path, entry: &HourEntry) -> HourLocation {
    HourLocation { path: entry.path(dir, FileKind::Sealed), ..hour_location(dir, entry) }
}

/// One line for people.
impl fmt::Display for JobEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed { place, messages, raw_bytes, stored_bytes, .. } => {
                let ratio = CompressionRatio(*raw_bytes, *stored_bytes);
                write!(
                    f,
                    "sealed {}: {messages} messages, {raw_bytes} bytes in {stored_bytes}, {ratio}",
                    place.path.display()
                )
            }
            Self::Finished { place, messages, .. } => {
                write!(
                    f,
                    "finished {}: {messages} messages were sealed already; the lines were compared and removed",
                    place.path.display()
                )
            }
            Self::Recorded { place, messages, raw_bytes, .. } => {
                write!(
                    f,
                    "recorded {}: sealed by another program, {messages} messages, {raw_bytes} bytes",
                    place.path.display()
                )
            }
            Self::Removed { place, bytes, reason, unsealed } => {
                let unsealed = if *unsealed { " THOUGH IT WAS NOT SEALED" } else { "" };
                write!(
                    f,
                    "removed {}{unsealed}: {bytes} bytes, for `{reason}`",
                    place.path.display()
                )
            }
            Self::Remark { path, message } => write!(f, "{}: {message}", path.display()),
            Self::Unmet { path, limit: LimitKind::MaxAge } => {
                write!(
                    f,
                    "{}: hours older than `max_age` stay, since they are not sealed",
                    path.display()
                )
            }
            Self::Unmet { path, limit } => {
                write!(
                    f,
                    "{}: `{limit}` could not be kept even if every hour went that may, so none goes for its sake: raise the limit, or make room elsewhere",
                    path.display()
                )
            }
            Self::Deferred { path, hours, last_run, now } => {
                write!(
                    f,
                    "{}: {hours} hours that are too old stay until the next run: the clock shows {now}, and the last run was at {last_run}; is it right?",
                    path.display()
                )
            }
            Self::Failed { place, error } => {
                write!(f, "failed {}: {error}", place.path.display())
            }
        }
    }
}

/// Raw against stored bytes: `8.3x`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CompressionRatio(pub(crate) u64, pub(crate) u64);

impl fmt::Display for CompressionRatio {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people, one decimal")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.1}x", self.0 as f64 / self.1.max(1) as f64))
    }
}
