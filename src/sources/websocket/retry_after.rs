//! The HTTP header `Retry-After`.

use std::time::Duration;

use crate::base::time::UnixNanos;

/// Parses the pause that `Retry-After` asks for: a number of seconds or a date (RFC 9110, 10.2.3).
pub(super) fn parse_retry_after(text: &str, now: UnixNanos) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(text.trim()).ok()?;
    let seconds = u64::try_from(date.timestamp()).ok()?.saturating_sub(now.seconds());
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UnixNanos::from_seconds(1_445_412_480);
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(
            parse_retry_after("Wed, 21 Oct 2015 07:29:00 GMT", now),
            Some(Duration::from_secs(60))
        );
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:27:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
    }
}
