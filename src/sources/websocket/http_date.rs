//! Dates in HTTP headers (RFC 9110, 5.6.7).

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};

/// Number of years in the future from which on a year of two digits is one of the past (RFC 9110,
/// 5.6.7).
const MAX_FUTURE_YEARS: i32 = 50;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const SECONDS_OF_HOUR: i32 = 3_600;
/// Names of zones with their hours east of Greenwich (RFC 5322, 4.3).
const ZONES: [(&str, i32); 12] = [
    ("gmt", 0),
    ("utc", 0),
    ("ut", 0),
    ("z", 0),
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
];

/// The parts of a date, as far as they are found.
#[derive(Debug, Default)]
struct DateParts {
    time: Option<NaiveTime>,
    day: Option<u32>,
    month: Option<u32>,
    year: Option<i32>,
    zone: Option<FixedOffset>,
}

/// Parses a date and returns it in UTC. `this_year` places a year of two digits.
///
/// Servers write many more forms than the three of the RFC: without a weekday or with a wrong one, in
/// lower case, with another zone or none, with fractions of seconds. As in dates of cookies (RFC
/// 6265, 5.1.1), each part is known by its form. A part that is unknown, or that occurs twice, makes
/// the date invalid: a wrong pause is worse than none.
pub(super) fn parse_http_date(text: &str, this_year: i32) -> Option<NaiveDateTime> {
    if let Ok(date) = DateTime::parse_from_rfc3339(text) {
        return Some(date.naive_utc());
    }
    let mut parts = DateParts::default();
    for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        // `06-Nov-94` is three parts, `-0500` and `GMT-0500` are one.
        let is_date = word.contains('-') && word.starts_with(|c: char| c.is_ascii_digit());
        if is_date {
            word.split('-').try_for_each(|part| parts.add(part, this_year))?;
        } else {
            parts.add(word, this_year)?;
        }
    }
    let date = NaiveDate::from_ymd_opt(parts.year?, parts.month?, parts.day?)?;
    let local = date.and_time(parts.time?);
    match parts.zone {
        None => Some(local),
        Some(zone) => local.checked_sub_offset(zone),
    }
}

impl DateParts {
    /// Adds a part. Returns `None` if it is unknown or there already.
    fn add(&mut self, part: &str, this_year: i32) -> Option<()> {
        if part.contains(':') && part.starts_with(|c: char| c.is_ascii_digit()) {
            return set(&mut self.time, parse_time(part)?);
        }
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            let number: u32 = part.parse().ok()?;
            return match part.len() {
                1 | 2 if self.day.is_none() => set(&mut self.day, number),
                2 => set(&mut self.year, whole_year(i32::try_from(number).ok()?, this_year)),
                4 => set(&mut self.year, i32::try_from(number).ok()?),
                _ => None,
            };
        }
        let word = part.trim_end_matches('.').to_ascii_lowercase();
        let is_short_for = |short: &&str| word.starts_with(*short);
        if let Some(zone) = parse_zone(&word) {
            return set(&mut self.zone, zone);
        }
        if !word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        if let Some(month) = (1..).zip(MONTHS).find(|(_, month)| is_short_for(month)) {
            return set(&mut self.month, month.0);
        }
        WEEKDAYS.iter().any(is_short_for).then_some(())
    }
}

fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Parses hours, minutes and perhaps seconds. A fraction is left out, and a leap second is the one
/// before it.
fn parse_time(text: &str) -> Option<NaiveTime> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let mut numbers = whole.splitn(3, ':').map(|number| number.parse::<u32>().ok());
    let hours = numbers.next()??;
    let minutes = numbers.next()??;
    let seconds = numbers.next().unwrap_or(Some(0))?;
    NaiveTime::from_hms_opt(hours, minutes, if seconds == 60 { 59 } else { seconds })
}

/// Parses a zone in lower case: a name, an offset such as `+0200`, or both.
fn parse_zone(text: &str) -> Option<FixedOffset> {
    let (name, offset) = text.split_at(text.find(['+', '-']).unwrap_or(text.len()));
    let named = ZONES.iter().find(|(zone, _)| *zone == name).map(|(_, hours)| *hours);
    if offset.is_empty() {
        return FixedOffset::east_opt(named? * SECONDS_OF_HOUR);
    }
    if !name.is_empty() && named != Some(0) {
        return None;
    }
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let digits = offset.split_at(1).1.replace(':', "");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    let (hours, minutes) = match digits.len() {
        1 | 2 => (number, 0),
        4 => (number / 100, number % 100),
        _ => return None,
    };
    FixedOffset::east_opt(sign * (hours * SECONDS_OF_HOUR + minutes * 60))
}

