//! The events of a run of the job, as people and programs read them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::compression_ratio::CompressionRatio;
use super::hour_location::{HourLocation, hour_path};
use crate::archive::disk::FileError;
use crate::archive::file_name::FileKind;
use crate::archive::hour_entry::HourEntry;
use crate::archive::journal::{LimitKind, SealRecord};
use crate::archive::retention::RetentionClass;
use crate::archive::seal::SealWarning;
use crate::archive::seal_error::SealError;
use crate::archive::tail_repair::TailRepair;
use crate::base::error_chain::error_chain;
use crate::base::time::UnixNanos;

/// An action of a run, or the failure of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum JobEvent {
    /// An hour was sealed.
    Sealed {
        /// The sealed file.
        #[serde(flatten)]
        place: HourLocation,
        /// Number of lines in it.
        messages: u64,
        /// Bytes of these lines.
        raw_bytes: u64,
        /// Bytes of the file.
        stored_bytes: u64,
        /// Bytes of the lines that this run sealed: fewer than all if lines came late.
        added_raw_bytes: u64,
        /// Bytes that the file gained.
        added_stored_bytes: u64,
    },
    /// An hour had been sealed by an interrupted run or by another program; its lines were compared
    /// with the sealed file and removed.
    Finished {
        /// The sealed file.
        #[serde(flatten)]
        place: HourLocation,
        /// Number of lines in it.
        messages: u64,
        /// Bytes of these lines.
        raw_bytes: u64,
        /// Bytes of the file.
        stored_bytes: u64,
    },
    /// A file that another program sealed was decoded and recorded in a journal.
    Recorded {
        /// The sealed file.
        #[serde(flatten)]
        place: HourLocation,
        /// Number of lines in it.
        messages: u64,
        /// Bytes of these lines.
        raw_bytes: u64,
        /// Bytes of the file.
        stored_bytes: u64,
    },
    /// An hour was removed.
    Removed {
        /// The file after which the hour is named.
        #[serde(flatten)]
        place: HourLocation,
        /// Bytes of all files of the hour.
        bytes: u64,
        /// Limit that required the removal.
        reason: LimitKind,
        /// True if some of the lines had not been sealed.
        unsealed: bool,
    },
    /// An unusual finding: a torn line, a corrupt file, an unexpected file name.
    Remark {
        /// The file.
        path: PathBuf,
        /// The finding.
        message: String,
    },
    /// A limit cannot be kept, since no further hour may be removed for it.
    Unmet {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: LimitKind,
    },
    /// Hours are too old by a clock that has jumped, and are kept until the next run.
    Deferred {
        /// The directory.
        path: PathBuf,
        /// Number of these hours.
        hours: usize,
        /// Time of the previous run, RFC 3339.
        last_run: String,
        /// Current time by the clock, RFC 3339.
        now: String,
    },
    /// An action failed. Nothing is lost, and the next run retries.
    Failed {
        /// The file.
        #[serde(flatten)]
        place: HourLocation,
        /// The error with its causes.
        error: String,
    },
}

/// The bytes by which one run of sealing increased an hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddedBytes {
    pub(super) raw: u64,
    pub(super) stored: u64,
}

impl JobEvent {
    pub(super) fn sealed(
        dir: &Path,
        entry: &HourEntry,
        record: &SealRecord,
        added: AddedBytes,
    ) -> Self {
        let SealRecord { messages, raw_bytes, stored_bytes, .. } = *record;
        Self::Sealed {
            place: HourLocation::of_sealed(dir, entry),
            messages,
            raw_bytes,
            stored_bytes,
            added_raw_bytes: added.raw,
            added_stored_bytes: added.stored,
        }
    }

    pub(super) fn finished(dir: &Path, entry: &HourEntry, record: &SealRecord) -> Self {
        let SealRecord { messages, raw_bytes, stored_bytes, .. } = *record;
        let place = HourLocation::of_sealed(dir, entry);
        Self::Finished { place, messages, raw_bytes, stored_bytes }
    }

    pub(super) fn recorded(dir: &Path, entry: &HourEntry, record: &SealRecord) -> Self {
        let SealRecord { messages, raw_bytes, stored_bytes, .. } = *record;
        let place = HourLocation::of_sealed(dir, entry);
        Self::Recorded { place, messages, raw_bytes, stored_bytes }
    }

    pub(super) fn removed(
        dir: &Path,
        entry: &HourEntry,
        reason: LimitKind,
        class: RetentionClass,
    ) -> Self {
        Self::Removed {
            place: HourLocation::of_hour(dir, entry),
            bytes: entry.total_bytes(),
            reason,
            unsealed: class == RetentionClass::Unsealed,
        }
    }

