//! File modes in the configuration.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The mode of a file, written in octal as for chmod(1): `"0640"`. The owner may always read and
/// write the file, and nobody may execute it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(u32);

/// The error for a text that is no file mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a file mode: write four octal digits, such as \"0640\", \"0600\" or \"0644\""
)]
pub struct FileModeError(String);

impl FileMode {
    /// Returns the mode of these permission bits.
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the permission bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns the permission bits of a directory for such files: whoever may read the files may
    /// also search the directory.
    pub const fn directory_bits(self) -> u32 {
        self.0 | (self.0 & 0o444) >> 2
    }
}

impl FromStr for FileMode {
    type Err = FileModeError;

    fn from_str(text: &str) -> Result<Self, FileModeError> {
        let is_octal = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
        // Reading and writing for the owner, and no more than that for others.
        let allowed = bits.filter(|bits| bits & 0o600 == 0o600 && bits & !0o666 == 0);
        allowed.map(Self).ok_or_else(|| FileModeError(text.to_owned()))
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
