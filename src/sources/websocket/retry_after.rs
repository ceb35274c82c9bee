//! The HTTP header `Retry-After`.

use std::time::Duration;

use chrono::{DateTime, Datelike as _};

use super::http_date::parse_http_date;
use crate::base::time::UnixNanos;

/// Parses the pause that `Retry-After` asks for: a number of seconds or a date (RFC 9110, 10.2.3).
///
/// Some servers send fractions of seconds. A number of any length is one; a negative one is none.
pub(super) fn parse_retry_after(text: &str, now: UnixNanos) -> Option<Duration> {
    let text = text.trim();
    if is_decimal(text) {
        let seconds: f64 = text.parse().ok()?;
        return Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    let now_seconds = i64::try_from(now.seconds()).ok()?;
    let date = parse_http_date(text, DateTime::from_timestamp(now_seconds, 0)?.year())?;
    let seconds = date.and_utc().timestamp().saturating_sub(now_seconds);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Returns whether a text is a number without a sign and an exponent.
fn is_decimal(text: &str) -> bool {
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    text != "." && !text.is_empty() && is_number(whole) && is_number(fraction)
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
            (".5", 0.5),
            ("120.", 120.0),
            ("0000000000000000000000000000000000000000120", 120.0),
            ("1.50000000000000000000000000000000000000000", 1.5),
            ("Wed, 21 Oct 2015 07:29:00 GMT", 60.0),
            ("Wednesday, 21-Oct-15 07:29:00 GMT", 60.0),
            ("Wed Oct 21 07:29:00 2015", 60.0),
            ("21 oct 2015 07:29:00 utc", 60.0),
            ("Sun Nov  1 07:28:00 2015", 11.0 * 86_400.0),
            ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 0.0),
            ("2015-10-21T07:29:00Z", 60.0),
        ] {
            assert_eq!(seconds(text), Some(pause), "{text}");
        }
        assert_eq!(parse_retry_after(&"9".repeat(400), NOW), Some(Duration::MAX));
        assert_eq!(parse_retry_after(&format!("{}.5", "9".repeat(400)), NOW), Some(Duration::MAX));
        for text in
            ["soon", "-1", "-0.5", "+5", "1e3", "1.2.3", "NaN", "inf", "", ".", "120 seconds"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
