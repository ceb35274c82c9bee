//! The listing of a directory: its hours, each with its files. No other code of this program lists
//! an archive directory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::disk::FileError;
use super::file_info::FileInfo;
use super::file_name::{FileKind, FileName, Stem, resembles_file_name};
use super::hour_entry::HourEntry;
use crate::base::time::Hour;

/// Hours of a directory, in the order of time, and then of their stems.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    /// Path of the directory.
    pub path: PathBuf,
    /// Hours in the directory.
    pub hours: Vec<HourEntry>,
    /// Hours without a file, at the name of whose journal is something else. A recorder could not
    /// write there what became of them.
    pub unaccounted: Vec<HourEntry>,
    /// Paths with a name of the archive that are not regular files, but symbolic links, FIFOs or
    /// directories. The archive leaves them alone.
    pub non_regular: Vec<PathBuf>,
    /// Files that resemble those of an hour, but whose names the archive would spell differently:
    /// the number may not be the start of an hour. The archive leaves them alone.
    pub unrecognized: Vec<PathBuf>,
}

impl Directory {
    /// Lists the directory. Files of other programs are left out.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let read_error = FileError::from_io("read the directory", path);
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(read_error(io::ErrorKind::NotADirectory.into()));
            }
            Err(error) => return Err(read_error(error)),
            Ok(_) => {}
        }
        Self::scan(path).map_err(|error| {
            let is_loop = || io::Error::other("a symbolic link leads back to the directory");
            read_error(error.into_io_error().unwrap_or_else(is_loop))
        })
    }

    fn scan(path: &Path) -> Result<Self, walkdir::Error> {
        let mut hours: BTreeMap<(Hour, Stem), HourEntry> = BTreeMap::new();
        let mut unjournaled = BTreeSet::new();
        let mut non_regular = Vec::new();
        let mut unrecognized = Vec::new();
        // Symbolic links are not followed, except that the directory itself may be one.
        let entries = WalkDir::new(path).min_depth(1).max_depth(1).follow_root_links(true);
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                // The file was removed since the directory was listed.
                Err(error) if is_not_found(&error) && error.depth() > 0 => continue,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_string_lossy();
            let Some(FileName { stem, hour, kind }) = FileName::parse(&name) else {
                if resembles_file_name(&name) {
                    unrecognized.push(entry.path().to_owned());
                }
                continue;
            };
            if !entry.file_type().is_file() {
                non_regular.push(entry.into_path());
                if kind == FileKind::Journal {
                    unjournaled.insert((hour, stem));
                }
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // The same.
                Err(error) if is_not_found(&error) => continue,
                Err(error) => return Err(error),
            };
            hours
                .entry((hour, stem.clone()))
                .or_insert_with(|| HourEntry::new(stem, hour))
                .insert_file(kind, FileInfo::from_metadata(&metadata));
        }
        non_regular.sort();
        unrecognized.sort();
        let unaccounted = unjournaled.into_iter().filter(|key| !hours.contains_key(key));
        let unaccounted = unaccounted.map(|(hour, stem)| HourEntry::new(stem, hour)).collect();
        let hours = hours.into_values().collect();
        Ok(Self { path: path.to_owned(), hours, unaccounted, non_regular, unrecognized })
    }

    /// Returns all hours of which something is known, or should be, in the same order.
    pub fn into_all_hours(self) -> Vec<HourEntry> {
        let Self { mut hours, unaccounted, .. } = self;
        if !unaccounted.is_empty() {
            hours.extend(unaccounted);
            hours.sort_by(|a, b| (a.hour, &a.stem).cmp(&(b.hour, &b.stem)));
        }
        hours
    }
}

/// Returns the stems that have a file of an hour for which `is_wanted` returns `true`. Reads the
/// names alone, which is faster than [`Directory::read`] in a directory of many files.
///
/// # Errors
/// The directory cannot be read.
pub fn stems_with_hours(
    dir: &Path,
    is_wanted: impl Fn(Hour) -> bool,
) -> Result<BTreeSet<Stem>, FileError> {
    let read_error = || FileError::from_io("read the directory", dir);
    let mut stems = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(read_error())? {
        // An entry that vanished or cannot be read must not cost the others.
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let parsed = name.to_str().and_then(FileName::parse);
        stems.extend(parsed.filter(|file| is_wanted(file.hour)).map(|file| file.stem));
    }
    Ok(stems)
}

fn is_not_found(error: &walkdir::Error) -> bool {
    error.io_error().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
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
        let directory = Directory::read(dir.path()).unwrap();
        let names: Vec<_> = directory.hours.iter().map(HourEntry::display_name).collect();
        assert_eq!(names, ["a_0.jsonl", "a_3600.jsonl.zst", "b_3600.jsonl"]);
        assert_eq!(directory.hours[1].total_bytes(), 4);
        assert_eq!(directory.non_regular, [at("d_0.jsonl"), at("f_0.jsonl"), at("l_0.jsonl")]);
    }

    #[test]
    fn stems_are_found_by_the_hours_of_their_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b_3600.jsonl", "a_3600.journal", "c_0.jsonl", "notes.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let hour = Hour::starting_at(3600).unwrap();
        let found = stems_with_hours(dir.path(), |found| found == hour).unwrap();
        assert_eq!(found.iter().map(Stem::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert!(stems_with_hours(&dir.path().join("missing"), |_| true).is_err());
    }
}
