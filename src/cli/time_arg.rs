//! Times on the command line.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate};

use super::cli_error::CliError;
use crate::base::time::UnixNanos;
use crate::base::units::{ConfigDuration, UnitError};

/// A time on the command line: absolute, or relative to the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeArg {
    At(UnixNanos),
    Ago(Duration),
}

/// The times of `--from` and `--to`, as far as they are given.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeRange {
    pub(super) from: Option<UnixNanos>,
    pub(super) to: Option<UnixNanos>,
}

impl TimeArg {
    /// Returns the absolute time, relative to `now`.
    pub(super) fn resolve(self, now: UnixNanos) -> UnixNanos {
        match self {
            Self::At(time) => time,
            Self::Ago(span) => {
                let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
                UnixNanos::new(now.nanos().saturating_sub(nanos))
            }
        }
    }
}

impl TimeRange {
    /// Returns the absolute times, relative to `now`.
    ///
    /// # Errors
    /// `from` is later than `to`.
    pub(super) fn resolve(
        from: Option<TimeArg>,
        to: Option<TimeArg>,
        now: UnixNanos,
    ) -> Result<Self, CliError> {
        let range =
            Self { from: from.map(|time| time.resolve(now)), to: to.map(|time| time.resolve(now)) };
        if range.to.is_some() && range.from > range.to {
            return Err(CliError::Usage("--from is later than --to".to_owned()));
        }
        Ok(range)
    }
}

impl FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "now" {
            return Ok(Self::Ago(Duration::ZERO));
        }
        if let Some(span) = text.strip_suffix("ago") {
            let span: ConfigDuration =
                span.parse().map_err(|error: UnitError| error.to_string())?;
            return Ok(Self::Ago(span.to_duration()));
        }
        let time =
            DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(|| {
                let date = text.parse::<NaiveDate>().ok()?;
                Some(date.and_hms_opt(0, 0, 0)?.and_utc())
            });
        time.and_then(|time| time.timestamp_nanos_opt())
            .and_then(|nanos| u64::try_from(nanos).ok())
            .map(|nanos| Self::At(UnixNanos::new(nanos)))
            .ok_or_else(|| "write a time such as 2026-01-31T14:00:00Z, a date such as 2026-01-31 (UTC), or a span such as \"2h ago\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_relative() {
        let now = UnixNanos::from_seconds(1_700_000_000);
        let seconds = |text: &str| text.parse::<TimeArg>().map(|when| when.resolve(now).seconds());
        assert_eq!(seconds("2023-11-14T22:13:20Z"), Ok(1_700_000_000));
        assert_eq!(seconds("2023-11-14T23:13:20+01:00"), Ok(1_700_000_000));
        assert_eq!(seconds("2023-11-14"), Ok(1_699_920_000));
        assert_eq!(seconds("2h ago"), Ok(1_700_000_000 - 7200));
        assert_eq!(seconds("1.5h ago"), Ok(1_700_000_000 - 5400));
        assert_eq!(seconds("now"), Ok(1_700_000_000));
        for bad in ["yesterday", "2h", "ago", "2 hours ago", "2023-13-01", "1969-01-01", ""] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
