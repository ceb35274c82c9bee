//! Families of units, and the conversion between numbers and texts with a unit.

use std::fmt;

use schemars::{Schema, json_schema};
use serde::de::{self, Visitor};

use super::UnitError;

/// The units of one dimension, such as time.
#[derive(Debug)]
pub(super) struct UnitFamily {
    /// Units in the order in which an error lists them.
    pub(super) units: &'static [Unit],
    /// Valid text, for errors.
    pub(super) example: &'static str,
    /// Smallest unit, in the plural.
    pub(super) smallest_unit: &'static str,
    /// Description of a value, for errors of other types than texts.
    pub(super) expecting: &'static str,
}

/// A unit.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: &'static str,
    /// Size of the unit, in the smallest unit.
    pub(super) factor: u64,
    /// `true` for a unit in which quantities are printed.
    pub(super) is_printed: bool,
}

impl Unit {
    /// Returns a unit in which quantities are printed.
    pub(super) const fn new(name: &'static str, factor: u64) -> Self {
        Self { name, factor, is_printed: true }
    }
}

impl UnitFamily {
    /// Parses a number with a unit, or a bare `0`. Returns the quantity in the smallest unit.
    ///
    /// # Errors
    /// See [`UnitError`].
    pub(super) fn parse(&self, text: &str) -> Result<u64, UnitError> {
        let trimmed = text.trim();
        let split =
            trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let unit = unit.trim_start();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
            return Err(UnitError::NoNumber { text: text.to_owned(), example: self.example });
        }
        let too_large = || UnitError::TooLarge { text: text.to_owned() };
        let whole: u64 = whole.parse().map_err(|_| too_large())?;
        if unit.is_empty() && whole == 0 && fraction.is_empty() {
            return Ok(0);
        }
        let Some(Unit { factor, .. }) = self.units.iter().find(|known| known.name == unit) else {
            let names: Vec<_> = self.units.iter().map(|known| known.name).collect();
            return Err(UnitError::UnknownUnit { text: text.to_owned(), units: names.join(", ") });
        };
        let mut value = whole.checked_mul(*factor).ok_or_else(too_large)?;
        let mut place = *factor;
        for digit in fraction.bytes().map(|byte| u64::from(byte - b'0')) {
            if !place.is_multiple_of(10) && digit != 0 {
                // 0.5KiB is 512 bytes, but 0.1KiB is not a whole number of bytes.
                return self.parse_exact_fraction(text, whole, fraction, *factor);
            }
            place /= 10;
            value = value.checked_add(place * digit).ok_or_else(too_large)?;
        }
        Ok(value)
    }

    /// Returns `whole.fraction × factor`, calculated exactly, which is slower than digit by digit.
    fn parse_exact_fraction(
        &self,
        text: &str,
        whole: u64,
        fraction: &str,
        factor: u64,
    ) -> Result<u64, UnitError> {
        let too_large = || UnitError::TooLarge { text: text.to_owned() };
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
            let smallest_unit = self.smallest_unit;
            return Err(UnitError::NotWhole { text: text.to_owned(), smallest_unit });
        }
        u64::try_from(scaled / scale).map_err(|_| too_large())
    }

    /// Writes the quantity in the largest unit in which it is whole, so that parsing the text is
    /// exact.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, quantity: u64) -> fmt::Result {
        let exact = self
            .units
            .iter()
            .filter(|unit| unit.is_printed && quantity.is_multiple_of(unit.factor))
            .max_by_key(|unit| unit.factor);
        match exact {
            Some(unit) if quantity > 0 => write!(f, "{}{}", quantity / unit.factor, unit.name),
            _ => write!(f, "{quantity}"),
        }
    }
}

/// A visitor that reads a text with a unit, or a bare zero.
pub(super) struct UnitVisitor(pub(super) &'static UnitFamily);

impl Visitor<'_> for UnitVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        self.0.parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        self.0.parse(&number.to_string()).map_err(E::custom)
    }
}

/// Returns the schema of a text with a unit, or a bare zero.
pub(super) fn unit_schema(description: &str, pattern: &str, examples: [&str; 3]) -> Schema {
    json_schema!({
        "description": description,
        "oneOf": [
            { "type": "string", "pattern": pattern },
            { "const": 0 },
        ],
        "examples": examples,
    })
}
