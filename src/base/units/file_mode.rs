//! Who may read and write a file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The mode of a file, in octal as chmod(1) takes it: `"0640"`. Its owner may always read and write
/// it; nobody may run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no mode of a file: write four octal digits, such as \"0640\", \"0600\" or \"0644\""
)]
pub struct FileModeError(String);

impl FileMode {
    /// The mode of these bits.
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The mode of a directory in which whoever may read such files can find them.
    pub const fn directory_bits(self) -> u32 {
        self.0 | (self.0 & 0o444) >> 2
    }
}

impl FromStr for FileMode {
    type Err = FileModeError;

    fn from_str(text: &str) -> Result<Self, FileModeError> {
        let octal = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| octal);
        // Read and write for its owner, and nothing but reading and writing for all others.
        let sane = bits.filter(|bits| bits & 0o600 == 0o600 && bits & !0o666 == 0);
        sane.map(Self).ok_or_else(|| FileModeError(text.to_owned()))
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for FileMode {
    fn schema_name() -> Cow<'static, str> {
        "FileMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The mode of a file in octal, such as \"0640\".",
            "type": "string",
            "pattern": "^06[0246][0246]$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_mode_is_four_octal_digits_with_owner_access_and_no_execute_bits() {
        for good in ["0640", "0600", "0664", "0644"] {
            assert_eq!(good.parse::<FileMode>().unwrap().to_string(), good);
        }
        for bad in ["640", "0o640", "0777", "0040", "1640", "0698", "rw-r-----", ""] {
            assert!(bad.parse::<FileMode>().is_err(), "{bad}");
        }
        assert_eq!("0640".parse::<FileMode>().unwrap().directory_bits(), 0o750);
        assert_eq!("0600".parse::<FileMode>().unwrap().directory_bits(), 0o700);
    }
}
