//! JSON Pointers (RFC 6901).

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json_cursor::JsonCursor;
use super::pointer_token::PointerToken;

/// A JSON Pointer (RFC 6901), such as `/data/0/s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<PointerToken>,
}

/// The error for a text that is not a JSON Pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a JSON Pointer (RFC 6901): write it as \"/data/0/s\"")]
pub struct PointerError(String);

impl Pointer {
    /// Parses a pointer.
    ///
    /// # Errors
    /// [`PointerError`], when the text does not begin with `/` or has a `~` that is neither `~0`
    /// nor `~1`.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let fail = || PointerError(text.to_owned());
        let tokens = text.strip_prefix('/').ok_or_else(fail)?.split('/');
        let tokens = tokens.map(|token| {
            let unescaped = token.replace("~0", "").replace("~1", "");
            if unescaped.contains('~') {
                return Err(fail());
            }
            let key = token.replace("~1", "/").replace("~0", "~");
            // No leading zeros: "01" is a key (RFC 6901, section 4).
            let index = key.parse().ok().filter(|index: &usize| index.to_string() == key);
            Ok(PointerToken { key, index })
        });
        Ok(Self { text: text.to_owned(), tokens: tokens.collect::<Result<_, _>>()? })
    }

    /// Returns the bytes of the value in `json` at which the pointer points, if there is one.
    ///
    /// If an object contains a key twice, the first counts.
    pub fn find<'a>(&self, json: &'a [u8]) -> Option<&'a [u8]> {
        let mut cursor = JsonCursor::new(json);
        for token in &self.tokens {
            cursor.enter(token)?;
        }
        cursor.value()
    }

    /// Returns the last key of the pointer.
    pub(crate) fn last_key(&self) -> &str {
        // A pointer has at least one token, since its text begins with `/`.
        self.tokens.last().map_or("", |token| &token.key)
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
