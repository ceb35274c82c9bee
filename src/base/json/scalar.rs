//! Strings, numbers and booleans as they are written in JSON.

use std::borrow::Cow;

use serde_json::{Number, Value};

/// A JSON value that is not `null`, an object or an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Number(Number),
    /// `true` or `false`, as it is written.
    Bool(&'static [u8]),
}

impl Scalar {
    /// Returns the scalar in this value, or `None` for objects, arrays and `null`.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) => Some(Self::Number(number.clone())),
            Value::Bool(true) => Some(Self::Bool(b"true")),
            Value::Bool(false) => Some(Self::Bool(b"false")),
            _ => None,
        }
    }

    /// Returns whether the JSON text `value` spells this scalar.
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Text(expected) => {
                value.first() == Some(&b'"')
                    && scalar_text(value).is_some_and(|text: Cow<'_, str>| text == *expected)
            }
            Self::Bool(expected) => value == *expected,
            Self::Number(expected) => {
                let is_number = value.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-');
                is_number
                    && serde_json::from_slice(value)
                        .is_ok_and(|found| numbers_equal(expected, &found))
            }
        }
    }
}

/// Returns whether two numbers have the same value, whatever their notation.
fn numbers_equal(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

/// Returns the text of a JSON value: a string unescaped, a number, `true` or `false` verbatim.
///
/// `null`, objects and arrays have no text.
pub fn scalar_text(value: &[u8]) -> Option<Cow<'_, str>> {
    match value.first()? {
        b'"' => {
            let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            if memchr::memchr(b'\\', inner).is_none() {
                return Some(Cow::Borrowed(std::str::from_utf8(inner).ok()?));
            }
            serde_json::from_slice(value).ok().map(Cow::Owned)
        }
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(std::str::from_utf8(value).ok()?)),
    }
}
