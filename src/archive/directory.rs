//! One view of a directory: the hours in it, each with its files.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::disk::FileError;
use super::file_lock::is_locked;
use super::file_name::{FileKind, Stem, parse_file_name};
use crate::base::time::{Hour, UnixNanos};

/// The hours of a directory, oldest first, those of the same hour by stem.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Its path.
    pub path: PathBuf,
    /// The hours.
    pub hours: Vec<HourEntry>,
    /// Names that are ours on what is no regular file: a symbolic link, a FIFO, a directory. Nobody
    /// touches them.
    pub non_regular: Vec<PathBuf>,
    /// Files that look like hours, but whose names are not as this program spells them: the number
    /// is no start of an hour, say. Nobody touches them either.
    pub unrecognized: Vec<PathBuf>,
}

/// The files of one hour of one stem.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HourEntry {
    /// The first part of their names.
    pub stem: Stem,
    /// The hour.
    pub hour: Hour,
    files: BTreeMap<FileKind, FileInfo>,
}

/// A file of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileInfo {
    /// Its length.
    pub bytes: u64,
    /// Its inode.
    pub inode: u64,
    /// When it was last written.
    pub modified: UnixNanos,
    /// When it was created, where the file system knows: an inode's number is used again.
    pub created: Option<UnixNanos>,
}

impl FileInfo {
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
        let nanos = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
        Self {
            bytes: metadata.len(),
            inode: metadata.ino(),
            modified: UnixNanos::new(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)),
            created: metadata
                .created()
                .ok()
                .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                .map(|since| UnixNanos::default().saturating_add(since)),
        }
    }
}

/// How far an hour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SealState {
    /// Somebody writes to it, or may yet.
    Open,
    /// Its lines, or some of them, wait to be sealed.
    Closed,
    /// All of it is sealed.
    Sealed,
}

impl Directory {
    /// Looks at the directory. Files that are not ours are not in it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let fail = FileError::from_io("read the directory", path);
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(fail(io::ErrorKind::NotADirectory.into()));
            }
            Err(error) => return Err(fail(error)),
            Ok(_) => {}
        }
        Self::scan(path).map_err(|error| {
            fail(error.into_io_error().unwrap_or_else(|| io::Error::other("it changes too fast")))
        })
    }

    fn scan(path: &Path) -> Result<Self, walkdir::Error> {
        let mut hours: BTreeMap<(Hour, Stem), HourEntry> = BTreeMap::new();
        let (mut strange, mut nearly) = (Vec::new(), Vec::new());
        // Symbolic links are not followed, but for the directory itself.
        let entries = WalkDir::new(path).min_depth(1).max_depth(1).follow_root_links(true);
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // Removed since the directory was listed.
                Err(error) if is_not_found(&error) && error.depth() > 0 => continue,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_string_lossy();
            let Some((stem, hour, kind)) = parse_file_name(&name) else {
                if name.contains('_') && (name.ends_with(".jsonl") || name.ends_with(".jsonl.zst"))
                {
                    nearly.push(entry.path().to_owned());
                }
                continue;
            };
            if !entry.file_type().is_file() {
                strange.push(entry.into_path());
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if is_not_found(&error) => continue,
                Err(error) => return Err(error),
            };
            let files = BTreeMap::new();
            hours
                .entry((hour, stem.clone()))
                .or_insert(HourEntry { stem, hour, files })
                .files
                .insert(kind, FileInfo::from_metadata(&metadata));
        }
        strange.sort();
        nearly.sort();
        Ok(Self {
            path: path.to_owned(),
            hours: hours.into_values().collect(),
            non_regular: strange,
            unrecognized: nearly,
        })
    }
}

fn is_not_found(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

impl HourEntry {
    /// The file of this kind.
    pub fn file(&self, kind: FileKind) -> Option<FileInfo> {
        self.files.get(&kind).copied()
    }

    /// The kinds of files that there are.
    pub fn kinds(&self) -> impl Iterator<Item = FileKind> {
        self.files.keys().copied()
    }

    /// The path of a file of this hour.
    pub fn path(&self, dir: &Path, kind: FileKind) -> PathBuf {
        self.stem.path(dir, self.hour, kind)
    }

    /// The name of its lines, or of its sealed file, or of what there is: what the hour is called
    /// in messages.
    pub fn display_name(&self) -> String {
        // In the order of the kinds, lines come first and the sealed file second.
        let kind = self.files.keys().next().copied().unwrap_or(FileKind::Lines);
        self.path(Path::new(""), kind).display().to_string()
    }

    /// Bytes of all its files.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Whether there are lines in it, sealed or not.
    pub fn has_lines(&self) -> bool {
        self.files.contains_key(&FileKind::Lines) || self.files.contains_key(&FileKind::Sealed)
    }

    /// How far it is. Looks whether somebody holds the file of its lines.
    pub fn seal_state(&self, dir: &Path, now: UnixNanos) -> SealState {
        if !self.files.contains_key(&FileKind::Lines) {
            SealState::Sealed
        } else if self.hour.end() > now || is_locked(&self.path(dir, FileKind::Lines)) {
            SealState::Open
        } else {
            SealState::Closed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_with_valid_names_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in [
            "b_3600.jsonl",
            "a_3600.jsonl.zst",
            "a_3600.journal",
            "a_0.jsonl",
            "notes.jsonl",
            "a_3601.jsonl",
            "a_3600.jsonl.bak",
        ] {
            fs::write(at(name), "12").unwrap();
        }
        symlink("a_0.jsonl", at("l_0.jsonl")).unwrap();
        symlink(".", at("loop")).unwrap();
        fs::create_dir(at("d_0.jsonl")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("f_0.jsonl"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let view = Directory::read(dir.path()).unwrap();
        let names: Vec<_> = view.hours.iter().map(HourEntry::display_name).collect();
        assert_eq!(names, ["a_0.jsonl", "a_3600.jsonl.zst", "b_3600.jsonl"]);
        assert_eq!(view.hours[1].total_bytes(), 4);
        assert_eq!(view.non_regular, [at("d_0.jsonl"), at("f_0.jsonl"), at("l_0.jsonl")]);
    }

    #[test]
    fn an_hour_is_open_until_it_ends_and_its_lock_is_released() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a_3600.jsonl"), "").unwrap();
        let view = Directory::read(dir.path()).unwrap();
        let state = |now| view.hours[0].seal_state(dir.path(), UnixNanos::from_seconds(now));
        assert_eq!(
            (state(0), state(7199), state(7200)),
            (SealState::Open, SealState::Open, SealState::Closed)
        );
        let held = File::open(dir.path().join("a_3600.jsonl")).unwrap();
        held.lock().unwrap();
        assert_eq!(state(7200), SealState::Open);
    }
}
