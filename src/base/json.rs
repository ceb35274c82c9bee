//! Finding a value in a JSON message without parsing all of it.
//!
//! The text is walked from its start to the value, and no further: what stands before the value is
//! skipped, not checked, and what stands behind it is not looked at. A text that is no JSON gives
//! nothing or something, and never a panic.

mod cached_selector;
mod json_cursor;
mod scalar;
mod selector;

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use self::cached_selector::{CachedSelector, RawKey};
pub(crate) use self::scalar::Scalar;
pub use self::selector::{Selector, SelectorError};

/// A JSON Pointer (RFC 6901), such as `/data/0/s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<PointerToken>,
}

/// One step of a pointer: a key, and an index where it can be one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PointerToken {
    key: String,
    index: Option<usize>,
}

/// A text that is no JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no JSON Pointer (RFC 6901): write it as \"/data/0/s\"")]
pub struct PointerError(String);

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// It does not begin with `/`, or has a `~` that is neither `~0` nor `~1`.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let fail = || PointerError(text.to_owned());
        let steps = text.strip_prefix('/').ok_or_else(fail)?.split('/');
        let steps = steps.map(|step| {
            let plain = step.replace("~0", "").replace("~1", "");
            if plain.contains('~') {
                return Err(fail());
            }
            let key = step.replace("~1", "/").replace("~0", "~");
            // No leading zeros: "01" is a key (RFC 6901, section 4).
            let index = key.parse().ok().filter(|index: &usize| index.to_string() == key);
            Ok(PointerToken { key, index })
        });
        Ok(Self { text: text.to_owned(), tokens: steps.collect::<Result<_, _>>()? })
    }

    /// The value in `json` at which the pointer points, as it is written there. Of keys that stand
    /// twice in an object the first counts.
    pub fn find<'a>(&self, json: &'a [u8]) -> Option<&'a [u8]> {
        let mut at = json_cursor::JsonCursor::new(json);
        for step in &self.tokens {
            at.enter(step)?;
        }
        at.value()
    }
}

impl Pointer {
    /// The last of its keys.
    pub(crate) fn last_key(&self) -> &str {
        self.tokens.last().map_or("", |step| &step.key)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl JsonSchema for Pointer {
    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A JSON Pointer (RFC 6901), such as \"/data/0/s\".",
            "type": "string",
            "pattern": "^/",
        })
    }
}

/// The text of a value as it is written in JSON: what a string says, and numbers, `true` and `false`
/// as they stand. `null`, objects and arrays have none.
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

#[cfg(test)]
mod tests;
