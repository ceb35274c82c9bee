//! The spelling of all file names in an archive directory. No other module spells or parses one.
//!
//! A file of an hour is `<stem>_<hour><suffix>`, where `<hour>` is the Unix second at which the
//! UTC hour starts and the suffix tells the content, see [`FileKind`]. The stem is the topic,
//! percent-encoded so that any topic gives a safe name and the name gives the topic back.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::base::time::Hour;

/// Longest file name that common file systems accept.
const MAX_NAME_BYTES: usize = 255;
/// Length of what follows the stem in the longest name: `_`, a number, `.jsonl.zst.corrupt-99`.
const MAX_SUFFIX_BYTES: usize = 1 + 14 + 21;
/// Longest stem.
const MAX_STEM_BYTES: usize = MAX_NAME_BYTES - MAX_SUFFIX_BYTES;

/// Name of the lock of a directory: one recorder at a time.
pub(super) const RECORDER_LOCK_NAME: &str = ".streamer.lock";
/// Name of the lock of a directory's archive: one run of the job at a time.
pub(super) const ARCHIVE_LOCK_NAME: &str = ".streamer.archive.lock";

/// Content of a file of an hour, and its suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// `.jsonl`: the lines, while they are written and until they are sealed.
    Lines,
    /// `.1.jsonl` to `.9999.jsonl`: the lines before those of the `.jsonl`, which could take no more.
    Part(u16),
    /// `.jsonl.zst`: the sealed lines.
    Sealed,
    /// `.jsonl.zst.tmp`: lines that are being sealed. It is not read, and the next seal begins it
    /// anew.
    SealingTemp,
    /// `.jsonl.zst.corrupt`, `.jsonl.zst.corrupt-2` to `-99`: a sealed file that could not be
    /// decoded, while its lines were still there to be sealed again.
    Corrupt(u8),
    /// `.journal`: the events of the hour.
    Journal,
    /// `.1.journal` to `.9999.journal`: the events before those of the `.journal`, which could take
    /// no more.
    JournalPart(u16),
    /// `.times`: the times at which the lines were received; see [`super::time_index`].
    Times,
    /// `.1.times` to `.9999.times`: those of the lines of the part with this number.
    TimesPart(u16),
    /// `.torn`: incomplete last lines.
    Torn,
    /// `.rejects`: messages that a stage rejected, as JSON lines.
    Rejects,
    /// `.1.rejects` to `.9999.rejects`: the messages before those of the `.rejects`, which could take
    /// no more.
    RejectsPart(u16),
}

/// Largest number of parts of an hour's lines, of its journal and of its rejected messages.
pub const MAX_PARTS: u16 = 9_999;
/// Largest number of corrupt files that are kept of an hour.
pub const MAX_CORRUPT_FILES: u8 = 99;

impl fmt::Display for FileKind {
    /// Writes the suffix, with its dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines => f.write_str(".jsonl"),
            Self::Part(number) => write!(f, ".{number}.jsonl"),
            Self::Sealed => f.write_str(".jsonl.zst"),
            Self::SealingTemp => f.write_str(".jsonl.zst.tmp"),
            Self::Corrupt(1) => f.write_str(".jsonl.zst.corrupt"),
            Self::Corrupt(number) => write!(f, ".jsonl.zst.corrupt-{number}"),
            Self::Journal => f.write_str(".journal"),
            Self::JournalPart(number) => write!(f, ".{number}.journal"),
            Self::Times => f.write_str(".times"),
            Self::TimesPart(number) => write!(f, ".{number}.times"),
            Self::Torn => f.write_str(".torn"),
            Self::Rejects => f.write_str(".rejects"),
            Self::RejectsPart(number) => write!(f, ".{number}.rejects"),
        }
    }
}

impl FileKind {
    /// Returns whether this is a journal, or a part of one.
    pub fn is_journal(self) -> bool {
        matches!(self, Self::Journal | Self::JournalPart(_))
    }

    /// Returns the kind of a suffix, which is given without its first dot.
    fn from_suffix(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "jsonl" => Self::Lines,
            "jsonl.zst" => Self::Sealed,
            "jsonl.zst.tmp" => Self::SealingTemp,
            "jsonl.zst.corrupt" => Self::Corrupt(1),
            "journal" => Self::Journal,
            "times" => Self::Times,
            "torn" => Self::Torn,
            "rejects" => Self::Rejects,
            _ => {
                let part = suffix.split_once('.').and_then(|(number, rest)| match rest {
                    "jsonl" => Some((number, Self::Part as fn(u16) -> Self)),
                    "journal" => Some((number, Self::JournalPart as fn(u16) -> Self)),
                    "times" => Some((number, Self::TimesPart as fn(u16) -> Self)),
                    "rejects" => Some((number, Self::RejectsPart as fn(u16) -> Self)),
                    _ => None,
                });
                if let Some((number, kind)) = part {
                    let number = u16::try_from(parse_canonical_number(number)?).ok()?;
                    return (1..=MAX_PARTS).contains(&number).then_some(kind(number));
                }
                let number = parse_canonical_number(suffix.strip_prefix("jsonl.zst.corrupt-")?)?;
                let number = u8::try_from(number).ok()?;
                return (2..=MAX_CORRUPT_FILES).contains(&number).then_some(Self::Corrupt(number));
            }
        })
    }
}

