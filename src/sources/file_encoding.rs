//! The compression or encoding of a file, by its first bytes.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::base::gzip_reader::GzipReader;

/// Number of bytes that tell the formats apart: that of tar is told by the bytes at 257.
const MAGIC_BYTES: usize = 512;

/// The encoding of a file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileEncoding {
    Plain,
    Gzip,
    Zstd,
}

/// A format that is not read.
struct UnreadableFormat {
    /// First bytes.
    magic: &'static [u8],
    name: &'static str,
    /// Command that makes text of it; empty where stock tools have none.
    command: &'static str,
}

const fn unreadable(
    magic: &'static [u8],
    name: &'static str,
    command: &'static str,
) -> UnreadableFormat {
    UnreadableFormat { magic, name, command }
}

const UNREADABLE: [UnreadableFormat; 20] = [
    unreadable(b"\xfd7zXZ\0", "xz", "xz -dc"),
    unreadable(b"\x5d\0\0", "lzma", "xz --format=lzma -dc"),
    unreadable(b"\x04\x22\x4d\x18", "lz4", "lz4 -dc"),
    unreadable(b"PK\x03\x04", "zip", "unzip -p"),
    unreadable(b"7z\xbc\xaf\x27\x1c", "7z", "7z x -so"),
    unreadable(b"Rar!\x1a\x07", "rar", "unrar p -inul"),
    unreadable(b"LZIP\x01", "lzip", "lzip -dc"),
    unreadable(b"\x89LZO\0", "lzop", "lzop -dc"),
    unreadable(b"\x1f\x9d", "compress", "uncompress -c"),
    unreadable(b"\xff\x06\0\0sNaPpY", "snappy", "snzip -dc"),
    unreadable(b"\xff\xfe\0\0", "UTF-32", "iconv -f UTF-32 -t UTF-8"),
    unreadable(b"\0\0\xfe\xff", "UTF-32", "iconv -f UTF-32 -t UTF-8"),
    unreadable(b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    unreadable(b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    unreadable(b"PAR1", "Parquet", ""),
    unreadable(b"ARROW1", "Arrow", ""),
    unreadable(b"Obj\x01", "Avro", ""),
    unreadable(b"ORC\x08", "ORC", ""),
    unreadable(b"SQLite format 3\0", "SQLite", ""),
    unreadable(b"%PDF-", "PDF", ""),
];
const BZIP2: UnreadableFormat = unreadable(b"BZh", "bzip2", "bzip2 -dc");
const TAR: UnreadableFormat = unreadable(b"", "tar", "tar -xOf");
const ZLIB: UnreadableFormat = unreadable(b"", "zlib", "pigz -dcz");
/// Text in units of several bytes, without a mark at the start.
const WIDE: [UnreadableFormat; 4] = [
    unreadable(b"", "UTF-16", "iconv -f UTF-16LE -t UTF-8"),
    unreadable(b"", "UTF-16", "iconv -f UTF-16BE -t UTF-8"),
    unreadable(b"", "UTF-32", "iconv -f UTF-32LE -t UTF-8"),
    unreadable(b"", "UTF-32", "iconv -f UTF-32BE -t UTF-8"),
];

impl UnreadableFormat {
    /// Returns the format that begins with these bytes, if it is one that is not read.
    fn detect(first: &[u8]) -> Option<&'static Self> {
        let [utf16_le, utf16_be, utf32_le, utf32_be] = &WIDE;
        match first {
            // The digit is the size of a block.
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => {
                return Some(&BZIP2);
            }
            [1..=0x7F, 0, 1..=0x7F, 0, ..] => return Some(utf16_le),
            [0, 1..=0x7F, 0, 1..=0x7F, ..] => return Some(utf16_be),
            [1..=0x7F, 0, 0, 0, 1..=0x7F, 0, 0, 0, ..] => return Some(utf32_le),
            [0, 0, 0, 1..=0x7F, 0, 0, 0, 1..=0x7F, ..] => return Some(utf32_be),
            // Of the levels of zlib. The second level looks like text.
            [0x78, 0x01 | 0x9C | 0xDA, ..] => return Some(&ZLIB),
            [0x78, 0x5E, ..] if !is_text(first) => return Some(&ZLIB),
            _ => {}
        }
        if first.get(257..262).is_some_and(|magic| magic == b"ustar") {
            return Some(&TAR);
        }
        UNREADABLE.iter().find(|format| first.starts_with(format.magic))
    }

    fn error(&self, path: &Path) -> io::Error {
        let Self { name, command, .. } = self;
        let path = path.display();
        let advice = if command.is_empty() {
            "convert it to lines of JSON first".to_owned()
        } else {
            format!("use the source `stdin`: `{command} {path} | streamer run`")
        };
        invalid(format!("it is {name}, which is not read; {advice}"))
    }
}

impl FileEncoding {
    /// Determines the encoding from the first bytes of the file, and from its name where there are
    /// none.
    ///
    /// # Errors
    /// The file has a format that is not read, or not the one that its name says. The error says
    /// what to do.
    pub(super) fn detect(path: &Path, first: &[u8]) -> io::Result<Self> {
        let is_named = |suffix| path.extension().is_some_and(|extension| extension == suffix);
        if let Some(format) = UnreadableFormat::detect(first) {
            return Err(format.error(path));
        }
        match Self::of_content(first) {
            Self::Plain if first.is_empty() && (is_named("zst") || is_named("gz")) => {
                Err(invalid("it is empty, which no compressed file is: it was cut off".to_owned()))
            }
            Self::Plain if is_named("zst") => Err(invalid(
                "its name ends in `.zst`, and it is not compressed with zstd".to_owned(),
            )),
            encoding => Ok(encoding),
        }
    }

    fn of_content(first: &[u8]) -> Self {
        match first {
            [0x1F, 0x8B, ..] => Self::Gzip,
            // The second is a frame that is skipped.
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Opens the file for reading, and decodes it by what its first bytes say.
///
/// # Errors
/// The file cannot be read, or what it decodes to is not text; see also [`FileEncoding::detect`].
pub(super) fn open_decoded(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let (first, file) = read_first(File::open(path)?);
    let encoding = FileEncoding::detect(path, &first)?;
    // A pipe cannot be read twice.
    let whole = io::Cursor::new(first).chain(io::BufReader::new(file));
    let (name, decoded): (_, Box<dyn Read + Send>) = match encoding {
        FileEncoding::Plain => return Ok(Box::new(whole)),
        FileEncoding::Gzip => ("gzip", Box::new(GzipReader::new(whole))),
        FileEncoding::Zstd => ("zstd", Box::new(zstd::Decoder::with_buffer(whole)?)),
    };
    let (first, rest) = read_first(decoded);
    let inner = match FileEncoding::of_content(&first) {
        FileEncoding::Plain => UnreadableFormat::detect(&first).map(|format| format.name),
        FileEncoding::Gzip => Some("gzip"),
        FileEncoding::Zstd => Some("zstd"),
    };
    match inner {
        None => Ok(Box::new(io::Cursor::new(first).chain(rest))),
        Some(inner) => Err(invalid(format!(
            "what it decodes to is {inner}, which is not read within {name}; decode it once first"
        ))),
    }
}

/// Checks that a regular file can be read; others are read once, by the source.
///
/// # Errors
/// See [`open_decoded`].
pub(super) fn check_readable(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    // A file without content may get one before it is read.
    if metadata.is_file() {
        File::open(path)?;
        if metadata.len() > 0 {
            open_decoded(path)?;
        }
    }
    Ok(())
}

fn invalid(words: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, words)
}

/// Returns whether the start of a file may be that of a text.
fn is_text(first: &[u8]) -> bool {
    // A character may be cut at the end.
    let is_utf8 =
        std::str::from_utf8(first).map_or_else(|error| error.error_len().is_none(), |_| true);
    is_utf8 && first.iter().all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace())
}

/// Reads the first bytes. An error is one of the reader that is returned for the rest.
fn read_first(mut reader: impl Read + Send + 'static) -> (Vec<u8>, Box<dyn Read + Send>) {
    let mut first = Vec::with_capacity(MAGIC_BYTES);
    match reader.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut first) {
        Ok(_) => (first, Box::new(reader)),
        Err(error) => (first, Box::new(FailedReader(Some(error)))),
    }
}

/// A reader that has failed.
struct FailedReader(Option<io::Error>);

impl Read for FailedReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::Error::other("the file cannot be read")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_by_the_first_bytes_and_not_by_the_name() {
        let detect = |name: &str, first: &[u8]| FileEncoding::detect(Path::new(name), first);
        assert_eq!(detect("a.zst", b"\x28\xb5\x2f\xfd....").unwrap(), FileEncoding::Zstd);
        assert_eq!(detect("a", b"\x5a\x2a\x4d\x18").unwrap(), FileEncoding::Zstd);
        assert_eq!(detect("a.jsonl", b"\x1f\x8b\x08").unwrap(), FileEncoding::Gzip);
        for text in
            [b"{}".as_slice(), b"", b"BZh is text", b"PK", b"\xef\xbb\xbf{}", b"x^2", b"\0\0\0\0"]
        {
            assert_eq!(detect("a.jsonl", text).unwrap(), FileEncoding::Plain);
        }
        for (name, first, words) in [
            ("a", b"\xfd7zXZ\0.".as_slice(), "xz -dc a | streamer run"),
            ("a", b"BZh51AY&SY", "bzip2 -dc"),
            ("a", b"\x04\x22\x4d\x18", "lz4 -dc"),
            ("a", b"PK\x03\x04", "unzip -p"),
            ("a", b"\xff\xfe{\0}\0", "-f UTF-16 "),
            ("a", b"\xff\xfe\0\0{\0\0\0", "-f UTF-32 "),
            ("a", b"{\0\"\0", "UTF-16LE"),
            ("a", b"\0{\0\"", "UTF-16BE"),
            ("a", b"{\0\0\0\"\0\0\0", "UTF-32LE"),
            ("a", b"\0\0\0{\0\0\0\"", "UTF-32BE"),
            ("a.zz", b"\x78\x9c\x4b", "pigz -dcz"),
            ("a.zz", b"\x78\x5e\xab\x56", "pigz -dcz"),
            ("a.lzma", b"\x5d\0\0\x80\0", "lzma -dc"),
            ("a", b"PAR1\x15\x04", "Parquet"),
            ("a.zst", b"{}", "not compressed with zstd"),
            ("a.zst", b"", "cut off"),
            ("a.gz", b"", "cut off"),
        ] {
            let error = detect(name, first).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    fn read_all(content: &[u8]) -> (Vec<u8>, io::Result<()>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let mut bytes = Vec::new();
        let read = open_decoded(file.path())
            .and_then(|mut reader| reader.read_to_end(&mut bytes).map(drop));
        (bytes, read)
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        let mut encoder = flate2::read::GzEncoder::new(content, flate2::Compression::fast());
        encoder.read_to_end(&mut packed).unwrap();
        packed
    }

    #[test]
    fn a_file_within_a_file_is_refused() {
        let text = b"{\"a\":1}\n".repeat(1000);
        let zstd = |content: &[u8]| zstd::encode_all(content, 1).unwrap();
        assert_eq!(read_all(&gzip(&text)).0, text);
        assert_eq!(read_all(&zstd(&text)).0, text);
        let mut tar = vec![b'a'; 600];
        tar.get_mut(257..262).unwrap().copy_from_slice(b"ustar");
        for (content, words) in [
            (gzip(&gzip(&text)), "what it decodes to is gzip"),
            (gzip(&zstd(&text)), "what it decodes to is zstd"),
            (zstd(&gzip(&text)), "what it decodes to is gzip"),
            (gzip(&tar), "what it decodes to is tar"),
            (tar, "tar -xOf"),
        ] {
            let error = read_all(&content).1.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_early_fails_after_what_is_there() {
        let short = gzip(b"{}\n");
        let (bytes, read) = read_all(short.get(..short.len() - 4).unwrap());
        assert_eq!(bytes, b"{}\n");
        assert!(read.is_err());
    }
}
