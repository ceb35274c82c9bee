//! Durations in the configuration.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::UnitError;
use super::unit_family::{Unit, UnitFamily, UnitVisitor, unit_schema};

static TIME_UNITS: UnitFamily = UnitFamily {
    units: &[
        Unit::new("ms", 1),
        Unit::new("s", 1_000),
        Unit::new("m", 60_000),
        Unit::new("h", 3_600_000),
        Unit::new("d", 86_400_000),
        // Days are easier to compare than weeks.
        Unit { name: "w", factor: 7 * 86_400_000, is_printed: false },
    ],
    example: "30s",
    smallest_unit: "milliseconds",
    expecting: "a duration such as \"30s\"",
};

/// A length of time in whole milliseconds, written as a number and a unit: `ms`, `s`, `m`, `h`, `d`
/// or `w`. A bare `0` needs no unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigDuration(u64);

impl ConfigDuration {
    /// Returns a duration of this many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns a duration of this many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// Returns the duration for timers.
    pub const fn to_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Returns whether the duration is `0`, which for most keys means "never".
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Returns the duration for timers, or `None` for `0`.
    pub const fn to_non_zero_duration(self) -> Option<Duration> {
        if self.is_zero() { None } else { Some(self.to_duration()) }
    }
}

impl FromStr for ConfigDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        TIME_UNITS.parse(text).map(Self)
    }
}

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        TIME_UNITS.write(f, self.0)
    }
}

impl<'de> Deserialize<'de> for ConfigDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor(&TIME_UNITS)).map(Self)
    }
}

impl Serialize for ConfigDuration {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(text: &str) -> Result<u64, UnitError> {
        text.parse::<ConfigDuration>().map(|duration| duration.0)
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
    fn an_unknown_duration_unit_is_rejected_with_the_known_units() {
        assert!(matches!(millis("30"), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!(millis("30 secs"), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!(millis("fast"), Err(UnitError::NoNumber { .. })));
        assert!(matches!(millis("-1s"), Err(UnitError::NoNumber { .. })));
        assert!(matches!(millis("1.2.3s"), Err(UnitError::NoNumber { .. })));
        assert!(matches!(millis("0.0001s"), Err(UnitError::NotWhole { .. })));
        assert!(matches!(millis("99999999999999999999s"), Err(UnitError::TooLarge { .. })));
        assert!(matches!(millis("9999999999999999w"), Err(UnitError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn displayed_durations_parse_to_the_same(value: u64) {
            prop_assert_eq!(millis(&ConfigDuration(value).to_string()), Ok(value));
        }

        #[test]
        fn parsing_a_duration_never_panics(text in "\\PC{0,12}") {
            drop(millis(&text));
        }
    }
}