    pub(super) fn failed(
        dir: &Path,
        entry: &HourEntry,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let file_error = match error.downcast_ref() {
            Some(SealError::File(error)) => Some(error),
            _ => error.downcast_ref::<FileError>(),
        };
        let hint = file_error.and_then(FileError::hint);
        let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
        let error = error_chain(error) + &hint;
        Self::Failed { place: HourLocation::of_hour(dir, entry), error }
    }

    pub(super) fn unmet(dir: &Path, limit: LimitKind) -> Self {
        Self::Unmet { path: dir.to_owned(), limit }
    }

    pub(super) fn deferred(dir: &Path, hours: usize, last_run: UnixNanos, now: UnixNanos) -> Self {
        Self::Deferred {
            path: dir.to_owned(),
            hours,
            last_run: last_run.to_string(),
            now: now.to_string(),
        }
    }

    pub(super) fn non_regular_file(path: &Path) -> Self {
        let message =
            "has the name of an archive file, but is not a regular file; it is ignored".to_owned();
        Self::Remark { path: path.to_owned(), message }
    }

    pub(super) fn unrecognized_names(first: &Path, count: usize) -> Self {
        let message = format!(
            "looks like an hour, but its name is not `<stem>_<Unix second at which the hour starts>.jsonl`; {count} such files are ignored"
        );
        Self::Remark { path: first.to_owned(), message }
    }

    pub(super) fn future_hours(dir: &Path, first: &HourEntry, count: usize) -> Self {
        let message = format!(
            "its hour, {}, lies in the future; {count} such hours are ignored. Is the clock right?",
            first.hour
        );
        Self::Remark { path: hour_path(dir, first), message }
    }

    pub(super) fn run_not_recorded(dir: &Path, error: &(dyn std::error::Error + 'static)) -> Self {
        let message = format!(
            "this run is not recorded, so that the next one may put removals by age off: {}",
            error_chain(error)
        );
        Self::Remark { path: dir.to_owned(), message }
    }

    pub(super) fn last_run_unknown(
        lock_file: &Path,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let message = format!(
            "the time of the last run is unknown, so that removals by age are put off: {}",
            error_chain(error)
        );
        Self::Remark { path: lock_file.to_owned(), message }
    }

    pub(super) fn removal_unrecorded(
        dir: &Path,
        entry: &HourEntry,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        let message =
            format!("the journal does not record the removal of its hour: {}", error_chain(error));
        Self::Remark { path: entry.path(dir, FileKind::Journal), message }
    }

    pub(super) fn from_seal_warning(dir: &Path, entry: &HourEntry, warning: SealWarning) -> Self {
        match warning {
            SealWarning::TailRepaired(TailRepair::LineFeedAdded) => Self::Remark {
                path: hour_path(dir, entry),
                message: "its last line had no line feed; one was added".to_owned(),
            },
            SealWarning::TailRepaired(TailRepair::Truncated { bytes, lines, kept_in }) => {
                let kept_in = kept_in.display();
                let message = if lines == 0 {
                    format!("its last line was torn; its {bytes} bytes are now in `{kept_in}`")
                } else {
                    format!(
                        "a power cut left zeros amid its lines; they and the {lines} lines behind them, {bytes} bytes, are now in `{kept_in}`"
                    )
                };
                Self::Remark { path: hour_path(dir, entry), message }
            }
            SealWarning::LinesLost { messages } => Self::Remark {
                path: entry.path(dir, FileKind::Sealed),
                message: format!(
                    "the sealed file of this hour, with {messages} messages, was gone; the new sealed file does not have them"
                ),
            },
            SealWarning::CorruptQuarantined { kept_in, reason } => Self::Remark {
                path: entry.path(dir, FileKind::Sealed),
                message: format!(
                    "corrupt ({reason}); it is kept as `{}`, and the lines are sealed again",
                    kept_in.display()
                ),
            },
        }
    }

    /// Returns whether the event needs attention.
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

/// Formats the event as one line for people.
impl fmt::Display for JobEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sealed { place, messages, raw_bytes, stored_bytes, .. } => {
                let ratio = CompressionRatio { raw_bytes: *raw_bytes, stored_bytes: *stored_bytes };
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
                    "{}: hours older than `max_age` are kept, since they are not sealed",
                    path.display()
                )
            }
            Self::Unmet { path, limit } => {
                write!(
                    f,
                    "{}: `{limit}` cannot be kept even by removing every hour that may be removed, so none is removed for it: raise the limit, or free space elsewhere",
                    path.display()
                )
            }
            Self::Deferred { path, hours, last_run, now } => {
                write!(
                    f,
                    "{}: {hours} hours that are too old stay until the next run: the clock shows {now}, and the last run was at {last_run}; is the clock right?",
                    path.display()
                )
            }
            Self::Failed { place, error } => {
                write!(f, "failed {}: {error}", place.path.display())
            }
        }
    }
}
