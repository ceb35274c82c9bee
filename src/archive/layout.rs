//! The one place that spells a file name.
//!
//! An hour of one stem is `<stem>_<hour>.jsonl`, where `<hour>` is the Unix second at which the
//! UTC hour starts. The stem is the topic, percent-encoded so that any topic gives a safe name
//! and the name gives the topic back.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::clock::Hour;

/// The longest file name that common file systems take.
const MAX_NAME_BYTES: usize = 255;
/// What follows the stem in the longest name: `_`, a number, `.jsonl.zst.tmp`.
const MAX_SUFFIX_BYTES: usize = 1 + 12 + 14;

/// The lock of a directory: one writer at a time.
pub const LOCK_NAME: &str = ".streamer.lock";

/// The first part of the names of a topic's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stem(String);

/// A topic that no file can be named after.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StemError {
    /// There is no text at all.
    #[error("the topic is empty")]
    Empty,
    /// The name would be longer than file systems take.
    #[error("the topic gives a file name of {length} bytes; at most {max} fit")]
    TooLong {
        /// The length of the encoded topic.
        length: usize,
        /// The length that fits.
        max: usize,
    },
}

impl Stem {
    /// The stem for a topic. Letters, digits and `._@=+-` stay; every other byte, and a `.` or `-`
    /// at the start, becomes `%XX`.
    ///
    /// # Errors
    /// See [`StemError`].
    pub fn from_topic(topic: &str) -> Result<Self, StemError> {
        if topic.is_empty() {
            return Err(StemError::Empty);
        }
        let mut stem = String::with_capacity(topic.len());
        for (index, byte) in topic.bytes().enumerate() {
            // A leading dot hides a file from `*.jsonl`; a leading dash is an option to many tools.
            let leading = index == 0 && matches!(byte, b'.' | b'-');
            if is_plain(byte) && !leading {
                stem.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _infallible = write!(stem, "%{byte:02X}");
            }
        }
        let max = MAX_NAME_BYTES - MAX_SUFFIX_BYTES;
        if stem.len() > max {
            return Err(StemError::TooLong { length: stem.len(), max });
        }
        Ok(Self(stem))
    }

    /// The stem as it stands in file names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic that the stem was made from, or `None` when it was not made by
    /// [`Stem::from_topic`].
    pub fn topic(&self) -> Option<String> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        }
        String::from_utf8(bytes).ok().filter(|topic| Self::from_topic(topic).as_ref() == Ok(self))
    }

    /// The path of the hour's lines: `<stem>_<hour>.jsonl`.
    pub fn jsonl(&self, dir: &Path, hour: Hour) -> PathBuf {
        self.path(dir, hour, "jsonl")
    }

    /// Where torn last lines of the hour are kept: `<stem>_<hour>.torn`.
    pub fn torn(&self, dir: &Path, hour: Hour) -> PathBuf {
        self.path(dir, hour, "torn")
    }

    fn path(&self, dir: &Path, hour: Hour, extension: &str) -> PathBuf {
        dir.join(format!("{}_{}.{extension}", self.0, hour.start_seconds()))
    }
}

/// Takes the name of an hour's lines apart; `None` when it is not one of ours.
pub fn parse_jsonl(name: &str) -> Option<(Stem, Hour)> {
    let (stem, number) = name.strip_suffix(".jsonl")?.rsplit_once('_')?;
    let seconds: u64 = number.parse().ok()?;
    // "007200" and "+7200" are numbers, but not as we write them.
    if seconds.to_string() != number {
        return None;
    }
    let stem = Stem(stem.to_owned());
    stem.topic()?;
    Some((stem, Hour::starting_at(seconds)?))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._@=+-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stem(topic: &str) -> String {
        Stem::from_topic(topic).unwrap().0
    }

    #[test]
    fn topics_become_safe_names() {
        assert_eq!(stem("publicTrade.BTCUSDT"), "publicTrade.BTCUSDT");
        assert_eq!(stem("XBT/USD"), "XBT%2FUSD");
        assert_eq!(stem("../../etc"), "%2E.%2F..%2Fetc");
        assert_eq!(stem("-rf"), "%2Drf");
        assert_eq!(stem("trades BTC €"), "trades%20BTC%20%E2%82%AC");
        assert_eq!(Stem::from_topic(""), Err(StemError::Empty));
        assert!(matches!(Stem::from_topic(&"x".repeat(300)), Err(StemError::TooLong { .. })));
    }

    #[test]
    fn names_are_those_that_the_readme_shows() {
        let stem = Stem::from_topic("publicTrade.BTCUSDT").unwrap();
        let hour = Hour::starting_at(1_699_999_200).unwrap();
        assert_eq!(
            stem.jsonl(Path::new("output"), hour),
            Path::new("output/publicTrade.BTCUSDT_1699999200.jsonl")
        );
        assert_eq!(parse_jsonl("publicTrade.BTCUSDT_1699999200.jsonl"), Some((stem, hour)));
    }

    #[test]
    fn strangers_names_are_not_ours() {
        for name in [
            "a_1700000000.jsonl",
            "a_03600.jsonl",
            "a_+3600.jsonl",
            "a_3600.json",
            "a_3600.jsonl.zst",
            "3600.jsonl",
            "_3600.jsonl",
            "a b_3600.jsonl",
            "a%2f_3600.jsonl",
            ".a_3600.jsonl",
        ] {
            assert_eq!(parse_jsonl(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_topic_is_one_safe_name_and_comes_back(topic in "\\PC{1,40}|[/._%a-]{1,12}", hour: u32) {
            prop_assume!(Stem::from_topic(&topic).is_ok());
            let stem = Stem::from_topic(&topic).unwrap();
            let hour = Hour::starting_at(u64::from(hour) * 3600).unwrap();
            let path = stem.jsonl(Path::new("/dir"), hour);
            prop_assert_eq!(path.parent(), Some(Path::new("/dir")));
            let name = path.file_name().unwrap().to_str().unwrap();
            prop_assert!(!name.starts_with(['.', '-']) && name.is_ascii());
            prop_assert_eq!(stem.topic(), Some(topic));
            prop_assert_eq!(parse_jsonl(name), Some((stem, hour)));
        }

        #[test]
        fn any_name_is_parsed_or_refused(name in "\\PC{0,30}") {
            if let Some((stem, hour)) = parse_jsonl(&name) {
                let path = stem.jsonl(Path::new(""), hour);
                prop_assert_eq!(path.to_str(), Some(name.as_str()));
            }
        }
    }
}
