//! Numbers of bytes in the configuration.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::UnitError;
use super::unit_family::{Unit, UnitFamily, UnitVisitor, unit_schema};

static SIZE_UNITS: UnitFamily = UnitFamily {
    units: &[
        Unit::new("B", 1),
        Unit::new("kB", 1_000),
        Unit::new("MB", 1_000_000),
        Unit::new("GB", 1_000_000_000),
        Unit::new("TB", 1_000_000_000_000),
        Unit::new("KiB", 1 << 10),
        Unit::new("MiB", 1 << 20),
        Unit::new("GiB", 1 << 30),
        Unit::new("TiB", 1 << 40),
    ],
    example: "8MiB",
    smallest_unit: "bytes",
    expecting: "a size such as \"8MiB\"",
};

/// A number of bytes, written as a number and a unit: `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000)
/// or `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024). A bare `0` needs no unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Returns a size of this many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Returns a size of this many MiB.
    pub const fn from_mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// Returns the number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        SIZE_UNITS.parse(text).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SIZE_UNITS.write(f, self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor(&SIZE_UNITS)).map(Self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Result<u64, UnitError> {
        text.parse::<ByteSize>().map(ByteSize::bytes)
    }

    #[test]
    fn sizes_distinguish_powers_of_1000_and_1024() {
        assert_eq!(bytes("1kB"), Ok(1_000));
        assert_eq!(bytes("1KiB"), Ok(1_024));
        assert_eq!(bytes("0.5KiB"), Ok(512));
        assert_eq!(bytes("1.5GiB"), Ok(3 << 29));
    }

    #[test]
    fn an_unknown_size_unit_is_rejected_with_the_known_units() {
        assert!(matches!(bytes("8mb"), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!(bytes("0.1KiB"), Err(UnitError::NotWhole { .. })));
    }

    proptest! {
        #[test]
        fn displayed_sizes_parse_to_the_same(value: u64) {
            prop_assert_eq!(bytes(&ByteSize(value).to_string()), Ok(value));
        }

        #[test]
        fn parsing_a_size_never_panics(text in "\\PC{0,12}") {
            drop(bytes(&text));
        }
    }
}