/// First part of the names of a topic's files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stem(String);

/// Reason for which a topic cannot be part of a file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StemError {
    /// The topic is the empty text.
    #[error("the topic is empty")]
    Empty,
    /// The name would be longer than file systems accept.
    #[error("the topic gives a file name of {length} bytes; at most {max} fit")]
    TooLong {
        /// Length of the encoded topic.
        length: usize,
        /// Largest length that fits.
        max: usize,
    },
}

impl Stem {
    /// Returns the stem of a topic. Letters, digits and `._@=+-` stay; every other byte, and a `.`
    /// or `-` at the start, becomes `%XX`.
    ///
    /// # Errors
    /// [`StemError`]
    pub fn from_topic(topic: &str) -> Result<Self, StemError> {
        Self::encode(topic, is_unescaped)
    }

    /// Returns another stem of the topic, for file systems that do not tell upper from lower case:
    /// all letters become `%XX`, so that it differs from the stems of all other topics.
    ///
    /// # Errors
    /// [`StemError`]
    pub fn from_topic_without_letters(topic: &str) -> Result<Self, StemError> {
        Self::encode(topic, |byte| is_unescaped(byte) && !byte.is_ascii_alphabetic())
    }

    fn encode(topic: &str, is_unescaped: impl Fn(u8) -> bool) -> Result<Self, StemError> {
        if topic.is_empty() {
            return Err(StemError::Empty);
        }
        let mut stem = String::with_capacity(topic.len());
        for (index, byte) in topic.bytes().enumerate() {
            // A leading dot hides a file from `*.jsonl`; a leading dash is an option to many tools.
            let is_leading_mark = index == 0 && matches!(byte, b'.' | b'-');
            if is_unescaped(byte) && !is_leading_mark {
                stem.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _infallible = write!(stem, "%{byte:02X}");
            }
        }
        if stem.len() > MAX_STEM_BYTES {
            return Err(StemError::TooLong { length: stem.len(), max: MAX_STEM_BYTES });
        }
        Ok(Self(stem))
    }

    /// Returns the stem as it stands in file names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the topic of the stem, or `None` if this is not a stem of any topic. The digits of
    /// `%XX` count in lower case, too: there are file systems that list names so.
    pub fn to_topic(&self) -> Option<String> {
        let mut topic = Vec::with_capacity(self.0.len());
        let mut bytes = self.0.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                topic.push(byte);
                continue;
            }
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            topic.push(u8::try_from(high * 16 + low).ok()?);
        }
        // All else that is a letter stands in the topic as it is here.
        let is_own = |stem: Self| stem.0.eq_ignore_ascii_case(&self.0);
        String::from_utf8(topic).ok().filter(|topic| {
            Self::from_topic(topic).is_ok_and(is_own)
                || Self::from_topic_without_letters(topic).is_ok_and(is_own)
        })
    }

    /// Returns the path of a file of the hour.
    pub fn path(&self, dir: &Path, hour: Hour, kind: FileKind) -> PathBuf {
        dir.join(spell(self, hour, kind))
    }
}

/// Name of a file of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// First part of the name.
    pub stem: Stem,
    /// The hour.
    pub hour: Hour,
    /// Content of the file, and last part of the name.
    pub kind: FileKind,
}

impl FileName {
    /// Parses a file name. Returns `None` for a name that the archive does not give, also if it is
    /// another spelling of one.
    pub fn parse(name: &str) -> Option<Self> {
        // The number ends at the first dot after the last underscore; no suffix has an underscore.
        let (stem, number_and_suffix) = name.rsplit_once('_')?;
        let (number, suffix) = number_and_suffix.split_once('.')?;
        let hour = Hour::starting_at(parse_canonical_number(number)?)?;
        let stem = Stem(stem.to_owned());
        stem.to_topic()?;
        Some(Self { stem, hour, kind: FileKind::from_suffix(suffix)? })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell(&self.stem, self.hour, self.kind))
    }
}

