//! The one place that spells a file name.
//!
//! A file of an hour is `<stem>_<hour><suffix>`, where `<hour>` is the Unix second at which the
//! UTC hour starts and the suffix says what is in it, see [`Kind`]. The stem is the topic,
//! percent-encoded so that any topic gives a safe name and the name gives the topic back.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::base::time::Hour;

/// The longest file name that common file systems take.
const MAX_NAME_BYTES: usize = 255;
/// What follows the stem in the longest name: `_`, a number, `.jsonl.zst.corrupt-99`.
const MAX_SUFFIX_BYTES: usize = 1 + 14 + 21;

/// The lock of a directory: one recorder at a time.
pub const RECORDER_LOCK_NAME: &str = ".streamer.lock";
/// The lock of a directory's archive: one run that seals and removes at a time.
pub const ARCHIVE_LOCK_NAME: &str = ".streamer.archive.lock";

/// What a file of an hour holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `.jsonl`: the lines, while they are written and until they are sealed.
    Lines,
    /// `.jsonl.zst`: the sealed lines.
    Sealed,
    /// `.jsonl.zst.tmp`: lines that are being sealed. Nobody reads it, a new run begins it anew.
    SealingTemp,
    /// `.jsonl.zst.corrupt`, `.jsonl.zst.corrupt-2` to `-99`: a sealed file that could not be
    /// decoded, while its lines were still there to be sealed again.
    Corrupt(u8),
    /// `.journal`: what happened in the hour.
    Journal,
    /// `.torn`: last lines that were not whole.
    Torn,
    /// `.rejects`: messages that a stage set aside, JSON lines.
    Rejects,
}

/// The number of corrupt files that an hour may have.
pub const MAX_CORRUPT_FILES: u8 = 99;

/// The suffix, with its dot.
impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines => f.write_str(".jsonl"),
            Self::Sealed => f.write_str(".jsonl.zst"),
            Self::SealingTemp => f.write_str(".jsonl.zst.tmp"),
            Self::Corrupt(1) => f.write_str(".jsonl.zst.corrupt"),
            Self::Corrupt(number) => write!(f, ".jsonl.zst.corrupt-{number}"),
            Self::Journal => f.write_str(".journal"),
            Self::Torn => f.write_str(".torn"),
            Self::Rejects => f.write_str(".rejects"),
        }
    }
}

impl FileKind {
    /// The kind that a suffix stands for; it is given without its first dot.
    fn from_suffix(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "jsonl" => Self::Lines,
            "jsonl.zst" => Self::Sealed,
            "jsonl.zst.tmp" => Self::SealingTemp,
            "jsonl.zst.corrupt" => Self::Corrupt(1),
            "journal" => Self::Journal,
            "torn" => Self::Torn,
            "rejects" => Self::Rejects,
            _ => {
                let number = parse_canonical_number(suffix.strip_prefix("jsonl.zst.corrupt-")?)?;
                let number = u8::try_from(number).ok()?;
                return (2..=MAX_CORRUPT_FILES).contains(&number).then_some(Self::Corrupt(number));
            }
        })
    }
}

/// The first part of the names of a topic's files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
            if is_unescaped(byte) && !leading {
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
    pub fn to_topic(&self) -> Option<String> {
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

    /// The path of a file of the hour.
    pub fn path(&self, dir: &Path, hour: Hour, kind: FileKind) -> PathBuf {
        dir.join(format!("{}_{}{kind}", self.0, hour.start_seconds()))
    }
}

/// Takes a file's name apart; `None` when it is not one of ours.
pub fn parse_file_name(name: &str) -> Option<(Stem, Hour, FileKind)> {
    // The number ends at the first dot after the last underscore, and no suffix has an underscore.
    let (stem, rest) = name.rsplit_once('_')?;
    let (number, suffix) = rest.split_once('.')?;
    let hour = Hour::starting_at(parse_canonical_number(number)?)?;
    let stem = Stem(stem.to_owned());
    stem.to_topic()?;
    Some((stem, hour, FileKind::from_suffix(suffix)?))
}

/// The number, if it is written as we write it: "007200" and "+7200" are numbers, too.
fn parse_canonical_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn is_unescaped(byte: u8) -> bool {
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
    fn file_names_match_the_readme() {
        let stem = Stem::from_topic("publicTrade.BTCUSDT").unwrap();
        let hour = Hour::starting_at(1_699_999_200).unwrap();
        assert_eq!(
            stem.path(Path::new("output"), hour, FileKind::Lines),
            Path::new("output/publicTrade.BTCUSDT_1699999200.jsonl")
        );
        for (name, kind) in [
            ("publicTrade.BTCUSDT_1699999200.jsonl", FileKind::Lines),
            ("publicTrade.BTCUSDT_1699999200.jsonl.zst", FileKind::Sealed),
            ("publicTrade.BTCUSDT_1699999200.journal", FileKind::Journal),
            ("publicTrade.BTCUSDT_1699999200.jsonl.zst.corrupt-2", FileKind::Corrupt(2)),
        ] {
            assert_eq!(parse_file_name(name), Some((stem.clone(), hour, kind)));
        }
    }

    #[test]
    fn foreign_file_names_are_not_parsed() {
        for name in [
            "a_1700000000.jsonl",
            "a_03600.jsonl",
            "a_+3600.jsonl",
            "a_3600.json",
            "a_3600.jsonl.gz",
            "a_3600.jsonl.zst.corrupt-1",
            "a_3600.jsonl.zst.corrupt-02",
            "a_3600.jsonl.zst.corrupt-100",
            "a_3600",
            "a_3600.jsonl.zst.tmp.jsonl",
            "3600.jsonl",
            "_3600.jsonl",
            "a b_3600.jsonl",
            "a%2f_3600.jsonl",
            ".a_3600.jsonl",
        ] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }

    fn kinds() -> impl Strategy<Value = FileKind> {
        prop_oneof![
            Just(FileKind::Lines),
            Just(FileKind::Sealed),
            Just(FileKind::SealingTemp),
            (1..=MAX_CORRUPT_FILES).prop_map(FileKind::Corrupt),
            Just(FileKind::Journal),
            Just(FileKind::Torn),
            Just(FileKind::Rejects),
        ]
    }

    proptest! {
        #[test]
        fn any_topic_round_trips_through_a_safe_file_name(
            topic in "\\PC{1,40}|[/._%a-]{1,12}",
            hour: u32,
            kind in kinds(),
        ) {
            let Ok(stem) = Stem::from_topic(&topic) else { return Ok(()) };
            let hour = Hour::starting_at(u64::from(hour) * 3600).unwrap();
            let path = stem.path(Path::new("/dir"), hour, kind);
            prop_assert_eq!(path.parent(), Some(Path::new("/dir")));
            let name = path.file_name().unwrap().to_str().unwrap();
            prop_assert!(!name.starts_with(['.', '-']) && name.is_ascii());
            prop_assert_eq!(stem.to_topic(), Some(topic));
            prop_assert!(name.len() <= MAX_NAME_BYTES);
            prop_assert_eq!(parse_file_name(name), Some((stem, hour, kind)));
        }

        #[test]
        fn any_parsed_name_round_trips(
            name in "\\PC{0,30}|[a_.]{1,4}(3600|7200|1)(\\.(jsonl|zst|tmp|journal|torn|corrupt-?2?)){0,4}"
        ) {
            if let Some((stem, hour, kind)) = parse_file_name(&name) {
                let path = stem.path(Path::new(""), hour, kind);
                prop_assert_eq!(path.to_str(), Some(name.as_str()));
            }
        }
    }
}
