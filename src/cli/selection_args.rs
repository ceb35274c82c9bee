//! The arguments that select stems and times.

use clap::Args;

use super::cli_error::CliError;
use super::time_arg::{TimeArg, TimeRange};
use crate::base::time::{Hour, UnixNanos};

/// The arguments that select stems and times.
#[derive(Args)]
pub(super) struct SelectionArgs {
    /// Stems, as `streamer ls` shows them, topics, or globs such as 'trades*'; all by default
    #[arg(value_name = "STEM")]
    pub(super) stems: Vec<String>,
    /// Start at this time (UTC): 2026-01-31, 2026-01-31T10:00, 10:00, yesterday, 3d, '3 days ago' or
    /// Unix seconds
    #[arg(long, value_name = "TIME")]
    from: Option<TimeArg>,
    /// End at this time, in the same forms
    #[arg(long, value_name = "TIME")]
    to: Option<TimeArg>,
}

impl SelectionArgs {
    /// Returns the selected times, relative to `now`.
    ///
    /// # Errors
    /// The range ends before it starts.
    pub(super) fn range(&self, now: UnixNanos) -> Result<TimeRange, CliError> {
        TimeRange::resolve(self.from, self.to, now)
    }
}

/// Returns whether a part of the hour is in the range.
pub(super) fn is_hour_in_range(hour: Hour, range: TimeRange) -> bool {
    range.from.is_none_or(|from| hour >= Hour::containing(from))
        && range.to.is_none_or(|to| hour.start() < to)
}
