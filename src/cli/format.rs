//! Texts that several commands print.

use std::fmt;
use std::time::Duration;

use crate::archive::gaps::Gap;
use crate::base::time::UnixNanos;

/// A length of time in its two largest units, or in seconds with milliseconds below one minute.
pub(super) struct HumanDuration(pub(super) Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total_seconds = self.0.as_secs();
        let days = total_seconds / 86_400;
        let hours = total_seconds / 3600 % 24;
        let minutes = total_seconds / 60 % 60;
        let seconds = total_seconds % 60;
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{:.3}s", self.0.as_secs_f64()),
            (0, 0, _) => write!(f, "{minutes}m{seconds}s"),
            (0, _, _) => write!(f, "{hours}h{minutes}m"),
            _ => write!(f, "{days}d{hours}h"),
        }
    }
}

/// Returns the length of a gap, zero if it is not known; a gap that has not ended lasts until `now`.
pub(super) fn gap_duration(gap: &Gap, now: UnixNanos) -> Duration {
    gap.duration(now).unwrap_or_default()
}

/// Returns the length of a gap as text; `?` if it is not known.
pub(super) fn format_length(gap: &Gap, now: UnixNanos) -> String {
    gap.duration(now).map_or("?".to_owned(), |length| HumanDuration(length).to_string())
}

/// Returns the heading of the lines of [`format_gap`].
pub(super) fn gap_heading() -> String {
    format!(
        "{:24}  {:24}  {:>10}  {:11}  {:9}  {:>8}  CAUSE",
        "FROM (UTC)", "TO", "LASTING", "KIND", "CERTAINTY", "MESSAGES"
    )
}

/// Returns a gap as one line of a table, without its stem.
pub(super) fn format_gap(gap: &Gap, now: UnixNanos) -> String {
    let to = gap.to.map_or("(goes on)".to_owned(), |to| to.to_string());
    let lasting = format_length(gap, now);
    let messages = gap.messages.map_or("-".to_owned(), |messages| messages.to_string());
    format!(
        "{:24}  {to:24}  {lasting:>10}  {:11}  {:9}  {messages:>8}  {}",
        gap.from.to_string(),
        gap.kind.to_string(),
        gap.certainty.to_string(),
        format_cause(gap),
    )
}

/// Returns the cause of a gap with its detail.
pub(super) fn format_cause(gap: &Gap) -> String {
    if gap.detail.is_empty() { gap.cause.clone() } else { format!("{}: {}", gap.cause, gap.detail) }
}