/// Returns the year whose last two digits these are.
fn whole_year(short_year: i32, this_year: i32) -> i32 {
    let year = this_year - this_year.rem_euclid(100) + short_year;
    if year > this_year + MAX_FUTURE_YEARS { year - 100 } else { year }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        parse_http_date(text, 2015).map(|date| date.to_string())
    }

    #[test]
    fn dates_of_many_forms_are_parsed() {
        for text in [
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wednesday, 21-Oct-15 07:28:00 GMT",
            "Wed Oct 21 07:28:00 2015",
            "Wed, 21-Oct-2015 07:28:00 GMT",
            "Wed, 21 Oct 2015 09:28:00 +0200",
            "Wed, 21 Oct 2015 02:28:00 -0500",
            "Wed, 21 Oct 2015 02:28:00 CDT",
            "Wed, 21 Oct 2015 09:28:00 GMT+2",
            "Wed, 21 Oct 2015 09:28:00 UTC+02:00",
            "Wed, 21 Oct 2015 07:28:00 UTC",
            "Wed, 21 Oct 2015 07:28:00 Z",
            "Wed, 21 Oct 2015 07:28:00",
            "Wed, 21 Oct 2015 7:28:00 GMT",
            "Wed, 21 Oct 2015 07:28 GMT",
            "Wed, 21 Oct 2015 07:28:00.123 GMT",
            "Wed, 21 Oct 15 07:28:00 GMT",
            "wed, 21 oct 2015 07:28:00 gmt",
            "WED,21 OCT 2015 07:28:00 GMT",
            "Mon, 21 Oct 2015 07:28:00 GMT",
            "21 Oct 2015 07:28:00 GMT",
            "21-Oct-15 07:28:00 GMT",
            "21 October 2015 07:28:00 GMT",
            "Wed Oct 21 07:28:00 2015 GMT",
            "Wed Oct 21 07:28:00 UTC 2015",
            "Oct 21 07:28:00 2015",
            "2015-10-21T07:28:00Z",
            "2015-10-21t09:28:00.5+02:00",
        ] {
            let date = parse(text).unwrap_or_default();
            assert_eq!(date.split('.').next(), Some("2015-10-21 07:28:00"), "{text}");
        }
        assert_eq!(parse("Sun Nov  1 07:28:00 2015").unwrap(), "2015-11-01 07:28:00");
        assert_eq!(parse("Sun, 06-Nov-94 08:49:60 GMT").unwrap(), "1994-11-06 08:49:59");
        assert_eq!(parse("01-Jan-65 00:00:00 GMT").unwrap(), "2065-01-01 00:00:00");
        assert_eq!(parse("01-Jan-66 00:00:00 GMT").unwrap(), "1966-01-01 00:00:00");
    }

    #[test]
    fn dates_with_a_part_that_is_missing_or_unknown_are_none() {
        for text in [
            "",
            "soon",
            "Wed, 21 Oct 2015",
            "Wed, 21 Oct 07:28:00 GMT",
            "Wed, 21 2015 07:28:00 GMT",
            "Wed, Oct 2015 07:28:00 GMT",
            "Wed, 31 Feb 2015 07:28:00 GMT",
            "Wed, 21 Oct 2015 25:28:00 GMT",
            "Wed, 21 Oct 2015 07:28:00 PM",
            "Wed, 21 Oct 2015 07:28:00 CEST",
            "Wed, 21 Oct 2015 07:28:00 +99999",
            "Wed, 21 Oct 2015 07:28:00 +9900",
            "Wed, 21 Oct 2015 07:28:00 EST+2",
            "Wed, 21 Oct 115 07:28:00 GMT",
            "Wed, 21 Oct 2015 2015 07:28:00 GMT",
            "Wed, 21 Oct Nov 2015 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:28:00 +\u{e9}",
            "Wed, 21 Oct 2015 07:28:00 -",
            "Wed, 21 Oct 2015 07:28:00 - 5",
            "Wed, 21 Oct 2015 07:28:00 --5",
            "21--2015 07:28:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
