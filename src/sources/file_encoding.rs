//! The compression or encoding of a file, by its first bytes.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Number of bytes that tell the encodings apart.
const MAGIC_BYTES: usize = 10;

/// The encoding of a file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileEncoding {
    Plain,
    Gzip,
    Zstd,
}

/// First bytes of an encoding that is not read, its name and the command that decodes it.
const UNREADABLE: [(&[u8], &str, &str); 11] = [
    (b"\xfd7zXZ\0", "xz", "xz -dc"),
    (b"BZh11AY&SY", "bzip2", "bzip2 -dc"),
    (b"BZh91AY&SY", "bzip2", "bzip2 -dc"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -dc"),
    (b"PK\x03\x04", "zip", "unzip -p"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "7z x -so"),
    (b"LZIP\x01", "lzip", "lzip -dc"),
    (b"\x1f\x9d", "compress", "uncompress -c"),
    (b"\xff\x06\0\0sNaPpY", "snappy", "snzip -dc"),
    (b"\xff\xfe", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
];

impl FileEncoding {
    /// Determines the encoding from the first bytes of the file, and from its name where there are
    /// none.
    ///
    /// # Errors
    /// The file has an encoding that is not read, or not the one that its name says. The error says
    /// what to do.
    pub(super) fn detect(path: &Path, first: &[u8]) -> io::Result<Self> {
        let invalid = |words: String| Err(io::Error::new(ErrorKind::InvalidData, words));
        let is_named = |suffix| path.extension().is_some_and(|extension| extension == suffix);
        // The digit is the size of a block.
        let bzip2 = match first.split_at_checked(4) {
            Some((start @ [b'B', b'Z', b'h', b'1'..=b'9'], rest))
                if rest.starts_with(b"1AY&SY") =>
            {
                Some(start)
            }
            _ => None,
        };
        let found = UNREADABLE.iter().find(|(magic, ..)| {
            first.starts_with(magic) || bzip2.is_some() && magic.starts_with(b"BZh")
        });
        if let Some((_, name, command)) = found {
            let path = path.display();
            return invalid(format!(
                "it is {name}, which is not read; use the source `stdin`: `{command} {path} | streamer run`"
            ));
        }
        let is_skippable = matches!(first, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..]);
        if first.starts_with(&[0x1F, 0x8B]) {
            Ok(Self::Gzip)
        } else if first.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) || is_skippable {
            Ok(Self::Zstd)
        } else if first.is_empty() && (is_named("zst") || is_named("gz")) {
            invalid("it is empty, which no compressed file is: it was cut off".to_owned())
        } else if is_named("zst") {
            invalid("its name ends in `.zst`, and it is not compressed with zstd".to_owned())
        } else {
            Ok(Self::Plain)
        }
    }
}

/// Opens the file for reading, and decodes it by what its first bytes say.
///
/// # Errors
/// The file cannot be read; see also [`FileEncoding::detect`].
pub(super) fn open_decoded(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    let first = read_first(&mut file)?;
    let encoding = FileEncoding::detect(path, &first)?;
    // A pipe cannot be read twice.
    let whole = io::Cursor::new(first).chain(file);
    Ok(match encoding {
        FileEncoding::Plain => Box::new(whole),
        FileEncoding::Gzip => Box::new(MultiGzDecoder::new(whole)),
        FileEncoding::Zstd => Box::new(zstd::Decoder::new(whole)?),
    })
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
    if metadata.is_file() {
        let first = read_first(&mut File::open(path)?)?;
        // A file without content may get one before it is read.
        if !first.is_empty() {
            FileEncoding::detect(path, &first)?;
        }
    }
    Ok(())
}

fn read_first(file: &mut File) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(MAGIC_BYTES);
    file.take(MAGIC_BYTES as u64).read_to_end(&mut first)?;
    Ok(first)
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
        for text in [b"{}".as_slice(), b"", b"BZh is text", b"PK", b"\xef\xbb\xbf{}"] {
            assert_eq!(detect("a.jsonl", text).unwrap(), FileEncoding::Plain);
        }
        for (name, first, words) in [
            ("a", b"\xfd7zXZ\0.".as_slice(), "xz -dc a | streamer run"),
            ("a", b"BZh51AY&SY", "bzip2 -dc"),
            ("a", b"\x04\x22\x4d\x18", "lz4 -dc"),
            ("a", b"PK\x03\x04", "unzip -p"),
            ("a", b"\xff\xfe{\0}\0", "iconv"),
            ("a.zst", b"{}", "not compressed with zstd"),
            ("a.zst", b"", "cut off"),
            ("a.gz", b"", "cut off"),
        ] {
            let error = detect(name, first).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
