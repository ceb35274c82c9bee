//! Values without parts, compared with what is written in a message.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::scalar_text;

/// A value without parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Text(String),
    Number(Number),
    /// `true` or `false`, as it is written.
    Bool(&'static [u8]),
}

impl Scalar {
    /// The scalar in this value; objects, arrays and `null` are none.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) => Some(Self::Number(number.clone())),
            Value::Bool(true) => Some(Self::Bool(b"true")),
            Value::Bool(false) => Some(Self::Bool(b"false")),
            _ => None,
        }
    }

    /// Whether a value as it is written is this one.
    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Text(wanted) => {
                value.first() == Some(&b'"')
                    && scalar_text(value).is_some_and(|text: Cow<'_, str>| text == *wanted)
            }
            Self::Bool(wanted) => value == *wanted,
            Self::Number(wanted) => {
                let number = value.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-');
                number
                    && serde_json::from_slice(value)
                        .is_ok_and(|found| numbers_equal(wanted, &found))
            }
        }
    }
}

/// Whether two numbers have the same value, however they are written.
fn numbers_equal(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}