fn spell(stem: &Stem, hour: Hour, kind: FileKind) -> String {
    format!("{}_{}{kind}", stem.0, hour.start_seconds())
}

/// Returns whether a name that [`FileName::parse`] rejects resembles that of lines or of a sealed
/// file, so that the user may have expected the archive to take it.
pub(super) fn resembles_file_name(name: &str) -> bool {
    let has_suffix =
        [FileKind::Lines, FileKind::Sealed].iter().any(|kind| name.ends_with(&kind.to_string()));
    name.contains('_') && has_suffix
}

/// Parses a number that is spelled as the archive spells it. `007200` and `+7200` are not.
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
        let without_letters = Stem::from_topic_without_letters("a.B1").unwrap();
        assert_eq!(without_letters.as_str(), "%61.%421");
        assert_eq!(without_letters.to_topic().as_deref(), Some("a.B1"));
        let too_long = StemError::TooLong { length: 300, max: MAX_STEM_BYTES };
        assert_eq!(Stem::from_topic(&"x".repeat(300)), Err(too_long));
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
            ("publicTrade.BTCUSDT_1699999200.12.jsonl", FileKind::Part(12)),
            ("publicTrade.BTCUSDT_1699999200.journal", FileKind::Journal),
            ("publicTrade.BTCUSDT_1699999200.3.journal", FileKind::JournalPart(3)),
            ("publicTrade.BTCUSDT_1699999200.4.rejects", FileKind::RejectsPart(4)),
            ("publicTrade.BTCUSDT_1699999200.jsonl.zst.corrupt-2", FileKind::Corrupt(2)),
        ] {
            assert_eq!(FileName::parse(name), Some(FileName { stem: stem.clone(), hour, kind }));
        }
    }

    #[test]
    fn foreign_file_names_are_not_parsed() {
        for name in [
            "a_1700000000.jsonl",
            "a_03600.jsonl",
            "a_+3600.jsonl",
            "a_3600.json",
            "a_3600.0.jsonl",
            "a_3600.01.jsonl",
            "a_3600.10000.jsonl",
            "a_3600.jsonl.gz",
            "a_3600.jsonl.zst.corrupt-1",
            "a_3600.jsonl.zst.corrupt-02",
            "a_3600.jsonl.zst.corrupt-100",
            "a_3600",
            "a_3600.jsonl.zst.tmp.jsonl",
            "3600.jsonl",
            "_3600.jsonl",
            "a b_3600.jsonl",
            "a%2g_3600.jsonl",
            "a%61_3600.jsonl",
            ".a_3600.jsonl",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn digits_of_encoded_bytes_count_in_lower_case_too() {
        for (name, topic) in
            [("XBT%2fUSD", "XBT/USD"), ("%c3%9C", "Ü"), ("%61%4a", "aJ"), ("%2e%2fx", "./x")]
        {
            let name = format!("{name}_3600.jsonl");
            let parsed = FileName::parse(&name).unwrap();
            assert_eq!(parsed.stem.to_topic().as_deref(), Some(topic));
            assert_eq!(parsed.to_string(), name, "the name is that of the file");
        }
    }

    fn kinds() -> impl Strategy<Value = FileKind> {
        prop_oneof![
            Just(FileKind::Lines),
            (1..=MAX_PARTS).prop_map(FileKind::Part),
            (1..=MAX_PARTS).prop_map(FileKind::JournalPart),
            (1..=MAX_PARTS).prop_map(FileKind::RejectsPart),
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
            let stem = match Stem::from_topic(&topic) {
                Ok(stem) => stem,
                Err(StemError::TooLong { .. }) => return Ok(()),
                Err(StemError::Empty) => unreachable!("the pattern matches no empty text"),
            };
            let hour = Hour::starting_at(u64::from(hour) * 3600).unwrap();
            let path = stem.path(Path::new("/dir"), hour, kind);
            prop_assert_eq!(path.parent(), Some(Path::new("/dir")));
            let name = path.file_name().unwrap().to_str().unwrap();
            prop_assert!(!name.starts_with(['.', '-']) && name.is_ascii());
            prop_assert_eq!(stem.to_topic(), Some(topic));
            prop_assert!(name.len() <= MAX_NAME_BYTES);
            prop_assert_eq!(FileName::parse(name), Some(FileName { stem, hour, kind }));
        }

        #[test]
        fn any_parsed_name_round_trips(
            name in "\\PC{0,30}|[a_.]{1,4}(3600|7200|1)(\\.(jsonl|zst|tmp|journal|torn|corrupt-?2?)){0,4}"
        ) {
            if let Some(parsed) = FileName::parse(&name) {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }
}
