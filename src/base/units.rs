//! Durations and sizes as people write them in the configuration: `"30s"`, `"8MiB"`.

mod file_mode;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::file_mode::{FileMode, FileModeError};

const DURATION_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
];
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A length of time, in whole milliseconds, written as a number and a unit: `ms`, `s`, `m`, `h`,
/// `d` or `w`. A bare `0` needs no unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigDuration(u64);

impl ConfigDuration {
    /// A span of this many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A span of this many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// The span for timers.
    pub const fn to_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whether the span is `0`, which for most keys means "never".
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The duration, or `None` for `0`.
    pub const fn to_non_zero_duration(self) -> Option<Duration> {
        if self.is_zero() { None } else { Some(self.to_duration()) }
    }
}

/// A number of bytes, written as a number and a unit: `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000)
/// or `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024). A bare `0` needs no unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size of this many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of this many MiB.
    pub const fn from_mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// There is no number at the start.
    #[error("`{0}` does not start with a number; write for example \"{1}\"")]
    NoNumber(String, &'static str),
    /// The unit is missing or unknown.
    #[error("`{text}` needs a unit: one of {units}")]
    UnknownUnit {
        /// The text as written.
        text: String,
        /// The units that exist.
        units: String,
    },
    /// The number does not fit.
    #[error("`{0}` is too large")]
    TooLarge(String),
    /// The number has decimals that the smallest unit cannot hold.
    #[error("`{0}` is not a whole number of {1}")]
    NotWhole(String, &'static str),
}

impl FromStr for ConfigDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &DURATION_UNITS, "30s", "milliseconds").map(Self)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &SIZE_UNITS, "8MiB", "bytes").map(Self)
    }
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_in_largest_unit(f, self.0, DURATION_UNITS.iter().filter(|(unit, _)| *unit != "w"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = SIZE_UNITS;
        units.sort_by_key(|(_, factor)| *factor);
        write_in_largest_unit(f, self.0, units.iter())
    }
}

/// Writes `value` in the largest unit in which it is whole, so that reading it back is exact.
fn write_in_largest_unit<'a>(
    f: &mut fmt::Formatter<'_>,
    value: u64,
    units: impl DoubleEndedIterator<Item = &'a (&'a str, u64)>,
) -> fmt::Result {
    match units.rev().find(|(_, factor)| value.is_multiple_of(*factor)) {
        Some((unit, factor)) if value > 0 => write!(f, "{}{unit}", value / factor),
        _ => write!(f, "{value}"),
    }
}

fn parse(
    text: &str,
    units: &[(&str, u64)],
    example: &'static str,
    smallest: &'static str,
) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let unit = unit.trim_start();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return Err(UnitError::NoNumber(text.to_owned(), example));
    }
    let too_large = || UnitError::TooLarge(text.to_owned());
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    if unit.is_empty() && whole == 0 && fraction.is_empty() {
        return Ok(0);
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let names: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        return Err(UnitError::UnknownUnit { text: text.to_owned(), units: names.join(", ") });
    };
    let mut value = whole.checked_mul(*factor).ok_or_else(too_large)?;
    let mut place = *factor;
    for digit in fraction.bytes().map(|byte| u64::from(byte - b'0')) {
        if !place.is_multiple_of(10) && digit != 0 {
            // 0.5KiB is 512 bytes, but 0.1KiB is not a whole number of bytes.
            return exact_fraction(text, whole, fraction, *factor, smallest);
        }
        place /= 10;
        value = value.checked_add(place * digit).ok_or_else(too_large)?;
    }
    Ok(value)
}

