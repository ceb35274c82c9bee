//! Times on the command line.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

use super::cli_error::CliError;
use crate::base::time::UnixNanos;
use crate::base::units::ConfigDuration;

/// The forms of a time, as errors name them.
const FORMS: &str = "write a time (UTC) such as 2026-01-31T14:00:00Z, 2026-01-31T14:00, 2026-01-31, 14:00, today, yesterday, \"yesterday 14:00\", 2h, \"2h ago\", \"3 days ago\", or Unix seconds";

const DAY_SECONDS: u64 = 86_400;

/// A time on the command line: absolute, or relative to the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeArg {
    At(UnixNanos),
    Ago(Duration),
    /// The last time at which it was this second of a day.
    LastSecondOfDay(u64),
    /// A second of the day that began so many days before today.
    OfDay {
        days_ago: u64,
        second: u64,
    },
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
            Self::LastSecondOfDay(second) => {
                let is_past = second <= now.seconds() % DAY_SECONDS;
                Self::OfDay { days_ago: u64::from(!is_past), second }.resolve(now)
            }
            Self::OfDay { days_ago, second } => {
                let day = (now.seconds() / DAY_SECONDS).saturating_sub(days_ago);
                UnixNanos::from_seconds(day * DAY_SECONDS + second)
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
        let text = text.trim().to_lowercase();
        let time = parse_day_word(&text)
            .or_else(|| parse_second_of_day(&text).map(Self::LastSecondOfDay))
            .or_else(|| parse_unix_seconds(&text))
            .or_else(|| parse_date_time(&text))
            .or_else(|| parse_span(&text).map(Self::Ago));
        time.ok_or_else(|| FORMS.to_owned())
    }
}

/// Parses `now`, and `today` and `yesterday` with or without a time of the day.
fn parse_day_word(text: &str) -> Option<TimeArg> {
    if text == "now" {
        return Some(TimeArg::Ago(Duration::ZERO));
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, "00:00"));
    let days_ago = match word {
        "today" => 0,
        "yesterday" => 1,
        _ => return None,
    };
    let second = parse_second_of_day(rest.trim())?;
    Some(TimeArg::OfDay { days_ago, second })
}

/// Parses a time of the day, such as `10:00` or `10:00:30z`.
fn parse_second_of_day(text: &str) -> Option<u64> {
    let text = text.strip_suffix('z').unwrap_or(text);
    let time =
        ["%H:%M:%S", "%H:%M"].iter().find_map(|f| NaiveTime::parse_from_str(text, f).ok())?;
    Some(u64::from(time.num_seconds_from_midnight()))
}

/// Parses Unix seconds, as the names of the files have them. Fewer than nine digits are a typo.
fn parse_unix_seconds(text: &str) -> Option<TimeArg> {
    let has_length = (9..=11).contains(&text.len());
    let is_number = has_length && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = text.parse().ok().filter(|_| is_number)?;
    seconds.checked_mul(1_000_000_000).map(|nanos| TimeArg::At(UnixNanos::new(nanos)))
}

/// Parses a date with or without a time, in UTC if it names no offset.
fn parse_date_time(text: &str) -> Option<TimeArg> {
    let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()).or_else(|| {
        let text = text.strip_suffix('z').unwrap_or(text).replacen('t', " ", 1);
        let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
        let with_time = formats.iter().find_map(|f| NaiveDateTime::parse_from_str(&text, f).ok());
        let with_hour = || {
            let (date, hour) = text.split_once(' ')?;
            // The form of an hour in `ls`.
            date.parse::<NaiveDate>().ok()?.and_hms_opt(hour.parse().ok()?, 0, 0)
        };
        let date = || text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0);
        Some(with_time.or_else(with_hour).or_else(date)?.and_utc())
    })?;
    let nanos = u64::try_from(time.timestamp_nanos_opt()?).ok()?;
    Some(TimeArg::At(UnixNanos::new(nanos)))
}

/// Parses a span before the present, such as `3d`, `2h ago` or `3 days ago`.
fn parse_span(text: &str) -> Option<Duration> {
    let span = text.strip_suffix("ago").unwrap_or(text).trim();
    let unit_start = span.find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = span.split_at_checked(unit_start)?;
    let unit = match unit {
        "second" | "seconds" | "sec" | "secs" => "s",
        "minute" | "minutes" | "min" | "mins" => "m",
        "hour" | "hours" => "h",
        "day" | "days" => "d",
        "week" | "weeks" => "w",
        unit => unit,
    };
    let span: ConfigDuration = format!("{}{unit}", number.trim()).parse().ok()?;
    Some(span.to_duration())
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
        assert_eq!(seconds("3d"), Ok(1_700_000_000 - 3 * 86_400));
        assert_eq!(seconds("3 days ago"), Ok(1_700_000_000 - 3 * 86_400));
        assert_eq!(seconds("1 hour ago"), Ok(1_700_000_000 - 3600));
        assert_eq!(seconds("today"), Ok(1_699_920_000));
        assert_eq!(seconds("Yesterday"), Ok(1_699_833_600));
        assert_eq!(seconds("yesterday 10:00"), Ok(1_699_833_600 + 36_000));
        assert_eq!(seconds("10:00"), Ok(1_699_920_000 + 36_000));
        assert_eq!(seconds("23:00"), Ok(1_699_920_000 - 3600), "the last 23:00 was yesterday");
        assert_eq!(seconds("2023-11-14T10:00"), Ok(1_699_920_000 + 36_000));
        assert_eq!(seconds("2023-11-14 10:00:01"), Ok(1_699_920_000 + 36_001));
        assert_eq!(seconds("2023-11-14T10Z"), Ok(1_699_920_000 + 36_000));
        assert_eq!(seconds("1699920000"), Ok(1_699_920_000));
        for bad in
            ["soon", "ago", "2 moons ago", "24:00", "2023", "2023-13-01", "1969-01-01", "d", ""]
        {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
