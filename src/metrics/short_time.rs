//! A time for people.

use std::fmt;

/// A number of seconds, formatted as `59s`, `12m34s` or `26h0m3s`.
pub(super) struct ShortTime(pub(super) u64);

impl fmt::Display for ShortTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.0 / 3600;
        let minutes = self.0 / 60 % 60;
        let seconds = self.0 % 60;
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, _) => write!(f, "{minutes}m{seconds}s"),
            _ => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_grows_from_seconds_to_hours() {
        assert_eq!(ShortTime(0).to_string(), "0s");
        assert_eq!(ShortTime(59).to_string(), "59s");
        assert_eq!(ShortTime(60).to_string(), "1m0s");
        assert_eq!(ShortTime(26 * 3600 + 3).to_string(), "26h0m3s");
    }
}