/// The slow and exact way: `whole.fraction × factor`, when that is a whole number.
fn exact_fraction(
    text: &str,
    whole: u64,
    fraction: &str,
    factor: u64,
    smallest: &'static str,
) -> Result<u64, UnitError> {
    let too_large = || UnitError::TooLarge(text.to_owned());
    let scale = u32::try_from(fraction.len())
        .ok()
        .and_then(|digits| 10_u128.checked_pow(digits))
        .ok_or_else(too_large)?;
    let digits: u128 = fraction.parse().map_err(|_| too_large())?;
    let scaled = (u128::from(whole) * scale)
        .checked_add(digits)
        .and_then(|number| number.checked_mul(u128::from(factor)))
        .ok_or_else(too_large)?;
    if !scaled.is_multiple_of(scale) {
        return Err(UnitError::NotWhole(text.to_owned(), smallest));
    }
    u64::try_from(scaled / scale).map_err(|_| too_large())
}

/// Reads a unit text, or a bare zero.
struct UnitVisitor<T> {
    expecting: &'static str,
    parse: fn(&str) -> Result<T, UnitError>,
}

impl<T> Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        (self.parse)(&number.to_string()).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for ConfigDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a duration such as \"30s\"";
        deserializer.deserialize_any(UnitVisitor { expecting, parse: Self::from_str })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a size such as \"8MiB\"";
        deserializer.deserialize_any(UnitVisitor { expecting, parse: Self::from_str })
    }
}

impl Serialize for ConfigDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ConfigDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        unit_schema(
            "A number and a unit: ms, s, m, h, d or w. A bare 0 needs no unit.",
            r"^\s*(0|[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w))\s*$",
            ["5ms", "30s", "90d"],
        )
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        unit_schema(
            "A number and a unit: B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024). A bare 0 needs no unit.",
            r"^\s*(0|[0-9]+(\.[0-9]+)?\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB))\s*$",
            ["64KiB", "8MiB", "20GiB"],
        )
    }
}

fn unit_schema(description: &str, pattern: &str, examples: [&str; 3]) -> Schema {
    json_schema!({
        "description": description,
        "oneOf": [
            { "type": "string", "pattern": pattern },
            { "const": 0 },
        ],
        "examples": examples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(text: &str) -> Result<u64, UnitError> {
        text.parse::<ConfigDuration>().map(|span| span.0)
    }

    fn bytes(text: &str) -> Result<u64, UnitError> {
        text.parse::<ByteSize>().map(ByteSize::bytes)
    }

    #[test]
    fn durations_are_read_to_the_millisecond() {
        assert_eq!(millis("5ms"), Ok(5));
        assert_eq!(millis("1.5s"), Ok(1_500));
        assert_eq!(millis("0.25 h"), Ok(900_000));
        assert_eq!(millis("90d"), Ok(90 * 86_400_000));
        assert_eq!(millis("0"), Ok(0));
    }

    #[test]
    fn sizes_distinguish_powers_of_1000_and_1024() {
        assert_eq!(bytes("1kB"), Ok(1_000));
        assert_eq!(bytes("1KiB"), Ok(1_024));
        assert_eq!(bytes("0.5KiB"), Ok(512));
        assert_eq!(bytes("1.5GiB"), Ok(3 << 29));
    }

    #[test]
    fn an_unknown_unit_is_rejected_with_the_known_units() {
        assert!(matches!(millis("30"), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!(millis("30 secs"), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!(bytes("8mb"), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!(millis("fast"), Err(UnitError::NoNumber(..))));
        assert!(matches!(millis("-1s"), Err(UnitError::NoNumber(..))));
        assert!(matches!(millis("1.2.3s"), Err(UnitError::NoNumber(..))));
        assert!(matches!(millis("0.0001s"), Err(UnitError::NotWhole(..))));
        assert!(matches!(bytes("0.1KiB"), Err(UnitError::NotWhole(..))));
        assert!(matches!(millis("99999999999999999999s"), Err(UnitError::TooLarge(_))));
        assert!(matches!(millis("9999999999999999w"), Err(UnitError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn display_round_trips(value: u64) {
            prop_assert_eq!(millis(&ConfigDuration(value).to_string()), Ok(value));
            prop_assert_eq!(bytes(&ByteSize(value).to_string()), Ok(value));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,12}") {
            drop((millis(&text), bytes(&text)));
        }
    }
}
