//! The HTTP header `Retry-After`.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveDateTime};

use crate::base::time::UnixNanos;

/// Number of years in the future from which on a year of two digits is one of the past (RFC 9110,
/// 5.6.7).
const MAX_FUTURE_YEARS: i32 = 50;

/// Parses the pause that `Retry-After` asks for: a number of seconds or a date (RFC 9110, 10.2.3).
///
/// Some servers send fractions of seconds.
pub(super) fn parse_retry_after(text: &str, now: UnixNanos) -> Option<Duration> {
    let text = text.trim();
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return None;
        }
        let seconds: f64 = text.parse().ok()?;
        return Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    let now_seconds = i64::try_from(now.seconds()).ok()?;
    let date = parse_http_date(text, DateTime::from_timestamp(now_seconds, 0)?.year())?;
    let seconds = date.and_utc().timestamp().saturating_sub(now_seconds);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Parses a date in one of the three forms of HTTP (RFC 9110, 5.6.7). The day of the week is not
/// checked.
fn parse_http_date(text: &str, this_year: i32) -> Option<NaiveDateTime> {
    if let Some((_day, date)) = text.split_once(',') {
        let date = date.trim();
        // RFC 850: `Sunday, 06-Nov-94 08:49:37 GMT`.
        if let Ok(date) = NaiveDateTime::parse_from_str(date, "%d-%b-%y %H:%M:%S GMT") {
            let short_year = date.year().rem_euclid(100);
            let year = this_year - this_year.rem_euclid(100) + short_year;
            let is_past = year > this_year + MAX_FUTURE_YEARS;
            return date.with_year(if is_past { year - 100 } else { year });
        }
        // The same with a whole year, as in cookies.
        if let Ok(date) = NaiveDateTime::parse_from_str(date, "%d-%b-%Y %H:%M:%S GMT") {
            return Some(date);
        }
        // IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`, or with another zone.
        return DateTime::parse_from_rfc2822(date).ok().map(|date| date.naive_utc());
    }
    // asctime: `Sun Nov  6 08:49:37 1994`.
    let (_day, date) = text.split_once(' ')?;
    NaiveDateTime::parse_from_str(date, "%b %e %H:%M:%S %Y").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-10-21T07:28:00Z.
    const NOW: UnixNanos = UnixNanos::from_seconds(1_445_412_480);

    fn seconds(text: &str) -> Option<f64> {
        parse_retry_after(text, NOW).map(|pause| pause.as_secs_f64())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_of_any_form() {
        for (text, pause) in [
            ("120", 120.0),
            (" 0 ", 0.0),
            ("1.5", 1.5),
            ("Wed, 21 Oct 2015 07:29:00 GMT", 60.0),
            ("Wednesday, 21-Oct-15 07:29:00 GMT", 60.0),
            ("Wed Oct 21 07:29:00 2015", 60.0),
            ("Wed, 21-Oct-2015 07:29:00 GMT", 60.0),
            ("Wed, 21 Oct 2015 09:29:00 +0200", 60.0),
            ("Sun Nov  1 07:28:00 2015", 11.0 * 86_400.0),
            ("Mon, 21 Oct 2015 07:29:00 GMT", 60.0),
            ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
        ] {
            assert_eq!(seconds(text), Some(pause), "{text}");
        }
        assert_eq!(parse_retry_after(&"9".repeat(400), NOW), Some(Duration::MAX));
        for text in ["soon", "-1", "-0.5", "1e3", "1.2.3", "NaN", "inf", "", "120 seconds"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
